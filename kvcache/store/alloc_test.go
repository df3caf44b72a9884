//go:build !race

package store

import (
	"runtime"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
)

// TestReadAllocatesNothing: not for a look-up, nor a block that is there or missing.
func TestReadAllocatesNothing(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), small)
	mustPut(t, s, span(0, 5))
	b, dst := block(3), make([]byte, len(block(3).Payload))
	none := key(9)
	if n := testing.AllocsPerRun(1000, func() {
		if err := s.Read(b.Key, b.Tokens, dst); err != nil || !s.Has(b.Key) {
			t.Fatal(err)
		}
		if err := s.Read(none, b.Tokens, dst); err != ErrMissing || s.Has(none) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a read allocates %v times", n)
	}
	mustClose(t, s)
}

// TestIndexMemory: at most 48 bytes a block, at any size.
func TestIndexMemory(t *testing.T) {
	index := map[uint64]place{}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range 400_000 {
		k := key(n)
		index[k.fingerprint()] = placeOf(uint32(n), 1, 1)
		if n >= 100_000 && n%25_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			if each := float64(now.HeapAlloc-before.HeapAlloc) / float64(len(index)); each > 48 {
				t.Errorf("%.1f bytes a block at %d", each, n)
			}
		}
	}
	if len(index) != 400_000 {
		t.Errorf("%d fingerprints", len(index))
	}
}
