package cuda

import (
	"fmt"
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
var elemBytes = [roles]int{stream: 4, gathered: 4, normed: 2, qkv: 4, query: 2, attended: 2, gates: 4, gated: 2, logits: 4}

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

// match adds what computes a node. Linear layers, RoPE and StoreKV are left to the
// node that uses them, which they are fused with.
func (d *design) match(i graph.Value) error {
	n := d.graph.Nodes[i]
	switch op := n.Op.(type) {
	case graph.Embed:
		return d.embed(i, op)
	case graph.Norm:
		return d.norm(i, op)
	case graph.Linear:
		if i == d.graph.Logits {
			return d.head(i)
		}
		return nil
	case graph.RoPE, graph.StoreKV:
		return nil
	case graph.Attention:
		return d.attention(i, op)
	case graph.SiLUGate:
		return d.gate(i)
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
	table, err := d.matrix(s, []string{op.Table.Name}, []shape{{1, d.graph.Vocab, d.graph.Vocab}})
	if err != nil {
		return err
	}
	if op.Table.Shape[0] != d.graph.Vocab {
		return unsupported("embeddings of %d tokens and logits of %d", op.Table.Shape[0], d.graph.Vocab)
	}
	d.put(stream, i, s)
	d.ops = append(d.ops, &embedOp{table: table})
	return nil
}

func (d *design) norm(i graph.Value, op graph.Norm) error {
	n := d.graph.Nodes[i]
	from, err := d.find(n.In[0], stream, gathered)
	if err != nil {
		return err
	}
	s := d.shape[n.In[0]]
	// The kernel's mean is over the filling too: sum/pad + eps·dim/pad is dim/pad
	// of what is wanted, and the weights make up for its root.
	fill := float64(s.dim) / float64(s.pad)
	v, err := d.vector([]string{op.Weight.Name}, []shape{s}, float32(math.Sqrt(fill)))
	if err != nil {
		return err
	}
	d.put(normed, i, s)
	d.ops = append(d.ops, &normOp{from: from, weight: v, rows: n.Type.Rows, eps: float32(float64(op.Eps) * fill)})
	return nil
}

// head is the layer that makes logits.
func (d *design) head(i graph.Value) error {
	out := shape{1, d.graph.Vocab, d.graph.Vocab}
	d.put(logits, i, shape{1, d.graph.Vocab, logitStride(d.graph.Vocab)})
	return d.linear([]graph.Value{i}, []shape{out}, logits, kernels.StoreF32)
}

// attention is linear layers for queries, keys and values, RoPE with the write to
// the cache, and the attention itself.
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

	q, qr, err := d.turned(n.In[0])
	if err != nil {
		return err
	}
	k, kr, err := d.turned(store.In[0])
	if err != nil {
		return err
	}
	if qr.Interleaved != kr.Interleaved || !slices.Equal(qr.Freqs, kr.Freqs) {
		return unsupported("layer %d: queries and keys turned by different angles", layer)
	}
	if qr.Magnitude != kr.Magnitude || len(qr.Freqs) > 0 && qr.Magnitude != 1 {
		return unsupported("layer %d: RoPE of magnitude %g and %g", layer, qr.Magnitude, kr.Magnitude)
	}
	if op.Cap != 0 {
		return unsupported("layer %d: scores with a soft cap", layer)
	}
	if len(qr.Freqs)%2 != 0 || len(qr.Freqs) > 256 {
		return unsupported("layer %d: RoPE of %d pairs", layer, len(qr.Freqs))
	}
	values := []graph.Value{q, k, store.In[1]}
	d.width[qkv] = max(d.width[qkv], qs.width()+2*ks.width())
	if err := d.linear(values, []shape{qs, ks, ks}, qkv, kernels.StoreF32); err != nil {
		return err
	}
	d.width[query] = max(d.width[query], qs.width())
	d.partial = max(d.partial, kernels.PartialFloats(d.decodeRows(), op.Heads, chunks(d.opts.ContextLength), qs.pad))
	d.ops = append(d.ops,
		&ropeOp{table: d.rope(qr.Freqs), heads: op.Heads, kvHeads: kv.Heads, headDim: qs.pad, interleaved: qr.Interleaved, layer: layer},
		&attendOp{heads: op.Heads, kvHeads: kv.Heads, headDim: qs.pad, layer: layer, scale: op.Scale, window: kv.Window})
	d.put(attended, i, qs)
	return nil
}

// turned returns the linear layer behind a RoPE, and the RoPE; a value that is not
// turned has one of no pairs.
func (d *design) turned(v graph.Value) (graph.Value, graph.RoPE, error) {
	n := d.graph.Nodes[v]
	op, ok := n.Op.(graph.RoPE)
	if !ok {
		return v, graph.RoPE{}, nil
	}
	if len(d.uses[n.In[0]]) != 1 {
		return 0, op, unsupported("node %d: a value used before and after RoPE", n.In[0])
	}
	return n.In[0], op, nil
}

func (d *design) gate(i graph.Value) error {
	n := d.graph.Nodes[i]
	s := plain(n.Type.Dim)
	d.width[gates] = max(d.width[gates], 2*s.width())
	if err := d.linear(n.In, []shape{s, s}, gates, kernels.StoreF32); err != nil {
		return err
	}
	d.put(gated, i, s)
	d.ops = append(d.ops, &gateOp{dim: s.width()})
	return nil
}

// add is the residual stream and a linear layer, which adds its result in place.
func (d *design) add(i graph.Value) error {
	a, b := d.graph.Nodes[i].In[0], d.graph.Nodes[i].In[1]
	if d.holds[stream] == b {
		a, b = b, a
	}
	if d.holds[stream] != a || slices.Max(d.uses[a]) > i {
		return unsupported("node %d: a sum that is not the residual stream's", i)
	}
	s := d.shape[a]
	if err := d.linear([]graph.Value{b}, []shape{s}, stream, kernels.AddF32); err != nil {
		return err
	}
	d.put(stream, i, s)
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

// linear adds linear layers of one input whose results stand side by side, as one
// launch where their weights stack.
func (d *design) linear(values []graph.Value, outs []shape, to role, store kernels.Store) error {
	names, biases := make([]string, len(values)), make([]string, len(values))
	biased := false
	input := graph.Value(-1)
	for j, v := range values {
		n := d.graph.Nodes[v]
		op, ok := n.Op.(graph.Linear)
		if !ok || v != d.graph.Logits && len(d.uses[v]) != 1 {
			return unsupported("node %d (%T) in the place of a linear layer", v, n.Op)
		}
		if input < 0 {
			input = n.In[0]
		}
		if n.In[0] != input {
			return unsupported("node %d: layers side by side with different inputs", v)
		}
		names[j], biases[j] = op.Weight.Name, op.Bias.Name
		biased = biased || op.Bias.Name != ""
	}
	from, err := d.find(input, normed, attended, gated)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ok := d.file.Tensor(name); !ok {
			return fmt.Errorf("cuda: tensor %s is missing", name)
		}
	}
	rows := d.graph.Nodes[values[0]].Type.Rows
	in := d.shape[input]
	groups := [][2]int{{0, len(values)}}
	if !stackable(d.file, in, names, outs) {
		groups = nil
		for j := range values {
			groups = append(groups, [2]int{j, j + 1})
		}
	}
	column := 0
	for _, g := range groups {
		m, err := d.matrix(in, names[g[0]:g[1]], outs[g[0]:g[1]])
		if err != nil {
			return err
		}
		op := &linearOp{m: m, from: from, to: to, column: column, rows: rows, store: store}
		if biased {
			if op.bias, err = d.vector(biases[g[0]:g[1]], outs[g[0]:g[1]], 1); err != nil {
				return err
			}
		}
		d.ops = append(d.ops, op)
		column += m.n()
	}
	return nil
}

// matrix returns the matrix of these tensors, the same for the same ones: a table
// that embeds tokens and makes logits is on the device once.
func (d *design) matrix(in shape, names []string, outs []shape) (*matrix, error) {
	for _, m := range d.matrices {
		if m.in == in && slices.EqualFunc(m.parts, names, func(p part, name string) bool { return p.name == name }) {
			return m, nil
		}
	}
	m, err := newMatrix(d.file, in, names, outs)
	if err != nil {
		return nil, err
	}
	d.matrices = append(d.matrices, m)
	return m, nil
}

func (d *design) vector(names []string, outs []shape, scale float32) (*vector, error) {
	v := &vector{scale: scale}
	for i, name := range names {
		t, ok := d.file.Tensor(name)
		if !ok && name != "" {
			return nil, fmt.Errorf("cuda: tensor %s is missing", name)
		}
		v.parts = append(v.parts, part{name, t, outs[i]})
	}
	d.vectors = append(d.vectors, v)
	return v, nil
}

func (d *design) rope(freqs []float64) *ropeTable {
	for _, t := range d.ropes {
		if slices.Equal(t.freqs, freqs) {
			return t
		}
	}
	d.ropes = append(d.ropes, &ropeTable{freqs: freqs})
	return d.ropes[len(d.ropes)-1]
}

// decodeRows is the most tokens that decoding attention takes at once.
func (d *design) decodeRows() int { return min(d.opts.MaxRows, d.opts.MaxTokens) }
