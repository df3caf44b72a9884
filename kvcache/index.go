package kvcache

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// index finds blocks by what they contain: a block is known by its parent (the
// block before it, or a root) and its token IDs. The table is looked up by a
// 64-bit hash of the parent's hash and the IDs; parent and IDs are always
// compared, so a collision costs time and nothing else. The hashes of a prompt
// follow from its tokens alone, whatever is found: the look-ups of a long match
// overlap in the processor. Beside 4 bytes a token, an entry takes 24 bytes.
//
// Entries are kept by block number: a block is indexed once or not at all.
type index struct {
	table  []int32 // open addressing with linear probes; block + 1, or 0
	mask   uint64
	hash   []uint64 // per block
	parent []int32  // per block: the block before it, or ^root; unindexed: absent
	tokens []int32  // per block: its BlockTokens token IDs
	roots  map[Hash]int32
}

// absent is the parent of blocks that are not indexed.
const absent = -1 << 31

func newIndex(n int) index {
	size := 1
	for size < 2*n {
		size *= 2
	}
	x := index{
		table: make([]int32, size), mask: uint64(size - 1),
		hash: make([]uint64, n), parent: make([]int32, n), tokens: make([]int32, n*BlockTokens),
		roots: map[Hash]int32{},
	}
	for b := range x.parent {
		x.parent[b] = absent
	}
	return x
}

func (x *index) has(b int32) bool { return x.parent[b] != absent }

func (x *index) tokensOf(b int32) []int32 {
	return x.tokens[int(b)*BlockTokens : (int(b)+1)*BlockTokens]
}

// hashOf returns the table's hash of a block that follows one of hash parent
// and holds these tokens.
func hashOf(parent uint64, tokens []int32) uint64 {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&tokens[0])), 4*BlockTokens)
	return xxh3.HashSeed(b, parent)
}

// hashOfParent returns what stands for the parent in a block's hash: a root,
// or the parent's own hash.
func (x *index) hashOfParent(parent int32) uint64 {
	if parent >= 0 {
		return x.hash[parent]
	}
	return uint64(uint32(parent)) * 0x9e3779b97f4a7c15
}

// find returns the block with this parent and these tokens, or none.
func (x *index) find(parent int32, tokens []int32, hash uint64) int32 {
	for at := hash & x.mask; x.table[at] != 0; at = (at + 1) & x.mask {
		b := x.table[at] - 1
		if x.hash[b] == hash && x.parent[b] == parent && slices.Equal(x.tokensOf(b), tokens) {
			return b
		}
	}
	return none
}

// add indexes a block that is not indexed yet.
func (x *index) add(b, parent int32, tokens []int32, hash uint64) {
	x.hash[b], x.parent[b] = hash, parent
	copy(x.tokensOf(b), tokens)
	at := hash & x.mask
	for x.table[at] != 0 {
		at = (at + 1) & x.mask
	}
	x.table[at] = b + 1
}

// remove takes b out and returns its parent. What was displaced by it moves
// back, so that probes need no tombstones.
func (x *index) remove(b int32) (parent int32) {
	at := x.hash[b] & x.mask
	for x.table[at] != b+1 {
		at = (at + 1) & x.mask
	}
	for next := (at + 1) & x.mask; x.table[next] != 0; next = (next + 1) & x.mask {
		home := x.hash[x.table[next]-1] & x.mask
		if (next-home)&x.mask >= (next-at)&x.mask {
			x.table[at] = x.table[next]
			at = next
		}
	}
	x.table[at] = 0
	parent = x.parent[b]
	x.parent[b] = absent
	return parent
}

// clear takes everything out but the roots.
func (x *index) clear() {
	clear(x.table)
	for b := range x.parent {
		x.parent[b] = absent
	}
}

// check reports an index that disagrees with itself or the counts of children.
func (x *index) check(blocks []block) error {
	children, entries := make([]int32, len(blocks)), 0
	for b := range x.parent {
		if !x.has(int32(b)) {
			continue
		}
		entries++
		if x.hash[b] != hashOf(x.hashOfParent(x.parent[b]), x.tokensOf(int32(b))) {
			return fmt.Errorf("kvcache: BUG: block %d has another hash than its contents", b)
		}
		if found := x.find(x.parent[b], x.tokensOf(int32(b)), x.hash[b]); found != int32(b) {
			return fmt.Errorf("kvcache: BUG: looking for block %d finds %d", b, found)
		}
		if p := x.parent[b]; p >= 0 {
			if !x.has(p) {
				return fmt.Errorf("kvcache: BUG: block %d follows block %d, which is not indexed", b, p)
			}
			children[p]++
		}
	}
	for b := range blocks {
		if children[b] != blocks[b].kin {
			return fmt.Errorf("kvcache: BUG: block %d has %d children, %d counted", b, children[b], blocks[b].kin)
		}
	}
	for _, e := range x.table {
		if e != 0 {
			entries--
		}
	}
	if entries != 0 {
		return fmt.Errorf("kvcache: BUG: %d entries more than in the table", entries)
	}
	return nil
}
