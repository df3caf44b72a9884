//go:build !race

package session

import (
	"runtime"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// TestAppendAllocatesNothing: not at any level, with a log that takes it and with one that is full.
func TestAppendAllocatesNothing(t *testing.T) {
	const tokens = 4000
	for _, level := range []Durability{LevelMemory, LevelTurn, LevelStep} {
		for _, full := range []bool{false, true} {
			m := open(t, vfstest.NewDisk(), Options{Log: tokenlog.Options{SegmentBytes: 4 << 20}})
			s := acquire(t, m, create(t, m, level).ID)
			turn, err := s.Begin(t.Context(), Begin{Input: []int32{1}, Room: tokens + 100})
			if err != nil {
				t.Fatal(err)
			}
			if full && level != LevelMemory {
				turn.e.behind.Store(true)
			}
			for range 2 { // both buffers of the log have been used
				turn.Append(1)
				turn.Flush()
				turn.Write()
				if err := turn.Await(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
			}
			n := testing.AllocsPerRun(tokens, func() {
				turn.Append(2)
				turn.Flush()
				turn.Write()
			})
			// The log's buffer and its directory grow to their size once; a token does not.
			if n != 0 {
				t.Errorf("%v, full %v: a token allocates %v times", level, full, n)
			}
			turn.e.behind.Store(false)
			turn.Abandon()
			closeIt(t, m)
		}
	}
}

// TestParkedSessionsAreSmall: 100,000 sessions of one turn each that are not open take at most
// 2 KiB of memory each, the log's books included.
func TestParkedSessionsAreSmall(t *testing.T) {
	const sessions = 100_000
	dir := t.TempDir()
	fill(t, vfs.OS{}, dir, sessions)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Open(vfs.OS{}, dir, Options{Log: tokenlog.Options{SegmentBytes: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / sessions
	t.Logf("%d bytes each", each)
	if each > 2048 {
		t.Errorf("a parked session takes %d bytes, 2048 are the most", each)
	}
	if len(m.sessions) != sessions {
		t.Errorf("%d sessions", len(m.sessions))
	}
	closeIt(t, m)
}
