//go:build !race

package tokenlog

import (
	"errors"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
)

// TestAppendAllocatesNothing: not for an owner that the log knows, in a buffer that
// has been used, nor for a refusal.
func TestAppendAllocatesNothing(t *testing.T) {
	l, err := open(vfstest.NewDisk(), "log", Options{SegmentBytes: 1 << 20}, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 40)
	fill := func() (n int) {
		for ; ; n++ {
			if _, err := l.Append(id(n%10), kind, payload); err != nil {
				return n
			}
		}
	}
	for range 2 { // both buffers
		fill()
		for job := l.pick(); job == commit; job = l.pick() {
			l.do(job)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := l.Append(id(3), kind, payload); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("an append allocates %v times", n)
	}
	fill()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := l.Append(id(3), kind, payload); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a refusal allocates %v times", n)
	}
	l.abandon()
	l.release()
}
