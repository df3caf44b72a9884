// Package kvcache keeps the books of the KV blocks: which block of the
// device's pool is whose, and which blocks of past sequences may be used
// again. It moves no bytes; package device does. A pool is owned by the step
// loop and is not safe for concurrent use.
//
// A block is in one of three states, and the ledger is free + used + cached =
// total at all times (Check proves it):
//
//	free    nobody holds it and it means nothing
//	used    sequences hold references to it
//	cached  nobody holds it, but the prefix index knows what it contains;
//	        it is evicted, least recently used first, when free blocks run out
package kvcache

import "fmt"

// BlockTokens is how many token positions a block holds.
const BlockTokens = 32

// none ends lists and stands for "no block".
const none = -1

// Pool hands out the blocks of one device pool, counts references, and finds
// blocks again by the tokens that they hold.
type Pool struct {
	blocks  []block
	free    []int32 // stack of free blocks
	cached  int     // blocks on the eviction list
	oldest  int32   // head of the eviction list
	newest  int32   // its tail
	evicted uint64
	index   index
}

// block is the books of one block: 16 bytes.
type block struct {
	refs     int32
	older    int32 // neighbours on the eviction list, while cached
	newer    int32
	children int32 // indexed blocks that follow this one
}

// NewPool returns a pool of n free blocks.
func NewPool(n int) *Pool {
	p := &Pool{blocks: make([]block, n), free: make([]int32, n), oldest: none, newest: none, index: newIndex(n)}
	for i := range p.free {
		p.free[i] = int32(n - 1 - i) // block 0 is handed out first
	}
	return p
}

// Total returns the number of blocks.
func (p *Pool) Total() int { return len(p.blocks) }

// Free returns how many blocks Alloc can give: the free ones and the cached.
func (p *Pool) Free() int { return len(p.free) + p.cached }

// Cached returns how many blocks are kept for their contents alone.
func (p *Pool) Cached() int { return p.cached }

// Evicted returns how many cached blocks have made room for others.
func (p *Pool) Evicted() uint64 { return p.evicted }

// Alloc takes a block with one reference, evicting the least recently used
// cached block if none is free; ok is false when all are used.
func (p *Pool) Alloc() (b int32, ok bool) {
	if n := len(p.free); n > 0 {
		b = p.free[n-1]
		p.free = p.free[:n-1]
	} else if p.oldest != none {
		b = p.oldest
		p.unlink(b)
		p.forget(b)
		p.evicted++
	} else {
		return 0, false
	}
	p.blocks[b].refs = 1
	return b, true
}

// Retain adds a reference to a block in use.
func (p *Pool) Retain(b int32) {
	if p.blocks[b].refs <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: retain of unused block %d", b))
	}
	p.blocks[b].refs++
}

// Shared reports whether a block in use has more than one reference: whoever
// wants to write to it must copy it first.
func (p *Pool) Shared(b int32) bool { return p.blocks[b].refs > 1 }

// Release drops a reference. When the last is gone the block is free, or cached
// if it is indexed. A sequence releases its blocks from the last to the first,
// so that a prefix is always evicted after what continues it.
func (p *Pool) Release(b int32) {
	e := &p.blocks[b]
	if e.refs <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: release of unused block %d", b))
	}
	if e.refs--; e.refs > 0 {
		return
	}
	if p.index.has(b) {
		p.link(b)
	} else {
		p.free = append(p.free, b)
	}
}

// link puts a block at the new end of the eviction list.
func (p *Pool) link(b int32) {
	e := &p.blocks[b]
	e.older, e.newer = p.newest, none
	if p.newest == none {
		p.oldest = b
	} else {
		p.blocks[p.newest].newer = b
	}
	p.newest = b
	p.cached++
}

// unlink takes a block off the eviction list.
func (p *Pool) unlink(b int32) {
	e := &p.blocks[b]
	if e.older == none {
		p.oldest = e.newer
	} else {
		p.blocks[e.older].newer = e.newer
	}
	if e.newer == none {
		p.newest = e.older
	} else {
		p.blocks[e.newer].older = e.older
	}
	p.cached--
}

// forget takes a block out of the index.
func (p *Pool) forget(b int32) {
	if n := p.blocks[b].children; n != 0 {
		panic(fmt.Sprintf("kvcache: BUG: eviction of block %d, which %d blocks continue", b, n))
	}
	if parent := p.index.remove(b); parent >= 0 {
		p.blocks[parent].children--
	}
}

// Check reports a broken ledger: a block in two states or in none, a list or an
// index that disagrees with the counts.
func (p *Pool) Check() error {
	state := make([]string, len(p.blocks))
	for _, b := range p.free {
		if state[b] != "" || p.blocks[b].refs != 0 || p.index.has(b) {
			return fmt.Errorf("kvcache: BUG: block %d is free and %s, with %d references", b, state[b], p.blocks[b].refs)
		}
		state[b] = "free"
	}
	listed, last := 0, int32(none)
	for b := p.oldest; b != none; b = p.blocks[b].newer {
		if state[b] != "" || p.blocks[b].refs != 0 || !p.index.has(b) || p.blocks[b].older != last {
			return fmt.Errorf("kvcache: BUG: block %d is cached and %s, with %d references", b, state[b], p.blocks[b].refs)
		}
		state[b], last = "cached", b
		listed++
	}
	if listed != p.cached || last != p.newest {
		return fmt.Errorf("kvcache: BUG: %d blocks on the eviction list, %d counted", listed, p.cached)
	}
	for b, e := range p.blocks {
		if e.refs < 0 || (e.refs == 0) == (state[b] == "") {
			return fmt.Errorf("kvcache: BUG: block %d has %d references and is %q", b, e.refs, state[b])
		}
	}
	return p.index.check(p.blocks)
}
