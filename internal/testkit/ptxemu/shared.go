package ptxemu

import "fmt"

// shared is a block's shared memory with, for every word of 4 bytes, what the
// detector of races and of uninitialised reads must remember.
type shared struct {
	data  []byte
	cells []cell
}

// cell is the history of a word. Masks have a bit per byte. Of readers the last
// two of different warps are kept and of writers the last: the detector may
// miss a race among many, it never invents one.
type cell struct {
	init    uint8 // bytes that hold a value
	pending uint8 // bytes that a cp.async is under way to
	write   stamp
	reads   [2]stamp
}

// stamp is an access: by which thread of the block, at which count of its
// warp's barriers, to which bytes.
type stamp struct {
	clock  uint32
	thread uint16
	bytes  uint8
	strong bool
}

func (s *shared) reset(size int) {
	if cap(s.data) < size {
		s.data = make([]byte, size)
		s.cells = make([]cell, (size+3)/4)
	}
	s.data, s.cells = s.data[:size], s.cells[:(size+3)/4]
	fill(s.data, poison)
	clear(s.cells)
}

// fill sets all bytes to v, by copies that double.
func fill(b []byte, v byte) {
	if len(b) == 0 {
		return
	}
	b[0] = v
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

func (s *shared) at(w *warp, lane int, addr uint64, size int, how access, val []byte) []byte {
	if addr >= uint64(len(s.data)) || uint64(size) > uint64(len(s.data))-addr {
		w.outside(lane, addr, size, how, fmt.Sprintf("shared memory of %d bytes", len(s.data)))
	}
	me := stamp{clock: w.clock, thread: uint16(w.id<<5 | lane), bytes: 0xf, strong: how&accessStrong != 0}
	if size < 4 {
		me.bytes = (1<<size - 1) << (addr & 3)
	}
	cells := s.cells[addr/4:][:(size+3)/4]
	for i := range cells {
		c := &cells[i]
		if how&accessRead != 0 {
			if c.init&me.bytes != me.bytes || c.write.clock > w.floor && w.races(c.write, me) {
				s.badRead(w, c, me, addr&^3+uint64(4*i))
			}
			if me.thread>>5 != c.reads[0].thread>>5 {
				c.reads[1] = c.reads[0]
			}
			c.reads[0] = me
		}
		if how&accessWrite != 0 {
			if max(c.write.clock, c.reads[0].clock, c.reads[1].clock) > w.floor {
				s.checkWrite(w, c, me, addr&^3+uint64(4*i), addr, val)
			}
			c.write = me
			c.init |= me.bytes
			c.pending &^= me.bytes
		}
	}
	return s.data[addr : addr+uint64(size)]
}

// badRead fails, for want of a value or of an order.
func (s *shared) badRead(w *warp, c *cell, me stamp, at uint64) {
	if c.init&me.bytes == me.bytes {
		w.race("read", me, "written", c.write, at)
	}
	what := "which nobody wrote"
	if c.pending&me.bytes != 0 {
		what = "whose cp.async has not been waited for"
	}
	w.fault(&Fault{Kind: Uninitialised, Address: at, Detail: fmt.Sprintf("read of shared memory at %#x, %s", at, what)}, 1<<(me.thread&31))
}

// checkWrite fails if a write of the word at at races, unless val, for addr,
// is what memory holds already.
func (s *shared) checkWrite(w *warp, c *cell, me stamp, at, addr uint64, val []byte) {
	if val != nil && string(s.data[addr:addr+uint64(len(val))]) == string(val) && c.init&me.bytes == me.bytes {
		return
	}
	if w.races(c.write, me) {
		w.race("write", me, "written", c.write, at)
	}
	for _, r := range c.reads {
		if w.races(r, me) {
			w.race("write", me, "read", r, at)
		}
	}
}

// begin marks bytes as the target of a cp.async: until it is waited for they
// hold nothing.
func (s *shared) begin(addr uint64, size int) {
	for i := range uint64(size) {
		bit := uint8(1) << ((addr + i) & 3)
		c := &s.cells[(addr+i)/4]
		c.init &^= bit
		c.pending |= bit
		s.data[addr+i] = poison
	}
}

// finish lands a cp.async, as a write of the thread that waited for it.
func (s *shared) finish(w *warp, lane int, addr uint64, val []byte) {
	copy(s.data[addr:], val)
	for i := range uint64(len(val)) {
		bit := uint8(1) << ((addr + i) & 3)
		c := &s.cells[(addr+i)/4]
		c.init |= bit
		c.pending &^= bit
		c.write = stamp{clock: w.clock, thread: uint16(w.id<<5 | lane), bytes: 0xf}
	}
}

// races reports whether the access before was not ordered before me, on a
// shared byte, with not both of them strong. One of the two is a write.
func (w *warp) races(before, me stamp) bool {
	if before.bytes&me.bytes == 0 || before.thread == me.thread || before.strong && me.strong {
		return false
	}
	if v := int(before.thread >> 5); v != w.id {
		return w.seen[v] < before.clock
	}
	return before.clock == w.clock
}

// tick begins a new span of the warp: what it did so far is ordered before what
// it does from now on, and before those who have seen its clock.
func (w *warp) tick() {
	w.blk.epoch++
	w.clock = w.blk.epoch
	w.floor = w.clock - 1
	for _, v := range w.blk.warps {
		if v != w {
			w.floor = min(w.floor, w.seen[v.id])
		}
	}
}

func (w *warp) race(did string, me stamp, had string, before stamp, at uint64) {
	w.fault(&Fault{Kind: Race, Address: at,
		Detail: fmt.Sprintf("%s of shared memory at %#x, %s by thread %d with no barrier since", did, at, had, before.thread)}, 1<<(me.thread&31))
}
