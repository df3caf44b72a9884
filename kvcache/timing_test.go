package kvcache

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// TestPoolMetadata pins what a block and an index entry cost.
func TestPoolMetadata(t *testing.T) {
	var x index
	blockBytes := unsafe.Sizeof(block{}) + 4 // and a place on the free stack
	entryBytes := 2*unsafe.Sizeof(x.table[0])*2 + unsafe.Sizeof(x.hash[0]) + unsafe.Sizeof(x.parent[0])
	if blockBytes > 24 || entryBytes > 64 {
		t.Errorf("%d bytes a block, %d an entry", blockBytes, entryBytes)
	}
}

func BenchmarkAllocRelease(b *testing.B) {
	const n = 1 << 20
	p := NewPool(n)
	b.Run("in-order", func(b *testing.B) {
		for b.Loop() {
			x, _ := p.Alloc()
			p.Release(x)
		}
	})
	held := make([]int32, n)
	for i := range held {
		held[i], _ = p.Alloc()
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) { held[i], held[j] = held[j], held[i] })
	b.Run("random", func(b *testing.B) {
		i := 0
		for b.Loop() {
			p.Release(held[i])
			held[i], _ = p.Alloc()
			i = (i + 8191) % n
		}
	})
}

// BenchmarkMatch128k looks up a prompt of 131,072 tokens, all of it indexed.
func BenchmarkMatch128k(b *testing.B) {
	p := NewPool(8192)
	r, _ := p.Root(Hash{})
	tokens := tokensOf(1, 4096)
	release(p, fill(p, r, tokens))
	dst := make([]int32, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.Match(dst[:0], r, tokens)
		for _, x := range slices.Backward(dst) {
			p.Release(x)
		}
	}
	if len(dst) != 4096 {
		b.Fatalf("%d blocks matched", len(dst))
	}
}

// BenchmarkNextTurn matches what a turn of two blocks adds to a session of
// 131,072 tokens that has kept its blocks.
func BenchmarkNextTurn(b *testing.B) {
	p := NewPool(8192)
	r, _ := p.Root(Hash{})
	tokens := tokensOf(1, 4098)
	held := fill(p, r, tokens)
	release(p, held[4096:])
	b.ReportAllocs()
	for b.Loop() {
		held = p.Match(held[:4096], r, tokens)
		release(p, held[4096:])
	}
	if len(held) != 4098 {
		b.Fatalf("%d blocks matched", len(held))
	}
}

// BenchmarkEvict takes blocks from a full cache, so that each Alloc evicts, and
// puts them back with other contents.
func BenchmarkEvict(b *testing.B) {
	const n = 1 << 16
	p := NewPool(n)
	r, _ := p.Root(Hash{})
	for i := range n {
		release(p, fill(p, r, tokensOf(i, 1)))
	}
	tokens, blocks := tokensOf(n, 1), make([]int32, 1)
	b.ReportAllocs()
	for b.Loop() {
		blocks[0], _ = p.Alloc()
		tokens[0]++
		p.Seal(r, blocks, 0, tokens)
		p.Release(blocks[0])
	}
	if p.Cached() != n {
		b.Fatalf("%d blocks cached of %d", p.Cached(), n)
	}
}
