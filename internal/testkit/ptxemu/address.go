package ptxemu

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Generic addresses of shared, local and parameter memory lie in windows that
// no allocation reaches: the upper bits tell the space.
const (
	windowShift  = 40
	windowShared = 0x10
	windowLocal  = 0x11
	windowParam  = 0x12
)

// window is the generic address of offset 0 of a space; global and constant
// memory have none.
func window(s space) uint64 {
	switch s {
	case spaceShared:
		return windowShared << windowShift
	case spaceLocal:
		return windowLocal << windowShift
	case spaceParam:
		return windowParam << windowShift
	}
	return 0
}

// split turns a generic address into a space and an address there.
func split(addr uint64) (space, uint64) {
	low := addr & (1<<windowShift - 1)
	switch addr >> windowShift {
	case windowShared:
		return spaceShared, low
	case windowLocal:
		return spaceLocal, low
	case windowParam:
		return spaceParam, low
	}
	return spaceGlobal, addr
}

// access is what an instruction does to memory. Strong accesses (atomics,
// volatile, relaxed, acquire, release) do not race with each other.
type access uint8

const (
	accessRead access = 1 << iota
	accessWrite
	accessStrong
)

func (a access) String() string {
	switch {
	case a&(accessRead|accessWrite) == accessRead|accessWrite:
		return "atomic"
	case a&accessWrite != 0:
		return "write"
	}
	return "read"
}

// at returns the size bytes at an address of a lane, or fails: bounds,
// alignment, and for shared memory initialisation and races. val is what a
// store is about to write, nil for other accesses: a rewrite of the same bytes
// is no race.
func (w *warp) at(s space, lane int, addr uint64, size int, how access, val []byte) []byte {
	if addr&uint64(size-1) != 0 {
		w.fault(&Fault{Kind: Misaligned, Address: addr,
			Detail: fmt.Sprintf("%s of %d bytes at %#x", how, size, addr)}, 1<<lane)
	}
	if s == spaceGeneric {
		s, addr = split(addr)
	}
	n := uint64(size)
	switch s {
	case spaceShared:
		return w.blk.shared.at(w, lane, addr, size, how, val)
	case spaceLocal:
		limit := uint64(w.blk.prog.local)
		if addr < limit && n <= limit-addr {
			start := uint64(lane)*limit + addr
			return w.local[start : start+n]
		}
		w.outside(lane, addr, size, how, fmt.Sprintf("local memory of %d bytes", limit))
	case spaceParam:
		limit := uint64(len(w.blk.params))
		if how == accessRead && addr < limit && n <= limit-addr {
			return w.blk.params[addr : addr+n]
		}
		w.outside(lane, addr, size, how, fmt.Sprintf("parameters of %d bytes", limit))
	}
	return w.global(lane, addr, size, how)
}

// load returns size bytes to read.
func (w *warp) load(s space, lane int, addr uint64, size int) []byte {
	return w.at(s, lane, addr, size, accessRead, nil)
}

func (w *warp) outside(lane int, addr uint64, size int, how access, what string) {
	w.fault(&Fault{Kind: OutOfBounds, Address: addr,
		Detail: fmt.Sprintf("%s of %d bytes at %#x, outside %s", how, size, addr, what)}, 1<<lane)
}

// global looks the address up among the live allocations; neighbouring lanes
// mostly hit the same one.
func (w *warp) global(lane int, addr uint64, size int, how access) []byte {
	r, n := w.region, uint64(size)
	if limit := uint64(len(r.data)); addr-r.base >= limit || n > limit-(addr-r.base) {
		var where string
		if r, where = w.blk.grid.live.find(addr, size); where != "" {
			w.outside(lane, addr, size, how, where+w.blk.grid.mem.lockedFreed(addr))
		}
		w.region = r
	}
	off := addr - r.base
	if how&accessWrite != 0 {
		for g := off / granule; g <= (off+n-1)/granule; g++ {
			if last := &r.writer[g]; atomic.LoadUint32(last) != w.blk.grid.number { // blocks run beside each other
				atomic.StoreUint32(last, w.blk.grid.number)
			}
		}
	}
	if len(w.blk.grid.cfg.Unfinished) > 0 && !w.waited {
		w.early(r, lane, addr, size, how)
	}
	return r.data[off : off+n]
}

// early fails if an access before griddepcontrol.wait may meet a grid that is
// still running: any write, or a read of what such a grid wrote.
func (w *warp) early(r *region, lane int, addr uint64, size int, how access) {
	off := addr - r.base
	if how&accessWrite == 0 {
		if last := atomic.LoadUint32(&r.writer[off/granule]); !slices.Contains(w.blk.grid.cfg.Unfinished, int(last)) {
			return
		}
	}
	w.fault(&Fault{Kind: Order, Address: addr,
		Detail: fmt.Sprintf("%s of %d bytes at %#x before griddepcontrol.wait", how, size, addr)}, 1<<lane)
}
