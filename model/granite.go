package model

import (
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
)

// granite is the family of Granite 3: Llama's graph with a factor for the
// embeddings, one for what attention and feed-forward add, one for the scores and
// a divisor of the logits. What is added needs no factor where the stream is
// divided by it instead: norms do not see how large their input is, but for
// epsilon.
func granite(c *Config, n *net) graph.Value {
	embedding, residual := orOne(c.EmbeddingScale), orOne(c.ResidualScale)
	divided := *c
	divided.NormEps /= residual * residual
	n.c = &divided
	x := n.Scale(n.embed(), float32(embedding/residual))
	for i := range c.Layers {
		q, k, v := n.qkv(n.norm(x, i, "attn_norm"), i)
		x = n.Add(x, n.attention(i, q, k, v))
		x = n.Add(x, n.feedForward(n.norm(x, i, "ffn_norm"), i, n.SiLUGate))
	}
	return n.Scale(n.head(x), float32(orOne(c.LogitScale)))
}

func orOne(factor float64) float64 {
	if factor == 0 {
		return 1
	}
	return factor
}

// graniteGGUF: a factor of 0 is none, as one that is missing.
func graniteGGUF(s *source, c *Config) {
	llamaGGUF(s, c)
	c.EmbeddingScale = s.floatOr("embedding_scale", 0)
	c.ResidualScale = s.floatOr("residual_scale", 0)
	if by := s.floatOr("logit_scale", 0); by != 0 {
		c.LogitScale = 1 / by
	}
	for _, name := range []string{"rope.scaling.finetuned", "deepstack_mapping"} {
		if s.has(name) { // layers without RoPE; a vision tower's streams
			s.fail(fmt.Errorf("%w: %s: %s.%s", ErrUnsupported, s.f.Path(), s.arch, name))
		}
	}
}

// graniteFolder: a factor that is missing is 1, that of the scores too. They are
// rounded as GGUF holds them.
func graniteFolder(s *folder, c *Config) {
	factor := func(key string) float64 {
		by := float64(float32(s.floatOr(key, 1)))
		if !(by > 0) {
			s.fail(fmt.Errorf("model: %s: %s is %g; it must be positive", s.path, key, by))
		}
		return by
	}
	c.EmbeddingScale = factor("embedding_multiplier")
	c.ResidualScale = factor("residual_multiplier")
	c.AttentionScale = factor("attention_multiplier")
	c.LogitScale = 1 / factor("logits_scaling")
}
