package ptxemu

import (
	"math"
	"math/bits"
)

// warp is 32 lanes and their state. Lanes are ready, or they wait at an
// instSync (which they have not done), or at a barrier (which they are past);
// or they have exited.
type warp struct {
	id     int
	blk    *block
	r      []lanes
	p      []uint32 // predicates: a bit per lane
	local  []byte
	carry  uint32 // the condition code of add.cc and its like
	region *region

	pc       [32]int32
	stack    [32][]int32 // return addresses
	launched uint32
	live     uint32
	ready    uint32
	parked   uint32 // at a barrier
	here     int32  // the instruction that runs, for faults
	waited   bool   // griddepcontrol.wait was done

	clock uint32     // of the block's epochs, that in which this warp's last barrier was
	seen  [32]uint32 // per warp of the block: what it did up to this epoch happened before now
	floor uint32     // what anyone did up to this epoch happened before now

	async asyncQueue
	tile  tile
}

// start readies the warp for a block. Registers keep old values: PTX from a
// compiler never reads what it did not write.
func (w *warp) start(threads int) {
	n := min(32, threads-32*w.id)
	w.launched = uint32(1<<n - 1)
	w.live, w.ready, w.parked = w.launched, w.launched, 0
	w.pc = [32]int32{}
	for l := range w.stack {
		w.stack[l] = w.stack[l][:0]
	}
	w.waited, w.carry = false, 0
	w.clock, w.floor, w.seen = 1, 0, [32]uint32{}
	w.async.reset()
	fill(w.local, poison)
	w.specials()
}

// run executes at most limit instructions; it returns how many, when the warp
// has exited, waits at a barrier or used up the limit.
func (w *warp) run(limit int) (steps int) {
	code := w.blk.prog.code
pick:
	for steps < limit {
		if w.ready == 0 && !w.wake() {
			return steps
		}
		pc, m, next := w.lowest()
		for {
			if steps == limit {
				w.jump(m, pc)
				return steps
			}
			steps++
			in := &code[pc]
			em := m
			if in.pred >= 0 {
				p := w.p[in.pred]
				if in.negated {
					p = ^p
				}
				em &= p
			}
			w.here = pc
			switch {
			case em == 0:
				pc++
			case in.kind == instPlain:
				in.do(w, em)
				pc++
			case in.kind == instBranch && em == m:
				pc = in.target
			case em == m && in.kind == instSync && w.arrived(in, m) == m:
				w.sync(in, m)
				pc++
			default:
				w.jump(m&^em, pc+1)
				w.jump(em, pc)
				w.control(in, em, pc)
				continue pick
			}
			if pc >= next {
				w.jump(m, pc)
				continue pick
			}
		}
	}
	return steps
}

// jump sets the program counter of lanes.
func (w *warp) jump(m uint32, pc int32) {
	for ; m != 0; m &= m - 1 {
		w.pc[bits.TrailingZeros32(m)] = pc
	}
}

// lowest picks the ready lanes at the lowest instruction; next is where the
// lowest of the others are.
func (w *warp) lowest() (pc int32, m uint32, next int32) {
	pc, next = math.MaxInt32, math.MaxInt32
	for rest := w.ready; rest != 0; rest &= rest - 1 {
		l := bits.TrailingZeros32(rest)
		switch at := w.pc[l]; {
		case at < pc:
			pc, next, m = at, pc, 1<<l
		case at == pc:
			m |= 1 << l
		case at < next:
			next = at
		}
	}
	return pc, m, next
}

// control does what changes the flow of lanes m, which are at pc.
func (w *warp) control(in *inst, m uint32, pc int32) {
	switch in.kind {
	case instBranch:
		w.jump(m, in.target)
	case instTable:
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			i := uint64(uint32(w.r[in.row][l]))
			if i >= uint64(len(in.table)) {
				w.fault(&Fault{Kind: Undefined, Detail: "brx.idx past its table"}, 1<<l)
			}
			w.pc[l] = in.table[i]
		}
	case instCall:
		in.do(w, m)
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			w.stack[l] = append(w.stack[l], pc+1)
			w.pc[l] = in.target
		}
	case instReturn:
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			if n := len(w.stack[l]); n > 0 {
				w.pc[l] = w.stack[l][n-1]
				w.stack[l] = w.stack[l][:n-1]
			} else {
				w.exit(1 << l)
			}
		}
	case instExit:
		w.exit(m)
	case instSync, instBarrier:
		w.ready &^= m
		w.release(pc)
	}
}

func (w *warp) exit(m uint32) {
	w.live &^= m
	w.ready &^= m
}

// waiting is the lanes that wait at an instSync or instBarrier at pc.
func (w *warp) waiting(pc int32) (m uint32) {
	for rest := w.live &^ w.ready &^ w.parked; rest != 0; rest &= rest - 1 {
		if l := bits.TrailingZeros32(rest); w.pc[l] == pc {
			m |= 1 << l
		}
	}
	return m
}

// release does the instruction at pc for the waiting lanes whose company is
// complete, and reports whether there were some.
func (w *warp) release(pc int32) bool {
	in := &w.blk.prog.code[pc]
	w.here = pc
	m := w.arrived(in, w.waiting(pc))
	if m == 0 {
		return false
	}
	w.jump(m, pc+1)
	w.ready |= m
	if in.kind == instBarrier {
		in.do(w, m)
	} else {
		w.sync(in, m)
	}
	return true
}

// wake finds waiting lanes that can go on now that no lane is ready: lanes may
// have exited since they came. If there are none and nothing else can free
// them, they never will be.
func (w *warp) wake() bool {
	stuck := w.live &^ w.parked
	for rest := stuck; rest != 0; {
		l := bits.TrailingZeros32(rest)
		pc := w.pc[l]
		if w.release(pc) {
			return true
		}
		rest &^= w.waiting(pc)
	}
	if stuck != 0 && w.parked == 0 {
		w.diverged(stuck)
	}
	return false
}

// arrived returns the lanes among m, all at one instruction, that need wait
// for no other.
func (w *warp) arrived(in *inst, m uint32) uint32 {
	switch in.needs {
	case needNone:
		return m
	case needFull:
		if m != allLanes {
			return 0
		}
		return m
	case needWarp:
		if m != w.launched {
			return 0
		}
		return m
	}
	row := &w.r[in.row]
	var ok uint32
	for rest := m; rest != 0; {
		l := bits.TrailingZeros32(rest)
		mask := uint32(row[l])
		group := w.group(row, rest, mask)
		rest &^= group
		if group&^mask != 0 {
			w.fault(&Fault{Kind: Divergence, Detail: "lane outside its own member mask"}, group&^mask)
		}
		if group == mask&w.live {
			ok |= group
		}
	}
	return ok
}

// group is the lanes of m with this member mask.
func (w *warp) group(row *lanes, m, mask uint32) (same uint32) {
	for ; m != 0; m &= m - 1 {
		if l := bits.TrailingZeros32(m); uint32(row[l]) == mask {
			same |= 1 << l
		}
	}
	return same
}

// sync does an instSync for complete groups of lanes.
func (w *warp) sync(in *inst, m uint32) {
	if in.needs != needMembers {
		in.do(w, m)
		return
	}
	row := &w.r[in.row]
	for m != 0 {
		g := w.group(row, m, uint32(row[bits.TrailingZeros32(m)]))
		in.do(w, g)
		m &^= g
	}
}

// diverged fails: the stuck lanes wait at warp-wide instructions for lanes that
// wait elsewhere or have exited.
func (w *warp) diverged(stuck uint32) {
	l := bits.TrailingZeros32(stuck)
	w.here = w.pc[l]
	group := w.waiting(w.here)
	w.fault(&Fault{Kind: Divergence, Detail: divergence(group, stuck&^group, w.launched&^w.live)}, group)
}
