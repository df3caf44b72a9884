package model

import (
	"math"

	"github.com/holdfast-run/holdfast/graph"
)

// gemma3 is the family of Gemma 3's text models: Gemma 2's graph without the soft
// cap of scores, with a norm of each head of the queries and the keys, and with a
// window in five layers of six, which have a RoPE of their own.
func gemma3(c *Config, n *net) graph.Value {
	x := n.Scale(n.embed(), float32(math.Sqrt(float64(c.Width))))
	for i := range c.Layers {
		q, k, v := n.qkv(n.norm(x, i, "attn_norm"), i)
		q, k = n.headNorm(q, i, "attn_q_norm"), n.headNorm(k, i, "attn_k_norm")
		x = n.Add(x, n.norm(n.attention(i, q, k, v), i, "post_attention_norm"))
		h := n.feedForward(n.norm(x, i, "ffn_norm"), i, n.GELUGate)
		x = n.Add(x, n.norm(h, i, "post_ffw_norm"))
	}
	return n.head(x)
}

// gemma3GGUF fills in what files leave out, with what all Gemma 3 models have.
// The scale of attention has no key; it is √(width / heads) in the 27B alone,
// which its number of layers tells.
func gemma3GGUF(s *source, c *Config) {
	c.LogitCap = s.floatOr("final_logit_softcapping", 0)
	c.Windowed = s.windowed(c.Layers, 6)
	c.WindowRoPE = &RoPE{Base: s.floatOr("rope.freq_base_swa", 10000), Dim: c.RoPE.Dim}
	if c.Layers == 62 && c.AttentionScale == 0 {
		c.AttentionScale = 1 / math.Sqrt(float64(c.Width)/float64(c.Heads))
	}
}
