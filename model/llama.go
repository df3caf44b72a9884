package model

import (
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
)

// llama is the family of Llama 1 to 3 and of the models that share its graph
// (SmolLM, TinyLlama, Mistral): RMS norms, rotary grouped-query
// attention, a SiLU-gated feed-forward, a tied or separate head. GGUF stores
// the rows of Q and K so that RoPE's pairs are neighbours.
func llama(c *Config, n *net) graph.Value {
	x := n.embed()
	for i := range c.Layers {
		q, k, v := n.qkv(n.norm(x, i, "attn_norm"), i)
		x = n.Add(x, n.attention(i, q, k, v))
		x = n.Add(x, n.feedForward(n.norm(x, i, "ffn_norm"), i, n.SiLUGate))
	}
	return n.head(x)
}

func llamaGGUF(s *source, _ *Config) {
	if _, ok := s.f.Tensor("blk.0.ffn_gate_inp.weight"); ok {
		s.fail(fmt.Errorf("%w: %s: mixture of experts", ErrUnsupported, s.f.Path()))
	}
}
