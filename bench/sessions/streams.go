package main

import (
	"context"
	"fmt"
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
	streamTurns  = 2
	streamPrompt = 64
	streamTokens = 96
)

// streamCases are what is compared with streams without sessions: a level of durability,
// and how much longer than the disk's a sync takes.
var streamCases = []struct {
	level session.Durability
	sync  time.Duration
}{
	{session.LevelTurn, 0}, {session.LevelStep, 0}, {session.LevelStep, time.Millisecond},
	{session.LevelStep, 5 * time.Millisecond}, {session.LevelStep, 20 * time.Millisecond}, {session.LevelTurn, 20 * time.Millisecond},
}

// streams measures what the log costs those that stream: 32 at once, each case between
// two runs of the same turns without sessions, because a machine that others use is
// another one a minute later. Streams go on from turn to turn; their first turns differ
// in length, so that turns begin and end while the others stream.
func streams(c *config, found *section) error {
	dir, e, err := openStreams(c)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer e.Close()
	runs := 0
	once := func(level session.Durability, sync time.Duration) (streamed, error) {
		runs++
		return streamOnce(e, filepath.Join(dir, fmt.Sprint("log", runs)), level, sync, uint64(runs))
	}
	all := make([][]compared, len(streamCases))
	before, err := once(0, 0)
	if err != nil {
		return err
	}
	for round := range c.rounds {
		for i := range streamCases {
			if round%2 == 1 {
				i = len(streamCases) - 1 - i
			}
			got, err := once(streamCases[i].level, streamCases[i].sync)
			if err != nil {
				return err
			}
			after, err := once(0, 0)
			if err != nil {
				return err
			}
			all[i] = append(all[i], got.beside(before, after))
			before = after
		}
	}
	found.Tables = append(found.Tables, describeStreams(all))
	return nil
}

// describeStreams is the table of what the rounds gave, by case.
func describeStreams(all [][]compared) table {
	t := table{
		Title: fmt.Sprintf("%d streams of %d turns of %d tokens", streamCount, streamTurns, streamTokens),
		Notes: "In process, medians of the rounds; ratios are to the mean of two runs of the same turns without sessions, one before and one after, in brackets the least and the largest. " +
			"Turns begin and end while the others stream. Syncs of the log are made longer by what stands there.",
		Header: []string{"durability", "sync + ms", "tok/s", "p50 ITL, ms", "p99 ITL, ms", "tok/s ratio", "p99 ratio"},
	}
	for i, k := range streamCases {
		sorted := func(f func(compared) float64) []float64 {
			var fs []float64
			for _, one := range all[i] {
				fs = append(fs, f(one))
			}
			slices.Sort(fs)
			return fs
		}
		mid := func(f func(compared) float64) float64 { return sorted(f)[len(all[i])/2] }
		spread := func(f func(compared) float64) string {
			fs := sorted(f)
			return fmt.Sprintf("%.2f (%.2f to %.2f)", fs[len(fs)/2], fs[0], fs[len(fs)-1])
		}
		t.add(k.level.String(), k.sync,
			mid(func(a compared) float64 { return a.rate }),
			mid(func(a compared) float64 { return a.p50.Seconds() * 1e3 }),
			mid(func(a compared) float64 { return a.p99.Seconds() * 1e3 }),
			spread(func(a compared) float64 { return a.rates }),
			spread(func(a compared) float64 { return a.tails }))
	}
	return t
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

// streamed is what one run gave.
type streamed struct {
	rate     float64 // tokens a second
	p50, p99 time.Duration
}

// compared is a run and its ratios to others.
type compared struct {
	streamed
	rates, tails float64
}

// beside compares a run with the mean of those before and after it.
func (s streamed) beside(before, after streamed) compared {
	return compared{s, 2 * s.rate / (before.rate + after.rate), 2 * float64(s.p99) / float64(before.p99+after.p99)}
}

func streamOnce(e *engine.Engine, dir string, level session.Durability, slow time.Duration, seed uint64) (streamed, error) {
	m, err := session.Open(vfstest.Slow(vfs.OS{}, slow), dir, session.Options{})
	if err != nil {
		return streamed{}, err
	}
	defer m.Close()
	gaps := make([][]time.Duration, streamCount)
	errs := make([]error, streamCount)
	var all sync.WaitGroup
	began := time.Now()
	for i := range streamCount {
		all.Go(func() { gaps[i], errs[i] = streamOne(e, m, level, seed*1000+uint64(i)) })
	}
	all.Wait()
	took := time.Since(began)
	var every []time.Duration
	for i := range gaps {
		if errs[i] != nil {
			return streamed{}, errs[i]
		}
		every = append(every, gaps[i]...)
	}
	return streamed{float64(len(every)) / took.Seconds(), quantile(every, .5), quantile(every, .99)}, nil
}

// streamOne runs one stream to its end and returns the gaps between the tokens of its
// turns.
func streamOne(e *engine.Engine, m *session.Manager, level session.Durability, seed uint64) (gaps []time.Duration, err error) {
	s := &stream{e: e, m: m, seed: seed}
	for turn := range streamTurns {
		length := streamTokens
		if turn == 0 {
			length = streamTokens * int(1+seed%streamCount) / streamCount
		}
		times, err := s.turn(level, length)
		if err != nil {
			return nil, err
		}
		for i := 1; i < len(times); i++ {
			gaps = append(gaps, times[i].Sub(times[i-1]))
		}
	}
	return gaps, nil
}
