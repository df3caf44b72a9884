package ptxemu

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// block runs one block at a time on one goroutine. It is used again for block
// after block and launch after launch, because its registers are large.
type block struct {
	grid   *grid
	prog   *program
	id     Dim3
	params []byte
	shared shared
	warps  []*warp
	bars   [16]barrier
	order  *rand.Rand // nil: warps run in order, each until it waits
	steps  int        // instructions of warps so far
	ticks  int        // that reads of clocks took
	epoch  uint32     // counts all barriers of warps
}

// barrier is one of a block's sixteen. Arrivals are counted in threads.
type barrier struct {
	need    int // 0: all threads that have not exited
	arrived int
	waiting []waiter
	votes   int        // true predicates, for bar.red
	seen    [32]uint32 // joined clocks of who arrived
}

// waiter is lanes of a warp parked at a barrier. done, if not nil, is told what
// bar.red counted.
type waiter struct {
	w     *warp
	lanes uint32
	whole bool // all that the warp has
	done  func(w *warp, lanes uint32, votes, arrived int)
}

// block returns one of an earlier launch of the program, or a new one.
func (g *grid) block() *block {
	b, ok := g.prog.spare.Get().(*block)
	if !ok || len(b.warps) != (g.threads+31)/32 {
		b = newBlock(g)
	}
	b.grid, b.params, b.order = g, g.cfg.Params, nil
	if g.cfg.Seed != 0 {
		b.order = rand.New(rand.NewPCG(g.cfg.Seed, 0))
	}
	return b
}

// giveBack keeps a block that ran to its end for a later launch, with nothing of
// this one: neither its memory nor its order.
func (b *block) giveBack() {
	slices.SortFunc(b.warps, func(v, w *warp) int { return v.id - w.id })
	for _, w := range b.warps {
		w.region = &region{}
	}
	prog := b.prog
	b.grid, b.params, b.order = nil, nil, nil
	prog.spare.Put(b)
}

func newBlock(g *grid) *block {
	b := &block{prog: g.prog}
	for i := range (g.threads + 31) / 32 {
		w := &warp{id: i, blk: b, r: make([]lanes, g.prog.rows), p: make([]uint32, g.prog.preds),
			local: make([]byte, 32*g.prog.local), region: &region{}}
		for _, c := range g.prog.consts {
			w.r[c.row].fill(c.value)
		}
		w.p[predTrue] = allLanes
		b.warps = append(b.warps, w)
	}
	return b
}

// run executes block id to its end. It panics with a *Fault.
func (b *block) run(id Dim3) {
	b.id, b.steps, b.ticks, b.epoch = id, 0, 0, 1
	b.shared.reset(b.prog.shared + b.grid.cfg.SharedBytes)
	for i := range b.bars {
		b.bars[i] = barrier{}
	}
	for _, w := range b.warps {
		w.start(b.grid.threads)
	}
	if b.order != nil {
		b.order.Shuffle(len(b.warps), func(i, j int) { b.warps[i], b.warps[j] = b.warps[j], b.warps[i] })
	}
	for b.turn() {
		if b.grid.stop.Load() {
			return
		}
	}
}

// turn gives every warp that can run a slice, and reports whether any is left.
func (b *block) turn() bool {
	ran, left := false, false
	for _, w := range b.warps {
		if w.live == 0 || w.ready == 0 && w.parked == w.live {
			left = left || w.live != 0
			continue
		}
		slice := b.grid.cfg.StepLimit - b.steps
		if b.order != nil {
			slice = min(slice, 1<<b.order.IntN(10))
		}
		n := w.run(slice)
		b.steps += n
		if b.steps >= b.grid.cfg.StepLimit {
			w.fault(&Fault{Kind: StepLimit, Detail: fmt.Sprintf("%d instructions of warps in one block", b.steps)}, w.live)
		}
		if w.live != w.launched {
			b.complete() // exits may have been what a barrier waited for
		}
		ran, left = ran || n > 0, true
	}
	if left && !ran {
		b.deadlock()
	}
	return left
}

// arrival is what a warp brings to a barrier.
type arrival struct {
	waiter
	bar     int
	need    int // 0: all threads that have not exited
	threads int // as many count
	votes   uint32
	stay    bool // wait until the barrier completes
}

// arrive counts a warp's lanes in at a barrier.
func (b *block) arrive(a arrival) {
	w, bar := a.w, &b.bars[a.bar]
	if bar.arrived > 0 && bar.need != a.need {
		w.fault(&Fault{Kind: Deadlock, Detail: fmt.Sprintf("barrier %d for %d threads, begun for %d", a.bar, a.need, bar.need)}, a.lanes)
	}
	bar.need = a.need
	bar.arrived += a.threads
	bar.votes += bits.OnesCount32(a.votes)
	for v, c := range w.seen {
		bar.seen[v] = max(bar.seen[v], c)
	}
	bar.seen[w.id] = max(bar.seen[w.id], w.clock)
	w.tick()
	if a.stay {
		a.whole = a.lanes == w.live
		w.ready &^= a.lanes
		w.parked |= a.lanes
		bar.waiting = append(bar.waiting, a.waiter)
	}
	b.complete()
}

// complete opens every barrier that has all its arrivals.
func (b *block) complete() {
	for id := range b.bars {
		bar := &b.bars[id]
		if bar.arrived == 0 || bar.arrived < b.needed(bar) {
			continue
		}
		for _, a := range bar.waiting {
			if a.whole { // the warp did nothing since it came
				bar.seen[a.w.id] = b.epoch
			}
		}
		for _, a := range bar.waiting {
			for v, c := range bar.seen {
				a.w.seen[v] = max(a.w.seen[v], c)
			}
			a.w.ready |= a.lanes
			a.w.parked &^= a.lanes
			a.w.tick()
			if a.done != nil {
				a.done(a.w, a.lanes, bar.votes, bar.arrived)
			}
		}
		*bar = barrier{waiting: bar.waiting[:0]}
	}
}

func (b *block) needed(bar *barrier) int {
	if bar.need != 0 {
		return bar.need
	}
	return b.alive()
}

func (b *block) alive() (threads int) {
	for _, w := range b.warps {
		threads += bits.OnesCount32(w.live)
	}
	return threads
}

// deadlock fails at the first warp that waits.
func (b *block) deadlock() {
	for id := range b.bars {
		bar := &b.bars[id]
		if len(bar.waiting) == 0 {
			continue
		}
		a := bar.waiting[0]
		a.w.here = a.w.pc[bits.TrailingZeros32(a.lanes)] - 1
		a.w.fault(&Fault{Kind: Deadlock, Detail: fmt.Sprintf("%d of %d threads are at barrier %d and no other can come",
			bar.arrived, b.needed(bar), id)}, a.lanes)
	}
	panic("BUG: no warp can run and none waits at a barrier")
}
