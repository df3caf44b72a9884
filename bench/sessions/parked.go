package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/session"
)

// parked measures what 100,000 sessions cost that nobody uses: the start, memory,
// and the time until one is open again.
func parked(_ *config, found *section) error {
	const count, tokens = 100_000, 200
	found.Rounds = 1 // a second start would find the log in the page cache
	dir, err := os.MkdirTemp("", "holdfast-sessions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ids, err := parkMany(dir, count, tokens)
	if err != nil {
		return err
	}
	before := heap()
	began := time.Now()
	m, err := session.Open(vfs.OS{}, dir, session.Options{})
	if err != nil {
		return err
	}
	start := time.Since(began)
	each := float64(heap()-before) / count
	var opens []time.Duration
	for range 2000 {
		began := time.Now()
		s, err := m.Acquire(context.Background(), "p", ids[rand.IntN(count)])
		if err != nil {
			return err
		}
		if n := len(s.Tokens()); n != tokens {
			return fmt.Errorf("a session has %d tokens, not %d", n, tokens)
		}
		opens = append(opens, time.Since(began))
		s.Release()
	}
	t := table{
		Title:  fmt.Sprintf("%d parked sessions of %d tokens", count, tokens),
		Notes:  "In process. Start: the log is read and every session known. Open: until a session's tokens are there, from the log on disk.",
		Header: []string{"start, ms", "bytes of memory each", "open p50, ms", "open p99, ms"},
	}
	t.add(start, each, quantile(opens, .5), quantile(opens, .99))
	found.Tables = append(found.Tables, t)
	return m.Close()
}

// parkMany fills a log.
func parkMany(dir string, count, tokens int) ([]session.ID, error) {
	m, err := session.Open(vfs.OS{}, dir, session.Options{})
	if err != nil {
		return nil, err
	}
	ids := make([]session.ID, count)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(count) && failed.Load() == nil; i = next.Add(1) - 1 {
				if ids[i], err = parkOne(m, tokens); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if e := failed.Load(); e != nil {
		return nil, *e
	}
	return ids, m.Close()
}

func parkOne(m *session.Manager, tokens int) (session.ID, error) {
	ctx := context.Background()
	info, err := m.Create(ctx, session.Spec{Principal: "p", Durability: session.LevelTurn})
	if err != nil {
		return info.ID, err
	}
	s, err := m.Acquire(ctx, "p", info.ID)
	if err != nil {
		return info.ID, err
	}
	defer s.Release()
	t, err := s.Begin(ctx, session.Begin{Input: make([]int32, tokens-50), Room: 50})
	if err != nil {
		return info.ID, err
	}
	for i := range 50 {
		t.Append(int32(i))
	}
	if _, err := t.Commit(ctx, session.Commit{Tokens: 50, Finish: "stop"}); err != nil {
		return info.ID, err
	}
	return info.ID, nil
}

// heap returns the bytes of living objects.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
