package model

import "github.com/holdfast-run/holdfast/graph"

// qwen2 is the family of Qwen 2 and 2.5: Llama's graph, whose queries, keys and
// values have biases, and whose RoPE turns the halves of a head.
func qwen2(c *Config, n *net) graph.Value {
	x := n.embed()
	for i := range c.Layers {
		h := n.norm(x, i, "attn_norm")
		q := n.biased(h, i, "attn_q", c.Heads*c.HeadDim)
		k := n.biased(h, i, "attn_k", c.KVHeads*c.HeadDim)
		v := n.biased(h, i, "attn_v", c.KVHeads*c.HeadDim)
		x = n.Add(x, n.attention(i, q, k, v))
		x = n.Add(x, n.feedForward(n.norm(x, i, "ffn_norm"), i, n.SiLUGate))
	}
	return n.head(x)
}
