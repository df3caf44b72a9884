package model

import (
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/weights"
)

// net is a graph under construction, in the words of GGUF's tensor names.
type net struct {
	graph.Builder
	c           *Config
	file        *weights.File
	interleaved bool

	full, windowed graph.RoPE // of one head, for layers of either kind
}

// rotations works out the rotation of layers of either kind.
func (n *net) rotations() (err error) {
	of := func(r *RoPE) (graph.RoPE, error) {
		freqs, magnitude, err := r.freqs(n.c.Source, n.c.HeadDim)
		return graph.RoPE{HeadDim: n.c.HeadDim, Interleaved: n.interleaved, Freqs: freqs, Magnitude: magnitude}, err
	}
	if n.full, err = of(&n.c.RoPE); err != nil {
		return err
	}
	n.windowed = n.full
	if n.c.WindowRoPE != nil {
		n.windowed, err = of(n.c.WindowRoPE)
	}
	return err
}

// optional returns name if the file has such a tensor, else "".
func (n *net) optional(name string) string {
	if _, ok := n.file.Tensor(name); ok {
		return name
	}
	return ""
}

// weight returns the name of layer i's weight of a part.
func weight(i int, part string) string { return fmt.Sprintf("blk.%d.%s.weight", i, part) }

// embed adds the embedding of the step's tokens.
func (n *net) embed() graph.Value { return n.Embed("token_embd.weight", n.c.Vocab, n.c.Width) }

// linear adds layer i's projection of x, with its bias if the file has one.
func (n *net) linear(x graph.Value, i int, part string, out int) graph.Value {
	return n.Linear(x, weight(i, part), out, n.optional(fmt.Sprintf("blk.%d.%s.bias", i, part)))
}

// biased adds layer i's projection of x with its bias, which the file must have.
func (n *net) biased(x graph.Value, i int, part string, out int) graph.Value {
	return n.Linear(x, weight(i, part), out, fmt.Sprintf("blk.%d.%s.bias", i, part))
}

// norm adds layer i's norm of x.
func (n *net) norm(x graph.Value, i int, part string) graph.Value {
	return n.Norm(x, weight(i, part), float32(n.c.NormEps))
}

// headNorm adds layer i's norm of each head of x.
func (n *net) headNorm(x graph.Value, i int, part string) graph.Value {
	return n.HeadNorm(x, weight(i, part), n.c.HeadDim, float32(n.c.NormEps))
}

// qkv adds layer i's queries, keys and values of x.
func (n *net) qkv(x graph.Value, i int) (q, k, v graph.Value) {
	kv := n.c.KVHeads * n.c.HeadDim
	return n.linear(x, i, "attn_q", n.c.Heads*n.c.HeadDim), n.linear(x, i, "attn_k", kv), n.linear(x, i, "attn_v", kv)
}

// attention rotates queries and keys, stores keys and values, and adds layer i's
// attention and the projection of what it gives.
func (n *net) attention(i int, q, k, v graph.Value) graph.Value {
	rope, window := n.full, n.c.window(i)
	if n.c.hasWindow(i) {
		rope = n.windowed
	}
	rotate := func(x graph.Value, heads int) graph.Value {
		rope.Heads = heads
		return n.RoPE(x, rope)
	}
	q, k = rotate(q, n.c.Heads), rotate(k, n.c.KVHeads)
	kv := n.StoreKV(k, v, graph.KVLayer{Heads: n.c.KVHeads, HeadDim: n.c.HeadDim, Window: window})
	y := n.Attention(q, kv, graph.Attention{Heads: n.c.Heads, HeadDim: n.c.HeadDim, Scale: n.c.scale(), Cap: n.c.AttentionCap})
	return n.linear(y, i, "attn_output", n.c.Width)
}

// feedForward adds layer i's feed-forward of x: gate joins its two branches.
func (n *net) feedForward(x graph.Value, i int, gate func(gate, up graph.Value) graph.Value) graph.Value {
	h := gate(n.linear(x, i, "ffn_gate", n.c.FFN), n.linear(x, i, "ffn_up", n.c.FFN))
	return n.linear(h, i, "ffn_down", n.c.Width)
}

// head adds the last norm and the logits: of a matrix of their own, or of the
// embedding's.
func (n *net) head(x graph.Value) graph.Value {
	x = n.Norm(n.Gather(x), "output_norm.weight", float32(n.c.NormEps))
	matrix := n.optional("output.weight")
	if matrix == "" {
		matrix = "token_embd.weight"
	}
	x = n.Linear(x, matrix, n.c.Vocab, "")
	if n.c.LogitCap > 0 {
		x = n.SoftCap(x, n.c.LogitCap)
	}
	return x
}
