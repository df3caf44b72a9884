package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// TestConcurrent has goroutines that generate, look, fork, park, compact and delete at the same
// time, with few sessions in memory. It is for the race detector; what must hold is that
// a session's history is what its turns say, and that only one has the right to change it.
func TestConcurrent(t *testing.T) {
	m := open(t, vfstest.NewDisk(), Options{Log: small, MaxOpen: 2})
	ctx := t.Context()
	var ids []ID
	for range 4 {
		ids = append(ids, create(t, m, LevelStep).ID)
	}
	var wg sync.WaitGroup
	work := func(n int, f func(rng *rand.Rand, id ID) error) {
		for g := range n {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), uint64(n)))
				for range 25 {
					var busy *BusyError
					if err := f(rng, ids[rng.IntN(len(ids))]); err != nil && !errors.As(err, &busy) && !errors.Is(err, ErrTooMany) {
						t.Error(err)
					}
				}
			})
		}
	}
	work(4, func(rng *rand.Rand, id ID) error { return m.someTurn(ctx, rng, id) })
	work(1, func(_ *rand.Rand, id ID) error {
		forks, err := m.Fork(ctx, "alice", id, "", 1)
		if err != nil {
			return err
		}
		return m.Delete(ctx, "alice", forks[0].ID)
	})
	work(1, func(rng *rand.Rand, id ID) error {
		parked := true
		_, err := m.Update(ctx, "alice", id, Change{Parked: &parked})
		return err
	})
	work(1, func(rng *rand.Rand, id ID) error {
		pin := rng.IntN(2) == 0
		_, err := m.Update(ctx, "alice", id, Change{Pin: &pin})
		return err
	})
	work(2, func(_ *rand.Rand, id ID) error {
		if _, err := m.Turns(ctx, "alice", id); err != nil {
			return err
		}
		m.List("alice", ID{}, 10)
		m.Status()
		_, err := m.Verify(ctx, "alice", id)
		return err
	})
	work(1, func(*rand.Rand, ID) error {
		for _, err := range m.Live(ctx) {
			if err != nil {
				return err
			}
		}
		return m.Compact(ctx)
	})
	wg.Wait()
	for _, id := range ids {
		if _, err := m.Verify(ctx, "alice", id); err != nil {
			t.Error(err)
		}
		if _, err := found(m, id); err != nil {
			t.Error(err)
		}
	}
	closeIt(t, m)
}

// TestMovedWhileRead: a session that the log's compaction moves while it is read back
// is read again.
func TestMovedWhileRead(t *testing.T) {
	var hook atomic.Pointer[func()]
	fs := vfstest.Fault(vfstest.NewDisk(), func(c vfstest.Call) error {
		if c.Op == "read" {
			if f := hook.Swap(nil); f != nil {
				(*f)()
			}
		}
		return nil
	})
	m := open(t, fs, Options{Log: small})
	var id ID
	for i := range 8 { // some segments, of which the first one's is read
		next := create(t, m, LevelTurn).ID
		if i == 0 {
			id = next
		}
		for range 2 { // more than is read at a time
			oneTurn(t, m, next, make([]int32, 2000), []int32{1})
		}
	}
	move := func() {
		for range m.log.Status().Segments - 1 {
			_, err := m.log.Compact(t.Context(), func(tokenlog.Record) bool { return true })
			if err := errors.Join(err, m.log.WaitForRoom(t.Context())); err != nil {
				t.Error(err)
			}
		}
	}
	hook.Store(&move)
	if _, err := m.Verify(t.Context(), "alice", id); err != nil {
		t.Error(err)
	}
	if hook.Load() != nil {
		t.Error("nothing was read: the test moves nothing")
	}
	closeIt(t, m)
}

// someTurn begins or resumes a turn, has a step loop draw tokens, and ends it.
func (m *Manager) someTurn(ctx context.Context, rng *rand.Rand, id ID) error {
	s, err := m.Acquire(ctx, "alice", id)
	if err != nil {
		return err
	}
	defer s.Release()
	var turn *Turn
	if all := s.All(); len(all) > 0 && all[len(all)-1].State == TurnInterrupted && rng.IntN(2) == 0 {
		turn, err = s.Resume(all[len(all)-1].ID)
	} else {
		turn, err = s.Begin(ctx, Begin{Keep: len(s.Tokens()), Input: []int32{1, 2}})
	}
	if err != nil {
		return err
	}
	before, n := len(turn.Drawn()), 1+rng.IntN(40)
	var loop sync.WaitGroup
	loop.Go(func() {
		for i := range int32(n) {
			turn.Append(i)
			turn.Flush()
			turn.Write()
		}
	})
	for i := range n {
		if err := turn.Await(ctx, before+i); err != nil {
			return err
		}
		turn.Durable()
	}
	loop.Wait()
	if rng.IntN(4) == 0 {
		turn.Abandon()
		return nil
	}
	_, err = turn.Commit(ctx, Commit{Tokens: before + n, Finish: "stop"})
	if err != nil {
		turn.Abandon()
	}
	return err
}
