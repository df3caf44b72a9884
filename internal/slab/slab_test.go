package slab

import (
	"testing"
	"unsafe"
)

func TestTake(t *testing.T) {
	s, err := New(100)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := s.Take(1), s.Floats(16)
	if len(a) != 1 || len(b) != 16 || cap(a) != 1 {
		t.Errorf("lengths %d and %d, cap %d", len(a), len(b), cap(a))
	}
	for _, p := range []unsafe.Pointer{unsafe.Pointer(&a[0]), unsafe.Pointer(&b[0])} {
		if uintptr(p)%Align != 0 {
			t.Errorf("%p is not on %d bytes", p, Align)
		}
	}
	a[0] = 0xff
	for i, x := range b {
		if x != 0 {
			t.Errorf("float %d is %g", i, x)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an empty slab gave memory")
		}
	}()
	s.Take(1)
}
