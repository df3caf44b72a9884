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

// Pool hands out the blocks of one device's pools, counts references, and finds
// blocks again by the tokens that they hold.
type Pool struct {
	ledger
	evicted uint64
	index   index
	window  *window // nil if no layer has a window
}

// NewPool returns a pool of n free blocks.
func NewPool(n int) *Pool {
	return &Pool{ledger: newLedger(n, "", 0), index: newIndex(n)}
}

// Total returns the number of blocks.
func (p *Pool) Total() int { return len(p.blocks) }

// Free returns how many blocks Alloc can give: the free ones and the cached.
func (p *Pool) Free() int { return p.available() }

// Cached returns how many blocks are kept for their contents alone.
func (p *Pool) Cached() int { return p.cached }

// Evicted returns how many cached blocks have made room for others.
func (p *Pool) Evicted() uint64 { return p.evicted }

// Alloc takes a block with one reference, evicting the least recently used
// cached block if none is free; ok is false when all are used.
func (p *Pool) Alloc() (b int32, ok bool) {
	b, evicted, ok := p.alloc()
	if evicted {
		p.forget(b)
		p.evicted++
	}
	return b, ok
}

// Retain adds a reference to a block in use.
func (p *Pool) Retain(b int32) { p.retain(b) }

// Shared reports whether a block in use has more than one reference: whoever
// wants to write to it must copy it first.
func (p *Pool) Shared(b int32) bool { return p.blocks[b].refs > 1 }

// Release drops a reference. When the last is gone the block is free, or cached
// if it is indexed. A sequence releases its blocks from the last to the first,
// so that a prefix is always evicted after what continues it.
func (p *Pool) Release(b int32) {
	switch {
	case !p.release(b):
	case p.index.has(b):
		p.keep(b)
	default:
		p.putBack(b)
	}
}

// forget takes a block out of the index.
func (p *Pool) forget(b int32) {
	if n := p.blocks[b].kin; n != 0 {
		panic(fmt.Sprintf("kvcache: BUG: eviction of block %d, which %d blocks continue", b, n))
	}
	if p.window != nil {
		p.window.forget(b)
	}
	if parent := p.index.remove(b); parent >= 0 {
		p.blocks[parent].kin--
	}
}

// Clear forgets what every block contains, because the device has lost it. Blocks
// that are held stay held, and are free once they are given back.
func (p *Pool) Clear() {
	p.index.clear()
	for b := range p.blocks {
		p.blocks[b].kin = 0
	}
	p.dropCached()
	if p.window != nil {
		p.window.clear()
	}
}

// Check reports a broken ledger: a block in two states or in none, a list or an
// index that disagrees with the counts.
func (p *Pool) Check() error {
	if err := p.check(p.index.has); err != nil {
		return err
	}
	if p.window != nil {
		if err := p.window.checkAll(p.index.has); err != nil {
			return err
		}
	}
	return p.index.check(p.blocks)
}
