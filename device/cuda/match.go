package cuda

import (
	"math"
	"slices"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/weights"
)

// role names a buffer by what it is for. A value lives in the buffer of its role
// until the next of that role is made.
type role uint8

const (
	nowhere  role = iota
	stream        // f32 [tokens]: the residual stream
	branch        // f32 [tokens]: what a norm takes before it is added to that
	gathered      // f32 [logits]: its rows that need logits
	normed        // bf16
	qkv           // f32: queries, keys and values side by side
	query         // of the cache's type
	attended      // bf16
	gates         // f32: gate and up side by side
	gated         // bf16
	logits        // f32 [logits]
	roles
)

// elemBytes is the size of a role's elements.
var elemBytes = [roles]int{stream: 4, branch: 4, gathered: 4, normed: 2, qkv: 4, query: 2, attended: 2, gates: 4, gated: 2, logits: 4}

// design is a graph as operations, with the memory that they need: settled before
// anything is loaded.
type design struct {
	graph *graph.Graph
	file  *weights.File
	opts  device.Options

	ops      []operation
	matrices []*matrix
	vectors  []*vector
	ropes    []*ropeTable
	width    [roles]int // elements of the widest value of a role
	partial  int        // floats of decoding attention
	stored   []bool     // layers of the cache that have been written
	layer    []int      // elements from a block's begin to a layer's keys
	block    [device.PoolKinds]int

	holds [roles]graph.Value // what a buffer holds, while matching
	shape []shape            // of values
	uses  [][]graph.Value    // who reads a value
}

// ropeTable is the angles of one set of frequencies.
type ropeTable struct {
	freqs        []float64
	magnitude    float64
	fine, coarse kernels.Ptr
}

// newDesign matches a graph with the kernels.
func newDesign(g *graph.Graph, w *weights.File, o device.Options) (*design, error) {
	if o.KV != graph.F16 && o.KV != graph.BF16 {
		return nil, unsupported("a KV cache of %s", o.KV)
	}
	if g.Vocab > sampler.MaxVocabulary {
		return nil, unsupported("a vocabulary of %d", g.Vocab)
	}
	d := &design{graph: g, file: w, opts: o, shape: make([]shape, len(g.Nodes)), uses: make([][]graph.Value, len(g.Nodes)), stored: make([]bool, len(g.KV))}
	for i := range d.holds {
		d.holds[i] = -1
	}
	for i, n := range g.Nodes {
		for _, v := range n.In {
			d.uses[v] = append(d.uses[v], graph.Value(i))
		}
	}
	if err := d.layBlocks(); err != nil {
		return nil, err
	}
	for i := range g.Nodes {
		if err := d.match(graph.Value(i)); err != nil {
			return nil, err
		}
	}
	if d.holds[logits] != g.Logits {
		return nil, unsupported("logits that are no linear layer's result")
	}
	return d, nil
}

// layBlocks settles where a layer's keys and values lie in a block, which is
// contiguous over all layers of its pool.
func (d *design) layBlocks() error {
	for i, l := range d.graph.KV {
		s, ok := headShape(l.Heads, l.HeadDim)
		if !ok {
			return unsupported("layer %d: heads of %d", i, l.HeadDim)
		}
		kind := device.KindOf(l)
		d.layer = append(d.layer, d.block[kind])
		d.block[kind] += 2 * device.BlockTokens * s.width()
	}
	return nil
}

// match adds what computes a node. Linear layers and slices of them, norms of those,
// RoPE and StoreKV are left to the node that uses them, which they are fused with.
func (d *design) match(i graph.Value) error {
	n := d.graph.Nodes[i]
	switch op := n.Op.(type) {
	case graph.Embed:
		return d.embed(i, op)
	case graph.Scale:
		return d.scale(i, op)
	case graph.Norm:
		if d.projected(n.In[0]) {
			return nil
		}
		return d.norm(i, op)
	case graph.Linear:
		if i == d.head() {
			return d.logits(i)
		}
		return nil
	case graph.Slice, graph.RoPE, graph.StoreKV:
		return nil
	case graph.Attention:
		return d.attention(i, op)
	case graph.SiLUGate:
		return d.gate(i, "silu_gate_f32")
	case graph.GELUGate:
		return d.gate(i, "gelu_gate_f32")
	case graph.SoftCap:
		return d.softCap(i, op)
	case graph.Add:
		return d.add(i)
	case graph.Gather:
		return d.gather(i)
	}
	return unsupported("operator %T", n.Op)
}

// put notes that a buffer holds a value.
func (d *design) put(r role, v graph.Value, s shape) {
	d.holds[r], d.shape[v] = v, s
	d.width[r] = max(d.width[r], s.width())
}

// find returns the buffer, of the given roles, that holds a value.
func (d *design) find(v graph.Value, in ...role) (role, error) {
	for _, r := range in {
		if d.holds[r] == v {
			return r, nil
		}
	}
	return nowhere, unsupported("node %d (%T) where its value is used", v, d.graph.Nodes[v].Op)
}

func (d *design) embed(i graph.Value, op graph.Embed) error {
	s := plain(d.graph.Nodes[i].Type.Dim)
	table, err := d.matrix(s, []source{{weight: op.Table.Name}}, []shape{{1, d.graph.Vocab, d.graph.Vocab}})
	if err != nil {
		return err
	}
	if op.Table.Shape[0] != d.graph.Vocab {
		return unsupported("embeddings of %d tokens and logits of %d", op.Table.Shape[0], d.graph.Vocab)
	}
	d.put(stream, i, s)
	d.ops = append(d.ops, &embedOp{table: table, scale: 1})
	return nil
}

// scale is of the embedding, as it is looked up, or of the logits, by the norm that
// their layer reads.
func (d *design) scale(i graph.Value, op graph.Scale) error {
	in := d.graph.Nodes[i].In[0]
	if d.holds[logits] == in {
		return d.scaleLogits(i, op)
	}
	embed, ok := d.ops[len(d.ops)-1].(*embedOp)
	if !ok || d.holds[stream] != in || len(d.uses[in]) != 1 {
		return unsupported("node %d: a scale of anything but the embedding and the logits", i)
	}
	embed.scale *= op.By
	d.put(stream, i, d.shape[in])
	return nil
}

func (d *design) scaleLogits(i graph.Value, op graph.Scale) error {
	in := d.graph.Nodes[i].In[0]
	head, ok := d.graph.Nodes[in].Op.(graph.Linear)
	if !ok || head.Bias.Name != "" || d.holds[normed] != d.graph.Nodes[in].In[0] {
		return unsupported("node %d: a scale of logits with a bias, or of no norm", i)
	}
	for _, o := range slices.Backward(d.ops) {
		if norm, ok := o.(*normOp); ok && norm.to == normed {
			norm.weight.scale *= op.By
			break
		}
	}
	d.put(logits, i, d.shape[in])
	return nil
}

// norm is what a linear layer reads.
func (d *design) norm(i graph.Value, op graph.Norm) error {
	n := d.graph.Nodes[i]
	from, err := d.find(n.In[0], stream, gathered)
	if err != nil {
		return err
	}
	s := d.shape[n.In[0]]
	weight, eps, err := d.normWeight(op, s)
	if err != nil {
		return err
	}
	d.put(normed, i, s)
	d.ops = append(d.ops, &normOp{from: from, to: normed, weight: weight, rows: n.Type.Rows, eps: eps})
	return nil
}

// normWeight returns the weights and the epsilon of a norm over each part of a value
// of shape s. The kernels' mean is over the filling too: sum/pad + eps·dim/pad is
// dim/pad of what is wanted, and the weights make up for its root.
func (d *design) normWeight(op graph.Norm, s shape) (weight *vector, eps float32, err error) {
	if op.Weight.Shape[0] != s.dim {
		return nil, 0, unsupported("%s: a norm of runs of %d where there are %d", op.Weight.Name, op.Weight.Shape[0], s.dim)
	}
	fill := float64(s.dim) / float64(s.pad)
	weight, err = d.vector([]source{{weight: op.Weight.Name}}, []shape{{1, s.dim, s.pad}}, float32(math.Sqrt(fill)))
	return weight, float32(float64(op.Eps) * fill), err
}

// head is the layer that makes logits, capped, scaled or neither.
func (d *design) head() graph.Value {
	n := d.graph.Nodes[d.graph.Logits]
	switch n.Op.(type) {
	case graph.SoftCap, graph.Scale:
		return n.In[0]
	}
	return d.graph.Logits
}

func (d *design) logits(i graph.Value) error {
	out := shape{1, d.graph.Vocab, d.graph.Vocab}
	d.put(logits, i, shape{1, d.graph.Vocab, logitStride(d.graph.Vocab)})
	return d.linear([]graph.Value{i}, []shape{out}, logits, kernels.StoreF32)
}

// softCap is of logits, in place.
func (d *design) softCap(i graph.Value, op graph.SoftCap) error {
	in := d.graph.Nodes[i].In[0]
	if _, err := d.find(in, logits); err != nil {
		return err
	}
	d.put(logits, i, d.shape[in])
	d.ops = append(d.ops, &softCapOp{limit: float32(op.Cap)})
	return nil
}

func (d *design) gate(i graph.Value, kernel string) error {
	n := d.graph.Nodes[i]
	s := plain(n.Type.Dim)
	d.width[gates] = max(d.width[gates], 2*s.width())
	if err := d.linear(n.In, []shape{s, s}, gates, kernels.StoreF32); err != nil {
		return err
	}
	d.put(gated, i, s)
	d.ops = append(d.ops, &gateOp{name: kernel, dim: s.width()})
	return nil
}

// add is the residual stream and a linear layer, which adds its result in place, or
// leaves it to a norm, which does.
func (d *design) add(i graph.Value) error {
	a, b := d.graph.Nodes[i].In[0], d.graph.Nodes[i].In[1]
	if d.holds[stream] == b {
		a, b = b, a
	}
	if d.holds[stream] != a || slices.Max(d.uses[a]) > i {
		return unsupported("node %d: a sum that is not the residual stream's", i)
	}
	s := d.shape[a]
	d.put(stream, i, s)
	norm, ok := d.graph.Nodes[b].Op.(graph.Norm)
	if !ok {
		return d.linear([]graph.Value{b}, []shape{s}, stream, kernels.AddF32)
	}
	if len(d.uses[b]) != 1 {
		return unsupported("node %d: a norm used beside the residual stream", b)
	}
	weight, eps, err := d.normWeight(norm, s)
	if err != nil {
		return err
	}
	d.width[branch] = max(d.width[branch], s.width())
	if err := d.linear(d.graph.Nodes[b].In, []shape{s}, branch, kernels.StoreF32); err != nil {
		return err
	}
	d.ops = append(d.ops, &normOp{from: branch, to: stream, weight: weight, rows: graph.PerToken, eps: eps})
	return nil
}

func (d *design) gather(i graph.Value) error {
	in := d.graph.Nodes[i].In[0]
	if _, err := d.find(in, stream); err != nil {
		return err
	}
	d.put(gathered, i, d.shape[in])
	d.ops = append(d.ops, &gatherOp{})
	return nil
}

// decodeRows is the most tokens that decoding attention takes at once.
func (d *design) decodeRows() int { return min(d.opts.MaxRows, d.opts.MaxTokens) }
