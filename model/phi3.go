package model

import "github.com/holdfast-run/holdfast/graph"

// phi3 is the family of Phi-3: Llama's graph, with one matrix for queries, keys
// and values and one for the feed-forward's gate and its other branch, and a RoPE
// that turns the halves of a head. The RoPE scaling of its long-context models is
// not carried.
func phi3(c *Config, n *net) graph.Value {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	x := n.embed()
	for i := range c.Layers {
		qkv := n.linear(n.norm(x, i, "attn_norm"), i, "attn_qkv", q+2*kv)
		x = n.Add(x, n.attention(i, n.Slice(qkv, 0, q), n.Slice(qkv, q, kv), n.Slice(qkv, q+kv, kv)))

		both := n.linear(n.norm(x, i, "ffn_norm"), i, "ffn_up", 2*c.FFN)
		h := n.SiLUGate(n.Slice(both, 0, c.FFN), n.Slice(both, c.FFN, c.FFN))
		x = n.Add(x, n.linear(h, i, "ffn_down", c.Width))
	}
	return n.head(x)
}
