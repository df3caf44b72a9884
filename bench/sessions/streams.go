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
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/session"
)

const (
	streamCount  = 32
	streamPrompt = 64
	streamTokens = 96
)

// streams measures what the log costs those that stream: 32 at once, by level of
// durability and by how long a sync takes.
func streams(c *config, found *section) error {
	dir, err := os.MkdirTemp("", "holdfast-sessions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	runtime.GOMAXPROCS(c.threads + 2)
	e, err := engine.Open(context.Background(), engine.Config{
		ModelPath: c.model, Threads: c.threads, ContextLength: 1024, MaxSequences: streamCount, Store: dir, StoreBytes: 4 << 30,
	})
	if err != nil {
		return err
	}
	defer e.Close()
	t := table{
		Title:  fmt.Sprintf("%d streams of %d tokens", streamCount, streamTokens),
		Notes:  "In process, in turns, medians of the rounds' ratios to the run without sessions beside them. Syncs of the log are made longer by what stands there.",
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
	return streamed{streamCount * streamTokens / took.Seconds(), quantile(every, .5), quantile(every, .99)}, nil
}

// streamOne runs one stream to its end and returns the gaps between its tokens.
func streamOne(e *engine.Engine, m *session.Manager, level session.Durability, seed uint64) (gaps []time.Duration, err error) {
	ctx := context.Background()
	prompt := make([]int32, streamPrompt)
	for i := range prompt {
		prompt[i] = int32((seed*7919 + uint64(i)*104729) % uint64(e.Info().VocabSize))
	}
	r := engine.Request{Tokens: prompt, MaxTokens: streamTokens, IgnoreEOS: true, Params: sampler.Params{TopP: 1}}
	var turn *session.Turn
	if level != 0 {
		info, err := m.Create(ctx, session.Spec{Principal: "p", Durability: level})
		if err != nil {
			return nil, err
		}
		s, err := m.Acquire(ctx, "p", info.ID)
		if err != nil {
			return nil, err
		}
		if turn, err = s.Begin(ctx, session.Begin{Input: prompt, Room: streamTokens}); err != nil {
			return nil, err
		}
		r.Journal, r.Keep = turn, true
	}
	g, err := e.Generate(ctx, r)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	var last time.Time
	for n := 0; ; {
		d, err := g.Next()
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if n > 0 && d.Tokens > n {
			gaps = append(gaps, now.Sub(last)/time.Duration(d.Tokens-n))
		}
		last, n = now, d.Tokens
		if d.Finish == "" {
			continue
		}
		if turn != nil {
			_, err = turn.Commit(ctx, session.Commit{Tokens: d.Tokens, Finish: string(d.Finish)})
		}
		return gaps, err
	}
}
