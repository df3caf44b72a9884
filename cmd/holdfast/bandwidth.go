package main

import (
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-run/holdfast/internal/sysinfo"
)

// reader measures how fast threads read memory: the bound of a decode step, which
// reads all weights once.
type reader struct {
	memory []byte
	pieces [][]uint64 // one for each thread
	total  uint64     // of all that was read, so that reading is not left out
}

// readBytes is, for each thread, more than its share of a processor's caches.
const readBytes = 128 << 20

// newReader takes the memory, or less of it where there is little.
func newReader(threads int) (*reader, error) {
	const line = 64
	each := max(line, min(readBytes, int(sysinfo.AvailableMemory()/4)/threads)/line*line)
	memory, err := unix.Mmap(-1, 0, threads*each, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("memory to read: %w", err)
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // as for weights; a kernel without them is as good
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1 // pages that were never written are all one page
	}
	r := &reader{memory: memory}
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), len(memory)/8)
	for i := range threads {
		r.pieces = append(r.pieces, words[i*each/8:(i+1)*each/8])
	}
	return r, nil
}

// speed reads everything twice and returns the better speed in bytes per second.
func (r *reader) speed() (best float64) {
	for range 2 {
		sums := make([]uint64, len(r.pieces))
		start := time.Now()
		var wg sync.WaitGroup
		for i, piece := range r.pieces {
			wg.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				sums[i] = sum(piece)
			})
		}
		wg.Wait()
		best = max(best, float64(len(r.memory))/time.Since(start).Seconds())
		for _, s := range sums {
			r.total += s
		}
	}
	return best
}

func (r *reader) close() error { return unix.Munmap(r.memory) }

// sum reads a cache line a turn, into sums that do not wait for each other.
func sum(x []uint64) uint64 {
	var a, b, c, d uint64
	for ; len(x) >= 8; x = x[8:] {
		a += x[0] + x[4]
		b += x[1] + x[5]
		c += x[2] + x[6]
		d += x[3] + x[7]
	}
	return a + b + c + d
}
