package model

import (
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/graph"
)

// llama is the family of Llama 1 to 3 and of the models that share its graph
// (SmolLM, TinyLlama, Mistral): RMS norms, rotary grouped-query
// attention, a SiLU-gated feed-forward, a tied or separate head. GGUF stores
// the rows of Q and K so that RoPE's pairs are neighbours.
func llama(s *source) (*graph.Graph, error) {
	layers := s.int("block_count", maxLayers)
	dim := s.int("embedding_length", maxWidth)
	ffn := s.int("feed_forward_length", maxWidth)
	heads := s.int("attention.head_count", maxWidth)
	kvHeads := s.intOr("attention.head_count_kv", heads, heads)
	headDim := s.intOr("attention.key_length", dim/heads, maxHeadDim)
	valueDim := s.intOr("attention.value_length", headDim, maxHeadDim)
	context := s.int("context_length", maxContext)
	window := s.window()
	eps := float32(s.floatOr("attention.layer_norm_rms_epsilon", 1e-5))
	vocab := s.rows("token_embd.weight")
	freqs := s.ropeFreqs(headDim)
	if s.err != nil {
		return nil, nil // Build reports s.err
	}
	if valueDim != headDim || heads%kvHeads != 0 || headDim < 2 || headDim%2 != 0 {
		return nil, fmt.Errorf("%w: %s: %d heads of %d over %d KV heads of %d", ErrUnsupported, s.f.Path(), heads, headDim, kvHeads, valueDim)
	}
	if s.optional("blk.0.ffn_gate_inp.weight") != "" {
		return nil, fmt.Errorf("%w: %s: mixture of experts", ErrUnsupported, s.f.Path())
	}

	rope := func(n int) graph.RoPE {
		return graph.RoPE{Heads: n, HeadDim: headDim, Interleaved: true, Freqs: freqs}
	}
	attention := graph.Attention{Heads: heads, HeadDim: headDim, Scale: 1 / math.Sqrt(float64(headDim))}

	var b graph.Builder
	x := b.Embed("token_embd.weight", vocab, dim)
	for i := range layers {
		name := func(part string) string { return fmt.Sprintf("blk.%d.%s.weight", i, part) }
		bias := func(part string) string { return s.optional(fmt.Sprintf("blk.%d.%s.bias", i, part)) }
		linear := func(x graph.Value, part string, out int) graph.Value {
			return b.Linear(x, name(part), out, bias(part))
		}

		h := b.Norm(x, name("attn_norm"), eps)
		q := b.RoPE(linear(h, "attn_q", heads*headDim), rope(heads))
		k := b.RoPE(linear(h, "attn_k", kvHeads*headDim), rope(kvHeads))
		v := linear(h, "attn_v", kvHeads*headDim)
		kv := b.StoreKV(k, v, graph.KVLayer{Heads: kvHeads, HeadDim: headDim, Window: window})
		x = b.Add(x, linear(b.Attention(q, kv, attention), "attn_output", dim))

		h = b.Norm(x, name("ffn_norm"), eps)
		gate, up := linear(h, "ffn_gate", ffn), linear(h, "ffn_up", ffn)
		x = b.Add(x, linear(b.SiLUGate(gate, up), "ffn_down", dim))
	}
	head := s.optional("output.weight")
	if head == "" {
		head = "token_embd.weight" // tied
	}
	x = b.Norm(b.Gather(x), "output_norm.weight", eps)
	return b.Build(b.Linear(x, head, vocab, ""), context)
}
