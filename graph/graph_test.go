package graph_test

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
)

func TestBuilderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		build func(b *graph.Builder) graph.Value
		want  string
	}{
		"logits before gather": {func(b *graph.Builder) graph.Value { return b.Linear(b.Embed("e", 4, 8), "w", 4, "") }, "Gather"},
		"empty table":          {func(b *graph.Builder) graph.Value { return b.Embed("e", 0, 8) }, "e: bad shape"},
		"no outputs":           {func(b *graph.Builder) graph.Value { return b.Linear(b.Embed("e", 4, 8), "w", 0, "") }, "w: bad shape"},
		"unlike sum":           {func(b *graph.Builder) graph.Value { x := b.Embed("e", 4, 8); return b.Add(x, b.Linear(x, "w", 4, "")) }, "unlike"},
		"rope": {func(b *graph.Builder) graph.Value {
			return b.RoPE(b.Embed("e", 4, 8), graph.RoPE{Heads: 3, HeadDim: 2})
		}, "RoPE"},
		"rope of too many": {func(b *graph.Builder) graph.Value {
			return b.RoPE(b.Embed("e", 4, 8), graph.RoPE{Heads: 2, HeadDim: 4, Freqs: make([]float64, 3)})
		}, "RoPE"},
		"rope of no magnitude": {func(b *graph.Builder) graph.Value {
			return b.RoPE(b.Embed("e", 4, 8), graph.RoPE{Heads: 2, HeadDim: 4, Freqs: make([]float64, 2)})
		}, "magnitude 0"},
		"norm of parts of heads": {func(b *graph.Builder) graph.Value { return b.HeadNorm(b.Embed("e", 4, 8), "n", 3, 1e-5) }, "n: heads of 3"},
		"cap of nothing":         {func(b *graph.Builder) graph.Value { return b.SoftCap(b.Embed("e", 4, 8), 0) }, "soft cap of 0"},
		"slice past the end":     {func(b *graph.Builder) graph.Value { return b.Slice(b.Embed("e", 4, 8), 6, 3) }, "[6, 9)"},
		"slice of nothing":       {func(b *graph.Builder) graph.Value { return b.Slice(b.Embed("e", 4, 8), 6, 0) }, "[6, 6)"},
		"attention capped below zero": {func(b *graph.Builder) graph.Value {
			x := b.Embed("e", 4, 8)
			kv := b.StoreKV(x, x, graph.KVLayer{Heads: 2, HeadDim: 4})
			return b.Attention(x, kv, graph.Attention{Heads: 2, HeadDim: 4, Cap: -1})
		}, "capped at -1"},
		"unlike windows": {func(b *graph.Builder) graph.Value {
			x := b.Embed("e", 4, 8)
			b.StoreKV(x, x, graph.KVLayer{Heads: 2, HeadDim: 4, Window: 3})
			return b.StoreKV(x, x, graph.KVLayer{Heads: 2, HeadDim: 4, Window: 4})
		}, "window of 4"},
		"KV": {func(b *graph.Builder) graph.Value {
			x := b.Embed("e", 4, 8)
			return b.StoreKV(x, x, graph.KVLayer{Heads: 3, HeadDim: 4})
		}, "StoreKV"},
		"attention without KV": {func(b *graph.Builder) graph.Value {
			x := b.Embed("e", 4, 8)
			return b.Attention(x, x, graph.Attention{Heads: 2, HeadDim: 4})
		}, "StoreKV"},
		"attention of other heads": {func(b *graph.Builder) graph.Value {
			x := b.Embed("e", 4, 8)
			kv := b.StoreKV(x, x, graph.KVLayer{Heads: 2, HeadDim: 4})
			return b.Attention(x, kv, graph.Attention{Heads: 4, HeadDim: 2})
		}, "attention"},
	} {
		var b graph.Builder
		if _, err := b.Build(c.build(&b), 16); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFirstErrorSticks(t *testing.T) {
	var b graph.Builder
	x := b.Embed("first", 0, 0)
	x = b.Norm(x, "n", 1e-5)
	x = b.Linear(x, "second", 0, "")
	if _, err := b.Build(b.Gather(x), 16); err == nil || !strings.Contains(err.Error(), "first") {
		t.Errorf("%v", err)
	}
}

func TestDTypes(t *testing.T) {
	for d := graph.F32; d <= graph.I32; d++ {
		if d.BlockElems() <= 0 || d.BlockBytes() <= 0 || d.RowBytes(512) != 512/d.BlockElems()*d.BlockBytes() || strings.HasPrefix(d.String(), "DType") {
			t.Errorf("%v: %d elements in %d bytes", d, d.BlockElems(), d.BlockBytes())
		}
	}
	if got := graph.DType(200).String(); got != "DType(200)" {
		t.Error(got)
	}
}
