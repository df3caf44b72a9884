package model

import (
	"math"

	"github.com/holdfast-run/holdfast/graph"
)

// gemma2 is the family of Gemma 2: embeddings times √width, a norm before and
// after attention and feed-forward, a GELU-gated feed-forward, soft caps of
// scores and logits, and a window in every other layer. GGUF stores the weights of
// norms with the 1 that Gemma adds to them.
func gemma2(c *Config, n *net) graph.Value {
	x := n.Scale(n.embed(), float32(math.Sqrt(float64(c.Width))))
	for i := range c.Layers {
		q, k, v := n.qkv(n.norm(x, i, "attn_norm"), i)
		x = n.Add(x, n.norm(n.attention(i, q, k, v), i, "post_attention_norm"))
		h := n.feedForward(n.norm(x, i, "ffn_norm"), i, n.GELUGate)
		x = n.Add(x, n.norm(h, i, "post_ffw_norm"))
	}
	return n.head(x)
}

// gemma2GGUF fills in what files leave out, with what all Gemma 2 models have.
// The scale of attention has no key; it is √(width / heads) in the 27B alone,
// which its number of layers tells.
func gemma2GGUF(s *source, c *Config) {
	c.AttentionCap = s.floatOr("attn_logit_softcapping", 50)
	c.LogitCap = s.floatOr("final_logit_softcapping", 30)
	if !s.has("attention.sliding_window") {
		c.Window = 4096
	}
	c.Windowed = s.windowed(c.Layers, 2)
	if c.Layers == 46 && c.AttentionScale == 0 {
		c.AttentionScale = 1 / math.Sqrt(float64(c.Width)/float64(c.Heads))
	}
}
