// Package slab is memory off the Go heap: weights, KV blocks and scratch live
// here, so that the garbage collector neither scans nor paces by them.
package slab

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Align is the alignment of what Take returns, in bytes: one cache line.
const Align = 64

// Slab is one anonymous mapping, handed out from its start. Pages cost memory
// once they are touched. It is not safe for concurrent use but where a method says
// so; the bytes handed out are valid until Close.
type Slab struct {
	data []byte
	used int

	touched int // bytes from the start that TouchAhead was asked for
	more    chan [2]int
	toucher sync.WaitGroup
	closing atomic.Bool
}

// New maps size bytes, zeroed, and asks for huge pages.
func New(size int) (*Slab, error) {
	size = max(Round(size), Align)
	data, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("slab: map %d bytes: %w", size, err)
	}
	_ = unix.Madvise(data, unix.MADV_HUGEPAGE) // a wish: without it the memory is slower, not wrong
	return &Slab{data: data}, nil
}

// Round returns n rounded up to Align.
func Round(n int) int { return (n + Align - 1) &^ (Align - 1) }

// Take returns the next n bytes. The slab was made large enough: running out is
// a bug of the caller's plan.
func (s *Slab) Take(n int) []byte {
	end := s.used + Round(n)
	if n < 0 || end > len(s.data) {
		panic(fmt.Sprintf("slab: BUG: %d bytes of %d used, %d asked for", s.used, len(s.data), n))
	}
	b := s.data[s.used : s.used+n : s.used+n]
	s.used = end
	return b
}

// Floats returns the next n float32.
func (s *Slab) Floats(n int) []float32 { return Floats(s.Take(4 * n)) }

// Floats views bytes of a slab as float32.
func Floats(b []byte) []float32 {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// Close unmaps the memory.
func (s *Slab) Close() error {
	s.closing.Store(true)
	if s.more != nil {
		close(s.more)
	}
	s.toucher.Wait()
	return unix.Munmap(s.data)
}
