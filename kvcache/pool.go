// Package kvcache keeps the books of the KV blocks: which block of the
// device's pool is whose. It moves no bytes; package device does. A pool is
// owned by the step loop and is not safe for concurrent use.
package kvcache

import "fmt"

// Pool hands out the blocks of one device pool, counting references. The
// ledger is free + used = total at all times; Check proves it.
type Pool struct {
	refs []int32 // per block: sequences that hold it, 0 when free
	free []int32 // stack of free blocks
}

// NewPool returns a pool of n free blocks.
func NewPool(n int) *Pool {
	p := &Pool{refs: make([]int32, n), free: make([]int32, n)}
	for i := range p.free {
		p.free[i] = int32(n - 1 - i) // block 0 is handed out first
	}
	return p
}

// Total returns the number of blocks.
func (p *Pool) Total() int { return len(p.refs) }

// Free returns how many blocks nobody holds.
func (p *Pool) Free() int { return len(p.free) }

// Alloc takes a free block with one reference; ok is false when there is none.
func (p *Pool) Alloc() (block int32, ok bool) {
	if len(p.free) == 0 {
		return 0, false
	}
	block = p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.refs[block] = 1
	return block, true
}

// Retain adds a reference to a block in use.
func (p *Pool) Retain(block int32) {
	if p.refs[block] <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: retain of free block %d", block))
	}
	p.refs[block]++
}

// Release drops a reference; the block is free when the last is gone.
func (p *Pool) Release(block int32) {
	if p.refs[block] <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: release of free block %d", block))
	}
	if p.refs[block]--; p.refs[block] == 0 {
		p.free = append(p.free, block)
	}
}

// Check reports a broken ledger: a block that is both free and held, neither,
// or free twice.
func (p *Pool) Check() error {
	seen := make([]bool, len(p.refs))
	for _, b := range p.free {
		if seen[b] || p.refs[b] != 0 {
			return fmt.Errorf("kvcache: BUG: block %d is free twice, or free with %d references", b, p.refs[b])
		}
		seen[b] = true
	}
	for b, n := range p.refs {
		if n < 0 || (n == 0 && !seen[b]) {
			return fmt.Errorf("kvcache: BUG: block %d has %d references and is not free", b, n)
		}
	}
	return nil
}
