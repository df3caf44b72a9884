package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// fill writes so many parked sessions of one turn: 60 tokens, 100 bytes of text.
func fill(t testing.TB, fs vfs.FS, dir string, sessions int) {
	t.Helper()
	l, err := tokenlog.Open(fs, dir, tokenlog.Options{SegmentBytes: 16 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixNano()
	model := testModel
	for i := range sessions {
		tr := &tree{create: createRecord{durability: LevelTurn, created: now, model: &model, principal: "alice", key: [16]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}}}
		tr.sum.created(&tr.create)
		n := tr.add(&openRecord{turn: 1, time: now, seed: 1}, &root, make([]int32, 40), make([]byte, 60))
		n.drawn = make([]int32, 20)
		tr.commit(n, &commitRecord{turn: 1, tokens: 20, length: 60, depth: 1, time: now}, "stop", make([]byte, 40))
		records := tr.records(1 << 20)
		for {
			err := l.Rewrite(tokenlog.Owner(newID()), 0, records)
			if err == nil {
				break
			}
			if !errors.Is(err, tokenlog.ErrFull) {
				t.Fatal(err)
			}
			if err := l.WaitForRoom(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// real opens sessions on a real file system.
func real(b *testing.B) *Manager {
	b.Helper()
	m, err := Open(vfs.OS{}, b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for m.Status().Log.Spares < 2 { // else the first batches wait for them
		time.Sleep(time.Millisecond)
	}
	b.Cleanup(func() { m.Close() })
	return m
}

// BenchmarkOpen starts with 100,000 parked sessions of one turn of 60 tokens, in a real folder.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	fill(b, vfs.OS{}, dir, 100_000)
	for b.Loop() {
		m, err := Open(vfs.OS{}, dir, Options{Log: tokenlog.Options{SegmentBytes: 16 << 20}})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if len(m.sessions) != 100_000 {
			b.Fatal(len(m.sessions))
		}
		b.SetBytes(m.Status().Recovery.Bytes)
		m.Close()
		b.StartTimer()
	}
}

// BenchmarkCreate makes a session and waits for its record.
func BenchmarkCreate(b *testing.B) {
	m := real(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Create(context.Background(), Spec{Principal: "alice", Durability: LevelTurn, Model: testModel}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTurn begins and commits a turn of 20 tokens and waits for it, in forks of a session: no
// history grows.
func BenchmarkTurn(b *testing.B) {
	m := real(b)
	id := create(b, m, LevelTurn).ID
	b.ReportAllocs()
	for b.Loop() {
		turn := begin(b, m, id, make([]int32, 20)...)
		for i := range int32(20) {
			turn.Append(i)
			turn.Flush()
			turn.Write()
		}
		commit(b, turn, 20)
		s := acquire(b, m, id)
		if len(s.All()) > 100 {
			s.Release()
			id = create(b, m, LevelTurn).ID
			continue
		}
		s.Release()
	}
}

// BenchmarkAppend is one token at LevelStep, given to the log, with the writer beside.
func BenchmarkAppend(b *testing.B) {
	m, err := Open(vfstest.NewDisk(), "store", Options{Log: tokenlog.Options{SegmentBytes: 4 << 20}})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	var turn *Turn
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%10_000 == 0 { // a new session, before the old one is large
			if turn != nil {
				turn.Abandon()
			}
			turn = begin(b, m, create(b, m, LevelStep).ID, 1)
		}
		turn.Append(7)
		turn.Flush()
		turn.Write()
	}
	turn.Abandon()
}

// long makes a session with a history of n tokens, drawn one by one in turns of 500.
func long(b *testing.B, m *Manager, level Durability, n int) ID {
	id := create(b, m, level).ID
	for at := 0; at < n; at += 500 {
		turn := begin(b, m, id, 1)
		some := min(500, n-at) - 1
		for i := range some {
			turn.Append(int32(i))
			turn.Flush()
			turn.Write()
			if level == LevelStep {
				if err := turn.Await(context.Background(), i+1); err != nil {
					b.Fatal(err)
				}
			}
		}
		commit(b, turn, some)
	}
	return id
}

// BenchmarkFork forks a history of 8,001 tokens, to the records in the log's buffer; synced as well
// waits for them.
func BenchmarkFork(b *testing.B) {
	for _, level := range []Durability{LevelMemory, LevelTurn} {
		b.Run(map[Durability]string{LevelMemory: "memory", LevelTurn: "synced"}[level], func(b *testing.B) {
			m := real(b)
			id := long(b, m, level, 8001)
			b.ReportAllocs()
			for b.Loop() {
				forks, err := m.Fork(context.Background(), "alice", id, "", 1)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := m.Delete(context.Background(), "alice", forks[0].ID); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
	b.Run("log", func(b *testing.B) { // without the sync
		m := real(b)
		id := long(b, m, LevelTurn, 8001)
		done, cancel := context.WithCancel(context.Background())
		cancel()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := m.Fork(done, "alice", id, "", 1); !errors.Is(err, context.Canceled) && err != nil {
				b.Fatal(err)
			}
			if i%50 == 49 {
				b.StopTimer()
				page, _ := m.List("alice", ID{}, 100)
				for _, f := range page {
					if f.ID != id {
						m.Delete(context.Background(), "alice", f.ID)
					}
				}
				b.StartTimer()
			}
		}
	})
}

// BenchmarkLoad reads a session of 4,000 tokens back, whose pages are cached: as it was
// drawn at LevelStep, one record and one batch a token, and after it was parked.
func BenchmarkLoad(b *testing.B) {
	for _, park := range []bool{false, true} {
		b.Run(map[bool]string{false: "steps", true: "parked"}[park], func(b *testing.B) {
			m := real(b)
			id := long(b, m, LevelStep, 4000)
			if park {
				if _, err := m.Update(context.Background(), "alice", id, Change{Parked: &park}); err != nil {
					b.Fatal(err)
				}
			}
			e := m.sessions[id]
			b.ReportAllocs()
			for b.Loop() {
				e.mu.Lock()
				e.tree = nil
				err := m.load(e)
				e.mu.Unlock()
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
