//go:build !race

package dynload

import (
	"testing"
	"unsafe"
)

func TestCallAllocatesNothing(t *testing.T) {
	fn := libc(t, "memcmp")
	b := make([]byte, 16)
	var r uintptr
	n := testing.AllocsPerRun(200, func() {
		c := NewCall()
		r = c.Do(fn, c.Bytes(b), c.Pointer(unsafe.Pointer(&b[0])), c.Out(0)*0+16, 4, 5, 6, 7, 8, 9, 10, 11)
		c.Free()
	})
	if n != 0 || r != 0 {
		t.Errorf("a call allocates %v times (memcmp returned %d)", n, r)
	}
}

func BenchmarkCall(b *testing.B) {
	fn := libc(b, "pthread_equal")
	b.ReportAllocs()
	for b.Loop() {
		c := NewCall()
		c.Do(fn, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
		c.Free()
	}
}
