package model

import "github.com/holdfast-run/holdfast/graph"

// qwen3 is the family of Qwen 3: Llama's graph, with a norm of each head of the
// queries and the keys, and a RoPE that turns the halves of a head.
func qwen3(c *Config, n *net) graph.Value {
	x := n.embed()
	for i := range c.Layers {
		q, k, v := n.qkv(n.norm(x, i, "attn_norm"), i)
		q, k = n.headNorm(q, i, "attn_q_norm"), n.headNorm(k, i, "attn_k_norm")
		x = n.Add(x, n.attention(i, q, k, v))
		x = n.Add(x, n.feedForward(n.norm(x, i, "ffn_norm"), i, n.SiLUGate))
	}
	return n.head(x)
}
