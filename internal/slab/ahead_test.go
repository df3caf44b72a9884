package slab

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident counts the pages of a slab that the kernel has backed.
func resident(t *testing.T, s *Slab) int {
	t.Helper()
	vec := make([]byte, (len(s.data)+unix.Getpagesize()-1)/unix.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&s.data[0])), uintptr(len(s.data)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, v := range vec {
		n += int(v & 1)
	}
	return n
}

func needPopulate(t *testing.T, s *Slab) {
	t.Helper()
	if err := unix.Madvise(s.data[:1], unix.MADV_POPULATE_WRITE); err != nil {
		t.Skip("this kernel populates nothing:", err)
	}
}

// TestTouch: what is touched has pages and keeps its bytes, what is not has none.
func TestTouch(t *testing.T) {
	const size = 32 << 20
	s, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	needPopulate(t, s)
	s.data[5] = 7
	page := unix.Getpagesize()
	s.Touch(0, size/2)
	if got := resident(t, s); got < size/2/page || got > (size/2+(4<<20))/page {
		t.Errorf("%d pages after half of %d was touched", got, size/page)
	}
	if s.data[5] != 7 || s.data[size/2-1] != 0 {
		t.Error("the bytes have changed")
	}
	s.Touch(size/2, 2*size) // as far as there are bytes
	if got := resident(t, s); got != size/page {
		t.Errorf("%d pages of %d after all was touched", got, size/page)
	}
}

// TestTouchAhead: everything that was asked for is touched, in whatever pieces, and
// asking allocates nothing.
func TestTouchAhead(t *testing.T) {
	const size = 64 << 20
	s, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	needPopulate(t, s)
	s.TouchAhead(1)
	n := 1
	if got := testing.AllocsPerRun(100, func() {
		n += 400 << 10
		s.TouchAhead(n)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	s.TouchAhead(2 * size)
	close(s.more)
	s.toucher.Wait()
	s.more = nil
	if got := resident(t, s); got != size/unix.Getpagesize() {
		t.Errorf("%d pages of %d", got, size/unix.Getpagesize())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseWhileTouching: the memory is unmapped only when nobody touches it.
func TestCloseWhileTouching(t *testing.T) {
	for range 20 {
		s, err := New(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		s.TouchAhead(64 << 20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
