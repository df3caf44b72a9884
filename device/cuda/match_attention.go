package cuda

import (
	"slices"

	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// turned is what attention takes: a linear layer or a slice of one, whose heads are
// normed, or not, and then turned, or not.
type turned struct {
	value graph.Value
	norm  *graph.Norm
	rope  graph.RoPE // of no pairs for one that is not turned
}

// turned looks through what the kernel of RoPE does to v.
func (d *design) turned(v graph.Value) (turned, error) {
	t := turned{value: v}
	through := func() error {
		if v = d.graph.Nodes[v].In[0]; len(d.uses[v]) != 1 {
			return unsupported("node %d: a value used before and after RoPE or a norm", v)
		}
		t.value = v
		return nil
	}
	if op, ok := d.graph.Nodes[v].Op.(graph.RoPE); ok {
		t.rope = op
		if err := through(); err != nil {
			return t, err
		}
	}
	if op, ok := d.graph.Nodes[v].Op.(graph.Norm); ok {
		t.norm = &op
		if err := through(); err != nil {
			return t, err
		}
	}
	return t, nil
}

// attention is linear layers for queries, keys and values, norms of heads and RoPE
// with the write to the cache, and the attention itself.
func (d *design) attention(i graph.Value, op graph.Attention) error {
	n := d.graph.Nodes[i]
	store := d.graph.Nodes[n.In[1]]
	layer := store.Op.(graph.StoreKV).Layer
	kv := d.graph.KV[layer]
	if d.stored[layer] {
		return unsupported("layer %d: KV shared between layers", layer)
	}
	d.stored[layer] = true
	qs, _ := headShape(op.Heads, op.HeadDim) // layBlocks has seen the size
	ks, _ := headShape(kv.Heads, kv.HeadDim)

	q, err := d.turned(n.In[0])
	if err != nil {
		return err
	}
	k, err := d.turned(store.In[0])
	if err != nil {
		return err
	}
	rope, err := d.ropeOp(layer, q, k, qs, ks)
	if err != nil {
		return err
	}
	values := []graph.Value{q.value, k.value, store.In[1]}
	d.width[qkv] = max(d.width[qkv], qs.width()+2*ks.width())
	if err := d.linear(values, []shape{qs, ks, ks}, qkv, kernels.StoreF32); err != nil {
		return err
	}
	d.width[query] = max(d.width[query], qs.width())
	d.partial = max(d.partial, kernels.PartialFloats(d.decodeRows(), op.Heads, chunks(d.opts.ContextLength), qs.pad))
	d.ops = append(d.ops, rope,
		&attendOp{heads: op.Heads, kvHeads: kv.Heads, headDim: qs.pad, layer: layer, scale: op.Scale, softCap: op.Cap, window: kv.Window})
	d.put(attended, i, qs)
	return nil
}

// ropeOp returns what norms and turns a layer's queries and keys.
func (d *design) ropeOp(layer int, q, k turned, qs, ks shape) (*ropeOp, error) {
	pairs := len(q.rope.Freqs)
	switch {
	case q.rope.Interleaved != k.rope.Interleaved || q.rope.Magnitude != k.rope.Magnitude || !slices.Equal(q.rope.Freqs, k.rope.Freqs):
		return nil, unsupported("layer %d: queries and keys turned by different angles", layer)
	case pairs%2 != 0 || pairs > 256:
		return nil, unsupported("layer %d: RoPE of %d pairs", layer, pairs)
	case (q.norm == nil) != (k.norm == nil) || q.norm != nil && q.norm.Eps != k.norm.Eps:
		return nil, unsupported("layer %d: queries and keys normed in different ways", layer)
	}
	op := &ropeOp{table: d.rope(q.rope), heads: qs.parts, kvHeads: ks.parts, headDim: qs.pad, interleaved: q.rope.Interleaved, layer: layer}
	if q.norm == nil {
		return op, nil
	}
	if heads := qs.parts + ks.parts; heads > kernels.MaxNormedHeads {
		return nil, unsupported("layer %d: norms of %d heads", layer, heads)
	}
	var err error
	if op.qNorm, op.eps, err = d.normWeight(*q.norm, qs); err != nil {
		return nil, err
	}
	op.kNorm, _, err = d.normWeight(*k.norm, ks)
	return op, err
}

// rope returns the table of a RoPE, the same for the same one.
func (d *design) rope(op graph.RoPE) *ropeTable {
	for _, t := range d.ropes {
		if t.magnitude == op.Magnitude && slices.Equal(t.freqs, op.Freqs) {
			return t
		}
	}
	d.ropes = append(d.ropes, &ropeTable{freqs: op.Freqs, magnitude: op.Magnitude})
	return d.ropes[len(d.ropes)-1]
}
