package kvcache

import "fmt"

// window keeps the books of the window pool: the KV of layers whose tokens see
// only so many positions back. Its blocks have no index of their own. One with
// the KV of the same positions as an indexed block of the full pool accompanies
// that block, and is found through it. It is cached for that, and goes when room
// is needed, whatever becomes of its neighbours, or with the block that it
// accompanies.
type window struct {
	ledger
	positions int     // that a token sees, its own included
	of        []int32 // per block of the full pool: what accompanies it, or none
}

// NewWindowPool returns a pool of n free blocks and a window pool of m, for
// layers whose tokens see so many positions.
func NewWindowPool(n, m, positions int) *Pool {
	p := NewPool(n)
	p.window = &window{ledger: newLedger(m, "window ", none), positions: positions, of: make([]int32, n)}
	for i := range p.window.of {
		p.window.of[i] = none
	}
	return p
}

// Window returns how many positions a token sees in the window pool's layers;
// 0 if there is no such pool.
func (p *Pool) Window() int {
	if p.window == nil {
		return 0
	}
	return p.window.positions
}

// AllocWindow takes a block of the window pool with one reference, evicting the
// least recently used cached one if none is free; ok is false when all are used.
func (p *Pool) AllocWindow() (b int32, ok bool) {
	b, evicted, ok := p.window.alloc()
	if evicted {
		p.window.part(b)
	}
	return b, ok
}

// RetainWindow adds a reference to a block of the window pool in use.
func (p *Pool) RetainWindow(b int32) { p.window.retain(b) }

// ReleaseWindow drops a reference. When the last is gone the block is free, or
// cached if it accompanies one.
func (p *Pool) ReleaseWindow(b int32) {
	w := p.window
	switch {
	case !w.release(b):
	case w.blocks[b].kin != none:
		w.keep(b)
	default:
		w.putBack(b)
	}
}

// part ends the company of a window block.
func (w *window) part(b int32) {
	w.of[w.blocks[b].kin] = none
	w.blocks[b].kin = none
}

// forget is called when a block of the full pool loses its contents.
func (w *window) forget(full int32) {
	b := w.of[full]
	if b == none {
		return
	}
	w.part(b)
	if w.blocks[b].refs == 0 {
		w.unlink(b)
		w.putBack(b)
	}
}

// clear ends all company.
func (w *window) clear() {
	for i := range w.of {
		w.of[i] = none
	}
	for b := range w.blocks {
		w.blocks[b].kin = none
	}
	w.dropCached()
}

// WindowFrom returns the first block of a prefix of n tokens that a token behind
// it sees: the window blocks from there on must be there.
func (p *Pool) WindowFrom(n int) int { return max(0, n-p.window.positions) / BlockTokens }

// reach returns how many of blocks, which are indexed and follow each other, make
// a prefix that can be continued: the hit rule of a pool with a window.
func (p *Pool) reach(blocks []int32) int {
	best, run := 0, 0 // run: blocks in a row, up to here, that are accompanied
	for i, b := range blocks {
		if run++; p.window.of[b] == none {
			run = 0
		}
		if n := i + 1; run >= n-p.WindowFrom(n*BlockTokens) {
			best = n
		}
	}
	return best
}

// MatchWindow appends to dst the window blocks of a match, each with a reference
// for the caller: one for each block of blocks that a token behind them sees, in
// order, the first being that of blocks[WindowFrom].
func (p *Pool) MatchWindow(dst, blocks []int32) []int32 {
	for _, b := range blocks[p.WindowFrom(len(blocks)*BlockTokens):] {
		c := p.window.of[b]
		p.window.take(c)
		dst = append(dst, c)
	}
	return dst
}

// SealWindow says that window block b, the caller's, has the KV of the same
// positions as the sealed block full. It returns b, or another block that has it
// already: that one is then the caller's, and b is not any more.
func (p *Pool) SealWindow(full, b int32) int32 {
	w := p.window
	switch same := w.of[full]; {
	case same == b:
	case same != none:
		w.take(same)
		p.ReleaseWindow(b)
		return same
	case w.blocks[b].kin != none || w.blocks[b].refs <= 0 || !p.index.has(full):
		panic(fmt.Sprintf("kvcache: BUG: window block %d cannot accompany block %d", b, full))
	default:
		w.of[full], w.blocks[b].kin = b, full
	}
	return b
}

// checkAll reports a broken ledger, or company that only one side knows of.
func (w *window) checkAll(indexed func(int32) bool) error {
	if err := w.check(func(b int32) bool { return w.blocks[b].kin != none }); err != nil {
		return err
	}
	company := 0
	for b, e := range w.blocks {
		if e.kin == none {
			continue
		}
		company++
		if w.of[e.kin] != int32(b) || !indexed(e.kin) {
			return fmt.Errorf("kvcache: BUG: window block %d accompanies block %d, which has %d", b, e.kin, w.of[e.kin])
		}
	}
	for _, b := range w.of {
		if b != none {
			company--
		}
	}
	if company != 0 {
		return fmt.Errorf("kvcache: BUG: %d blocks are accompanied by window blocks that do not know", -company)
	}
	return nil
}
