package slab

import (
	"golang.org/x/sys/unix"

	"github.com/holdfast-run/holdfast/internal/sysinfo"
)

// step is how many bytes one call touches: a huge page.
const step = 2 << 20

// Touch has the kernel back bytes [from, to) with pages, and returns when it has.
// What they hold stays as it is. Kernels before 5.14 cannot: there pages come when
// they are written, as without Touch. It may be called by any goroutine.
//
// A page that is written for the first time costs a fault and its zeroing; on a
// virtual machine whose host has not backed it either, up to 30 µs for each 4 KiB,
// which is 6 ms for a KV block of 720 KiB in the middle of a step.
func (s *Slab) Touch(from, to int) {
	to = min(to, len(s.data))
	for at := max(from, 0) / step * step; at < to && !s.closing.Load(); at += step {
		if unix.Madvise(s.data[at:min(at+step, to)], unix.MADV_POPULATE_WRITE) != nil {
			return
		}
	}
}

// TouchAhead is Touch of the first n bytes behind the caller's back, by a thread of the
// lowest priority. It returns at once, and costs nothing where n is not more than it was
// before. One goroutine may call it, until Close.
func (s *Slab) TouchAhead(n int) {
	if n = min(n, len(s.data)); n <= s.touched {
		return
	}
	from := s.touched
	s.touched = n
	if s.more == nil {
		s.more = make(chan [2]int, 1)
		s.toucher.Go(func() { sysinfo.Background(19, s.touchAhead) })
	}
	select {
	case s.more <- [2]int{from, n}:
	case last := <-s.more: // it is behind: more at once
		s.more <- [2]int{last[0], n}
	}
}

// touchAhead is what its thread does.
func (s *Slab) touchAhead() {
	for r := range s.more {
		s.Touch(r[0], r[1])
	}
}
