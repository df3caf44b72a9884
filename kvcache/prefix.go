package kvcache

import (
	"fmt"
	"slices"
)

// Root is an identity under which blocks are indexed: first blocks of different
// roots never match. It stands for the parent of a sequence's first block.
type Root = int32

// maxRoots bounds the identities that one pool knows: tenants and adapters.
const maxRoots = 1 << 16

// Root returns the pool's name for an identity. ok is false when there are too
// many; such a sequence runs without the prefix index.
func (p *Pool) Root(identity Hash) (r Root, ok bool) {
	n, ok := p.index.roots[identity]
	if !ok {
		if len(p.index.roots) == maxRoots {
			return 0, false
		}
		n = int32(len(p.index.roots))
		p.index.roots[identity] = n
	}
	return n, true
}

// firstParent is the index's parent of the first block of a root.
func firstParent(r Root) int32 { return ^r }

// Match appends to dst the blocks that hold the longest prefix of tokens, in
// whole blocks, each with a reference for the caller. What dst holds already
// are the first blocks of tokens, sealed and the caller's, as a session has
// them between two turns: the match goes on behind them. In a pool with a window
// a prefix counts only with its window blocks, and dst must be empty.
func (p *Pool) Match(dst []int32, r Root, tokens []int32) []int32 {
	parent, known := firstParent(r), len(dst)
	if known > 0 {
		parent = dst[known-1]
	}
	hash := p.index.hashOfParent(parent)
	for at := known * BlockTokens; at+BlockTokens <= len(tokens); at += BlockTokens {
		ids := tokens[at : at+BlockTokens]
		hash = hashOf(hash, ids)
		b := p.index.find(parent, ids, hash)
		if b == none {
			break
		}
		dst = append(dst, b)
		parent = b
	}
	if p.window != nil {
		dst = dst[:p.reach(dst)]
	}
	for _, b := range dst[known:] {
		p.take(b)
	}
	return dst
}

// Seal indexes the i-th block of a sequence, now that its KV is computed: blocks
// are the sequence's, held by the caller and sealed up to i, and tokens all its
// token IDs, at least (i+1)·BlockTokens of them. If the same contents are indexed
// already, the sequence changes to that block and gives its own back: blocks[i]
// is then another, and Seal returns true.
func (p *Pool) Seal(r Root, blocks []int32, i int, tokens []int32) (changed bool) {
	b, parent := blocks[i], firstParent(r)
	if p.blocks[b].refs <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: seal of unused block %d", b))
	}
	if i > 0 {
		parent = blocks[i-1]
	}
	if p.index.has(b) || parent >= 0 && !p.index.has(parent) {
		panic(fmt.Sprintf("kvcache: BUG: seal of block %d, which is sealed, or before its parent", b))
	}
	ids := tokens[i*BlockTokens : (i+1)*BlockTokens]
	hash := hashOf(p.index.hashOfParent(parent), ids)
	if same := p.index.find(parent, ids, hash); same != none {
		p.take(same)
		p.Release(b)
		blocks[i] = same
		return true
	}
	p.index.add(b, parent, ids, hash)
	if parent >= 0 {
		p.blocks[parent].kin++
	}
	return false
}

// Forget gives up the blocks that hold a prefix of tokens, from the last one on,
// as far as nobody holds them and no other block continues them. It returns how
// many it gave up.
func (p *Pool) Forget(r Root, tokens []int32) (n int) {
	parent := firstParent(r)
	hash := p.index.hashOfParent(parent)
	var blocks []int32
	for at := 0; at+BlockTokens <= len(tokens); at += BlockTokens {
		ids := tokens[at : at+BlockTokens]
		hash = hashOf(hash, ids)
		if parent = p.index.find(parent, ids, hash); parent == none {
			break
		}
		blocks = append(blocks, parent)
	}
	for _, b := range slices.Backward(blocks) {
		if p.blocks[b].refs > 0 || p.blocks[b].kin > 0 {
			break
		}
		p.unlink(b)
		p.forget(b)
		p.putBack(b)
		n++
	}
	return n
}
