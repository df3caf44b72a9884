package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/session"
)

const (
	tailEpoch  = 6 * time.Second
	tailSettle = 3 * time.Second // of an epoch of another kind than the one before
	tailTokens = 32              // of a turn
)

// tail measures what turns of sessions add to the slowest steps of 32 streams. Within one
// run, epochs of turns with and without sessions take turns (without, with, with,
// without), and a gap is told in medians of the four epochs that it lies in: a machine
// that others use is not the same for two runs, and hardly for two minutes. Turns are
// short, so that some begin and end in most steps.
func tail(c *config, found *section) error {
	dir, e, err := openStreams(c)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer e.Close()
	m, err := session.Open(vfs.OS{}, filepath.Join(dir, "log"), session.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	times := make([][]time.Time, 0, 4096)
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	began := time.Now()
	end := began.Add(tailEpoch * time.Duration(4*10*c.rounds))
	for i := range streamCount {
		all.Go(func() {
			s := &stream{e: e, m: m, seed: uint64(i)}
			length := tailTokens * (i + 1) / streamCount
			for time.Now().Before(end) {
				if len(s.history) > 512 {
					s.history = nil // anew
				}
				got, err := s.turn(tailLevel(time.Since(began)), length)
				length = tailTokens
				mu.Lock()
				if times = append(times, got); err != nil {
					failed = err
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	if failed != nil {
		return failed
	}
	found.Tables = append(found.Tables, describeTail(times, began, end))
	return nil
}

// tailLevel is the durability of turns that begin then.
func tailLevel(at time.Duration) session.Durability {
	if epoch := at / tailEpoch % 4; epoch == 1 || epoch == 2 {
		return session.LevelTurn
	}
	return 0
}

// describeTail compares the gaps between tokens with and without sessions.
func describeTail(times [][]time.Time, began, end time.Time) table {
	cycles := int(end.Sub(began) / (4 * tailEpoch))
	gaps := make([][2][]time.Duration, cycles) // by cycle, and by whether there were sessions
	for _, turn := range times {
		for i := 1; i < len(turn); i++ {
			at := turn[i-1].Sub(began)
			cycle, kind := int(at/(4*tailEpoch)), 0
			if tailLevel(at) != 0 {
				kind = 1
			}
			// The other kind's last turns end meanwhile, and epochs of a kind follow each other.
			settled := tailLevel(at-tailSettle) == tailLevel(at) && tailLevel(turn[i].Sub(began)) == tailLevel(at)
			if cycle < cycles && at >= tailSettle && settled {
				gaps[cycle][kind] = append(gaps[cycle][kind], turn[i].Sub(turn[i-1]))
			}
		}
	}
	t := table{
		Title: fmt.Sprintf("%d streams: the tail of their steps", streamCount),
		Notes: fmt.Sprintf("Turns of %d tokens with sessions (durability turn) and without in epochs of one run, %d of four; "+
			"gaps between tokens over the median of their four epochs. The last rows are the first and the second half of the run.", tailTokens, cycles),
		Header: []string{"gaps", "p50 without", "with", "p90 without", "with", "p99 without", "with", "p99 ratio"},
	}
	for _, part := range [][][2][]time.Duration{gaps, gaps[:cycles/2], gaps[cycles/2:]} {
		without, with := relative(part)
		row := []any{len(without) + len(with)}
		for _, q := range []float64{.5, .9, .99} {
			row = append(row, float64(quantile(without, q))/1e6, float64(quantile(with, q))/1e6)
		}
		t.add(append(row, float64(quantile(with, .99))/float64(quantile(without, .99)))...)
	}
	return t
}

// relative returns gaps in millionths of the median of their cycle.
func relative(cycles [][2][]time.Duration) (without, with []time.Duration) {
	for _, c := range cycles {
		mid := quantile(slices.Concat(c[0], c[1]), .5)
		for kind, to := range []*[]time.Duration{&without, &with} {
			for _, g := range c[kind] {
				*to = append(*to, g*1e6/mid)
			}
		}
	}
	return without, with
}
