package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/session"
)

const (
	streamCount  = 32
	streamPrompt = 64
	streamTokens = 32  // of a turn: short, so that some begin and end in most steps
	streamFull   = 512 // tokens of a conversation, after which another begins
	streamCycles = 3   // of a case in a round

	epoch  = 8 * time.Second
	settle = 4 * time.Second // of an epoch of another kind than the one before
	cycle  = 4 * epoch
)

// streamCases are what is compared with streams without sessions: a level of durability,
// and how much longer than the disk's a sync takes.
var streamCases = []streamCase{
	{session.LevelTurn, 0}, {session.LevelStep, 0}, {session.LevelStep, time.Millisecond},
	{session.LevelStep, 5 * time.Millisecond}, {session.LevelStep, 20 * time.Millisecond}, {session.LevelTurn, 20 * time.Millisecond},
}

type streamCase struct {
	level session.Durability
	sync  time.Duration
}

// streams measures what the log costs 32 streams, in tokens a second and in the slowest
// steps. Within one run, epochs of turns with and without sessions take turns (without,
// with, with, without), and each cycle of four is compared with itself: a machine that
// others use is not the same for two runs, and hardly for two minutes.
func streams(c *config, found *section) error {
	dir, e, err := openStreams(c)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer e.Close()
	all := make([][]compared, len(streamCases))
	for round := range c.rounds {
		for i := range streamCases {
			if round%2 == 1 {
				i = len(streamCases) - 1 - i
			}
			got, err := streamCases[i].run(e, filepath.Join(dir, fmt.Sprint("log", round, "-", i)))
			if err != nil {
				return err
			}
			all[i] = append(all[i], got...)
		}
	}
	found.Tables = append(found.Tables, describeStreams(all))
	return nil
}

// openStreams opens an engine for the streams, and the folder of its store.
func openStreams(c *config) (dir string, e *engine.Engine, err error) {
	if dir, err = os.MkdirTemp("", "holdfast-sessions-"); err != nil {
		return "", nil, err
	}
	runtime.GOMAXPROCS(c.threads + 2)
	e, err = engine.Open(context.Background(), engine.Config{
		ModelPath: c.model, Threads: c.threads, ContextLength: 1024, MaxSequences: streamCount, Store: dir, StoreBytes: 4 << 30,
	})
	if err != nil {
		os.RemoveAll(dir)
	}
	return dir, e, err
}

// run has all streams go from turn to turn through some cycles, and compares each.
func (k streamCase) run(e *engine.Engine, dir string) ([]compared, error) {
	m, err := session.Open(vfstest.Slow(vfs.OS{}, k.sync), dir, session.Options{})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	cycles := make([]compared, streamCycles)
	began := time.Now().Add(settle)
	for i := range streamCount {
		all.Go(func() {
			s := &stream{e: e, m: m, seed: uint64(i)}
			length := streamTokens * (i + 1) / streamCount // so that the streams' turns do not end together
			for time.Since(began) < streamCycles*cycle {
				if len(s.history) > streamFull {
					s.history = nil
				}
				level := session.Durability(0)
				if kind(time.Since(began)) == with {
					level = k.level
				}
				times, err := s.turn(level, length)
				length = streamTokens
				mu.Lock()
				if err == nil {
					count(cycles, times, began)
				} else if failed == nil {
					failed = err
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	all.Wait()
	return cycles, failed
}

const (
	without = iota
	with
	kinds
)

// kind is that of the turns that begin then. Before the first cycle they are without
// sessions.
func kind(at time.Duration) int {
	if n := at / epoch % 4; n == 1 || n == 2 {
		return with
	}
	return without
}

// compared is what one cycle gave, by kind.
type compared struct {
	tokens [kinds]int
	gaps   [kinds][]time.Duration
}

// settledFor is how much of a cycle each kind's tokens are counted.
const settledFor = cycle/2 - settle

// count adds a turn's tokens to the cycles that they came in. Those that came while the
// other kind's last turns were still running are left out.
func count(cycles []compared, times []time.Time, began time.Time) {
	last := -1
	for i, t := range times {
		at := t.Sub(began)
		k := kind(at)
		if at < 0 || at >= streamCycles*cycle || kind(at-settle) != k {
			last = -1
			continue
		}
		c := &cycles[at/cycle]
		c.tokens[k]++
		if last == k {
			c.gaps[k] = append(c.gaps[k], t.Sub(times[i-1]))
		}
		last = k
	}
}

// ratio is that of the rates, with and without.
func (c *compared) ratio() float64 { return float64(c.tokens[with]) / float64(c.tokens[without]) }

// describeStreams is the table of what the cycles gave, by case.
func describeStreams(all [][]compared) table {
	t := table{
		Title: fmt.Sprintf("%d streams of turns of %d tokens", streamCount, streamTokens),
		Notes: fmt.Sprintf("In process. Epochs of %v of turns with sessions and without take turns in one run, %d cycles of four. The ratio of rates is the mean of the cycles' "+
			"with its standard error, and in brackets the least and the largest; that of the slowest gaps between tokens is of gaps over the median of their cycle. "+
			"Turns begin and end while the others stream. Syncs of the log are made longer by what stands there.", epoch, len(all[0])),
		Header: []string{"durability", "sync + ms", "tok/s without", "with", "tok/s ratio", "p50 ITL, ms", "p99 ITL, ms", "p99 ratio"},
	}
	for i, k := range streamCases {
		var tokens [kinds]int
		var ratios []float64
		var gaps []time.Duration
		for j := range all[i] {
			c := &all[i][j]
			tokens[without], tokens[with] = tokens[without]+c.tokens[without], tokens[with]+c.tokens[with]
			ratios = append(ratios, c.ratio())
			gaps = append(gaps, c.gaps[with]...)
		}
		seconds := settledFor.Seconds() * float64(len(ratios))
		tails := relative(all[i])
		mean, deviation := meanOf(ratios)
		t.add(k.level.String(), k.sync, float64(tokens[without])/seconds, float64(tokens[with])/seconds,
			fmt.Sprintf("%.3f ± %.3f (%.2f to %.2f)", mean, deviation, slices.Min(ratios), slices.Max(ratios)),
			quantile(gaps, .5), quantile(gaps, .99), float64(quantile(tails[with], .99))/float64(quantile(tails[without], .99)))
	}
	return t
}

// meanOf returns the mean and its standard error.
func meanOf(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		deviation += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(deviation / float64(max(len(x)-1, 1)) / float64(len(x)))
}

// relative returns gaps in millionths of the median of their cycle, by kind.
func relative(cycles []compared) (all [kinds][]time.Duration) {
	for _, c := range cycles {
		mid := max(quantile(slices.Concat(c.gaps[:]...), .5), 1)
		for k := range all {
			for _, g := range c.gaps[k] {
				all[k] = append(all[k], g*1e6/mid)
			}
		}
	}
	return all
}
