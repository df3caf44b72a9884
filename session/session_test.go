package session

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// small is a log of segments that fill up soon.
var small = tokenlog.Options{SegmentBytes: 64 << 10, BufferBytes: 32 << 10, RetryEvery: time.Second}

var testModel = Model{Weights: [32]byte{1}, Tokenizer: [32]byte{2}, Template: [32]byte{3}, Class: "cpu-1"}

func open(t testing.TB, fs vfs.FS, o Options) *Manager {
	t.Helper()
	m, err := Open(fs, "store", o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func closeIt(t testing.TB, m *Manager) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, m *Manager, level Durability) Info {
	t.Helper()
	info, err := m.Create(t.Context(), Spec{Principal: "alice", Durability: level, Model: testModel})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func acquire(t testing.TB, m *Manager, id ID) *Session {
	t.Helper()
	s, err := m.Acquire(t.Context(), "alice", id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begin begins a turn with the whole history and some input.
func begin(t testing.TB, m *Manager, id ID, input ...int32) *Turn {
	t.Helper()
	s := acquire(t, m, id)
	turn, err := s.Begin(t.Context(), Begin{Keep: len(s.Tokens()), Input: input, Body: []byte("body"), Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

func draw(t testing.TB, turn *Turn, tokens ...int32) {
	t.Helper()
	for _, token := range tokens {
		turn.Append(token)
		turn.Flush()
		turn.Write()
	}
	if err := turn.Await(t.Context(), len(turn.Drawn())+len(tokens)); err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, turn *Turn, tokens int) string {
	t.Helper()
	head, err := turn.Commit(t.Context(), Commit{Tokens: tokens, Finish: "stop", Result: []byte("result")})
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// oneTurn is a turn from beginning to end.
func oneTurn(t testing.TB, m *Manager, id ID, input, drawn []int32) string {
	t.Helper()
	turn := begin(t, m, id, input...)
	draw(t, turn, drawn...)
	return commit(t, turn, len(drawn))
}

func tokens(t testing.TB, m *Manager, id ID) []int32 {
	t.Helper()
	s := acquire(t, m, id)
	defer s.Release()
	return s.Tokens()
}

func equalTokens(t testing.TB, what string, got []int32, want ...int32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: tokens %v, want %v", what, got, want)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// wantType checks that an error is of a type, and returns it.
func wantType[E error](t testing.TB, what string, got error) (e E) {
	t.Helper()
	if !errors.As(got, &e) {
		t.Errorf("%s: %v, want a %T", what, got, e)
	}
	return e
}

// TestLife is a session from its beginning to its end, with restarts, at each level.
func TestLife(t *testing.T) {
	for _, level := range []Durability{LevelTurn, LevelStep} {
		disk := vfstest.NewDisk()
		m := open(t, disk, Options{Log: small})
		restart := func() {
			closeIt(t, m)
			m = open(t, disk, Options{Log: small})
		}
		info := create(t, m, level)
		if !info.Durable || info.State != Idle || info.Head != "" || info.Model != testModel {
			t.Errorf("%v: created %+v", level, info)
		}
		id := info.ID
		if head := oneTurn(t, m, id, []int32{1, 2, 3}, []int32{4, 5}); head != "turn_1" {
			t.Errorf("head %q", head)
		}
		restart()
		equalTokens(t, "after a restart", tokens(t, m, id), 1, 2, 3, 4, 5)
		turn := begin(t, m, id, 6)
		equalTokens(t, "prompt", turn.Prompt(), 1, 2, 3, 4, 5, 6)
		draw(t, turn, 7, 8)
		turn.Abandon()
		turn.Abandon()
		restart()
		info, err := m.Get("alice", id)
		if err != nil || info.State != Interrupted || info.Head != "turn_1" || info.Tokens != 5 || info.Turns != 1 {
			t.Errorf("interrupted: %+v, %v", info, err)
		}
		s := acquire(t, m, id)
		_, err = s.Resume("turn_1")
		wantErr(t, "resume of a committed turn", err, ErrNotRunning)
		if turn, err = s.Resume("turn_2"); err != nil {
			t.Fatal(err)
		}
		equalTokens(t, "drawn before", turn.Drawn(), 7, 8)
		if string(turn.Body()) != "body" || turn.Seed() != 7 {
			t.Error("body or seed lost")
		}
		draw(t, turn, 9)
		if head := commit(t, turn, 2); head != "turn_2" { // the last one does not count
			t.Errorf("head %q", head)
		}
		equalTokens(t, "resumed", tokens(t, m, id), 1, 2, 3, 4, 5, 6, 7, 8)
		s = acquire(t, m, id)
		if err := s.Rewind(t.Context(), "turn_1"); err != nil {
			t.Fatal(err)
		}
		s.Release()
		restart()
		equalTokens(t, "rewound", tokens(t, m, id), 1, 2, 3, 4, 5)
		if head := oneTurn(t, m, id, []int32{10}, []int32{11}); head != "turn_3" {
			t.Errorf("a turn's number was given again: %q", head)
		}
		forks, err := m.Fork(t.Context(), "alice", id, "turn_2", 2)
		if err != nil || len(forks) != 2 || forks[0].ParentHead != "turn_2" || forks[0].Parent != id {
			t.Fatalf("forks %+v, %v", forks, err)
		}
		if err := m.Delete(t.Context(), "alice", id); err != nil {
			t.Fatal(err)
		}
		restart()
		_, err = m.Get("alice", id)
		wantErr(t, "deleted", err, ErrGone)
		_, err = m.Get("bob", id)
		wantErr(t, "deleted, to another", err, ErrNotFound)
		for _, f := range forks {
			equalTokens(t, "fork", tokens(t, m, f.ID), 1, 2, 3, 4, 5, 6, 7, 8)
			if r, err := m.Verify(t.Context(), "alice", f.ID); err != nil || r.Turns != 2 {
				t.Errorf("verify %+v, %v", r, err)
			}
			if head := oneTurn(t, m, f.ID, []int32{1}, []int32{2}); head != "turn_3" {
				t.Errorf("fork goes on with %q", head)
			}
		}
		page, more := m.List("alice", ID{}, 10)
		if len(page) != 2 || more {
			t.Errorf("list: %+v, %v", page, more)
		}
		closeIt(t, m)
	}
}

var _ = context.Background

// TestStepIsOneBatch: what the turns of a step have handed over is written as one piece,
// and not before the last has.
func TestStepIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, vfstest.NewDisk(), Options{})
		defer closeIt(t, m)
		var turns []*Turn
		for range 8 {
			turns = append(turns, begin(t, m, create(t, m, LevelStep).ID, 1))
		}
		batches := func() uint64 {
			synctest.Wait() // for the log's writer to sleep
			return m.log.Status().Batches
		}
		for range 5 {
			before := batches()
			for _, turn := range turns {
				turn.Append(7)
				turn.Flush()
			}
			if n := batches() - before; n != 0 {
				t.Errorf("%d batches are written before the turns have flushed", n)
			}
			for _, turn := range turns {
				turn.Write()
			}
			if n := batches() - before; n != 1 {
				t.Errorf("a step of %d turns is written in %d batches", len(turns), n)
			}
		}
		for _, turn := range turns {
			turn.Abandon()
		}
	})
}
