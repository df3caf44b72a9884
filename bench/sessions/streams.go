package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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

// streams measures what the log costs those that stream: 32 at once, by level of
// durability and by how long a sync takes. Each goes on from turn to turn; their first
// turns differ in length, so that turns begin and end while the others stream.
func streams(c *config, found *section) error {
	dir, e, err := openStreams(c)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer e.Close()
	t := table{
		Title: fmt.Sprintf("%d streams of %d turns of %d tokens", streamCount, streamTurns, streamTokens),
		Notes: "In process, the cases in turns, medians of the rounds' ratios to the run of the same turns without sessions beside them. " +
			"Turns begin and end while the others stream. Syncs of the log are made longer by what stands there.",
		Header: []string{"durability", "sync + ms", "tok/s", "p50 ITL, ms", "p99 ITL, ms", "tok/s ratio", "p99 ratio"},
	}
	cases := []struct {
		level session.Durability
		sync  time.Duration
	}{
		{0, 0}, {session.LevelTurn, 0}, {session.LevelStep, 0}, {session.LevelStep, time.Millisecond},
		{session.LevelStep, 5 * time.Millisecond}, {session.LevelStep, 20 * time.Millisecond}, {session.LevelTurn, 20 * time.Millisecond},
	}
	all := make([][]streamed, len(cases))
	for round := range c.rounds {
		for k := range cases {
			i := k
			if round%2 == 1 {
				i = len(cases) - 1 - k
			}
			got, err := streamOnce(e, filepath.Join(dir, fmt.Sprint("log", round, i)), cases[i].level, cases[i].sync, uint64(round*100+i))
			if err != nil {
				return err
			}
			all[i] = append(all[i], got)
		}
	}
	for i, k := range cases {
		name := "no session"
		if k.level != 0 {
			name = k.level.String()
		}
		mid := func(f func(streamed, streamed) float64) float64 {
			var ds []time.Duration
			for round := range all[i] {
				ds = append(ds, time.Duration(f(all[i][round], all[0][round])*1e6))
			}
			return float64(median(ds)) / 1e6
		}
		t.add(name, k.sync,
			mid(func(a, _ streamed) float64 { return a.rate }),
			mid(func(a, _ streamed) float64 { return a.p50.Seconds() * 1e3 }),
			mid(func(a, _ streamed) float64 { return a.p99.Seconds() * 1e3 }),
			mid(func(a, b streamed) float64 { return a.rate / b.rate }),
			mid(func(a, b streamed) float64 { return float64(a.p99) / float64(b.p99) }))
	}
	found.Tables = append(found.Tables, t)
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

// streamed is what one run gave.
type streamed struct {
	rate     float64 // tokens a second
	p50, p99 time.Duration
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
