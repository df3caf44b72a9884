package cuda_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/graph"
)

// TestRefusesByName: of what the families' operators could be put together to, that for
// which there is no kernel is said.
func TestRefusesByName(t *testing.T) {
	_, f := load(t, "bf16")
	const table, vocab, dim = "token_embd.weight", 35, 256
	const norm, matrix = "output_norm.weight", "blk.0.attn_q.weight"
	type values = [3]graph.Value
	end := func(b *graph.Builder, x graph.Value) graph.Value {
		return b.Linear(b.Norm(b.Gather(x), norm, 1e-5), table, vocab, "")
	}
	// attention is a layer whose queries, keys and values change makes of three
	// linear layers.
	attention := func(b *graph.Builder, change func(qkv values) values) graph.Value {
		x := b.Embed(table, vocab, dim)
		h := b.Norm(x, norm, 1e-5)
		v := values{b.Linear(h, matrix, dim, ""), b.Linear(h, matrix, dim, ""), b.Linear(h, matrix, dim, "")}
		v = change(v)
		kv := b.StoreKV(v[1], v[2], graph.KVLayer{Heads: 1, HeadDim: dim})
		y := b.Attention(v[0], kv, graph.Attention{Heads: 1, HeadDim: dim, Scale: 1})
		return end(b, b.Add(x, b.Linear(y, matrix, dim, "")))
	}
	rope := func(magnitude float64) graph.RoPE {
		return graph.RoPE{Heads: 1, HeadDim: dim, Freqs: make([]float64, 2), Magnitude: magnitude}
	}
	for name, c := range map[string]struct {
		want  string
		build func(b *graph.Builder) graph.Value
	}{
		"nothing to refuse": {"", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values { return v })
		}},
		"scaled logits": {"", func(b *graph.Builder) graph.Value {
			return b.Scale(attention(b, func(v values) values { return v }), 2)
		}},
		"logits scaled behind their cap": {"where its value is used", func(b *graph.Builder) graph.Value {
			return b.Scale(b.SoftCap(attention(b, func(v values) values { return v }), 30), 2)
		}},
		"a scaled sum": {"a scale of anything but the embedding", func(b *graph.Builder) graph.Value {
			x := b.Embed(table, vocab, dim)
			x = b.Add(x, b.Linear(b.Norm(x, norm, 1e-5), matrix, dim, ""))
			return end(b, b.Scale(x, 2))
		}},
		"an embedding used scaled and as it is": {"a scale of anything but the embedding", func(b *graph.Builder) graph.Value {
			x := b.Embed(table, vocab, dim)
			return end(b, b.Add(b.Scale(x, 2), b.Linear(b.Norm(x, norm, 1e-5), matrix, dim, "")))
		}},
		"heads of the stream": {"a norm of runs of 64 where there are 256", func(b *graph.Builder) graph.Value {
			x := b.HeadNorm(b.Embed(table, vocab, dim), norm, 64, 1e-5)
			return b.Linear(b.Gather(x), table, vocab, "")
		}},
		"half a head": {"a norm of runs of 128 where there are 256", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values {
				return values{b.HeadNorm(v[0], norm, 128, 1e-5), b.HeadNorm(v[1], norm, 128, 1e-5), v[2]}
			})
		}},
		"a norm of queries alone": {"normed in different ways", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values { return values{b.HeadNorm(v[0], norm, dim, 1e-5), v[1], v[2]} })
		}},
		"norms that differ": {"normed in different ways", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values {
				return values{b.HeadNorm(v[0], norm, dim, 1e-5), b.HeadNorm(v[1], norm, dim, 1e-6), v[2]}
			})
		}},
		"a norm of values": {"in the place of a linear layer", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values { return values{v[0], v[1], b.HeadNorm(v[2], norm, dim, 1e-5)} })
		}},
		"a norm after RoPE": {"where its value is used", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values {
				return values{b.HeadNorm(b.RoPE(v[0], rope(1)), norm, dim, 1e-5), b.HeadNorm(b.RoPE(v[1], rope(1)), norm, dim, 1e-5), v[2]}
			})
		}},
		"keys stored and turned": {"used before and after RoPE", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values { return values{b.RoPE(v[0], rope(1)), b.RoPE(v[1], rope(1)), v[1]} })
		}},
		"magnitudes that differ": {"turned by different angles", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values { return values{b.RoPE(v[0], rope(1)), b.RoPE(v[1], rope(2)), v[2]} })
		}},
		"a soft cap of no logits": {"where its value is used", func(b *graph.Builder) graph.Value {
			x := b.SoftCap(b.Embed(table, vocab, dim), 30)
			return end(b, x)
		}},
		"a slice of the stream": {"where its value is used", func(b *graph.Builder) graph.Value {
			x := b.Slice(b.Embed(table, vocab, dim), 0, 64)
			return b.Linear(b.Gather(x), table, vocab, "")
		}},
		"a linear layer used sliced and whole": {"in the place of a linear layer", func(b *graph.Builder) graph.Value {
			return attention(b, func(v values) values { return values{v[0], v[1], b.Slice(v[1], 0, dim)} })
		}},
		"a branch used twice": {"a norm used beside the residual stream", func(b *graph.Builder) graph.Value {
			x := b.Embed(table, vocab, dim)
			y := b.Norm(b.Linear(b.Norm(x, norm, 1e-5), matrix, dim, ""), norm, 1e-5)
			return end(b, b.Add(b.Add(x, y), y))
		}},
	} {
		var b graph.Builder
		g, err := b.Build(c.build(&b), 32)
		if err != nil {
			t.Fatal(name, err)
		}
		_, err = (&cuda.Backend{}).Plan(g, f, small(4, 16, 32, 4))
		var unsupported *cuda.UnsupportedError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &unsupported) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
