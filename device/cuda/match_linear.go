package cuda

import (
	"fmt"
	"slices"

	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// source is the rows of a linear layer's weights from one on: where the layer's result
// is sliced, each slice takes its own.
type source struct {
	weight, bias string
	from         int
}

// projected reports whether v is a linear layer or a slice of one.
func (d *design) projected(v graph.Value) bool {
	n := d.graph.Nodes[v]
	if _, ok := n.Op.(graph.Slice); ok {
		n = d.graph.Nodes[n.In[0]]
	}
	_, ok := n.Op.(graph.Linear)
	return ok
}

// source returns the weights behind v, and what they are multiplied with.
func (d *design) source(v graph.Value) (source, graph.Value, error) {
	if !d.projected(v) || v != d.graph.Logits && len(d.uses[v]) != 1 {
		return source{}, 0, unsupported("node %d (%T) in the place of a linear layer", v, d.graph.Nodes[v].Op)
	}
	var s source
	n := d.graph.Nodes[v]
	if op, ok := n.Op.(graph.Slice); ok {
		s.from = op.From
		n = d.graph.Nodes[n.In[0]]
	}
	op := n.Op.(graph.Linear)
	s.weight, s.bias = op.Weight.Name, op.Bias.Name
	return s, n.In[0], nil
}

// linear adds linear layers of one input whose results stand side by side, as one
// launch where their weights stack.
func (d *design) linear(values []graph.Value, outs []shape, to role, store kernels.Store) error {
	sources := make([]source, len(values))
	input := graph.Value(-1)
	biased := false
	for j, v := range values {
		s, in, err := d.source(v)
		if err != nil {
			return err
		}
		if j > 0 && in != input {
			return unsupported("node %d: layers side by side with different inputs", v)
		}
		sources[j], input, biased = s, in, biased || s.bias != ""
	}
	from, err := d.find(input, normed, attended, gated)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if _, ok := d.file.Tensor(s.weight); !ok {
			return fmt.Errorf("cuda: tensor %s is missing", s.weight)
		}
	}
	rows := d.graph.Nodes[values[0]].Type.Rows
	in := d.shape[input]
	groups := [][2]int{{0, len(values)}}
	if !stackable(d.file, in, sources, outs) {
		groups = nil
		for j := range values {
			groups = append(groups, [2]int{j, j + 1})
		}
	}
	column := 0
	for _, g := range groups {
		m, err := d.matrix(in, sources[g[0]:g[1]], outs[g[0]:g[1]])
		if err != nil {
			return err
		}
		op := &linearOp{m: m, from: from, to: to, column: column, rows: rows, store: store}
		if biased {
			if op.bias, err = d.bias(sources[g[0]:g[1]], outs[g[0]:g[1]]); err != nil {
				return err
			}
		}
		d.ops = append(d.ops, op)
		column += m.n()
	}
	return nil
}

// matrix returns the matrix of these weights, the same for the same ones: a table that
// embeds tokens and makes logits is on the device once.
func (d *design) matrix(in shape, sources []source, outs []shape) (*matrix, error) {
	m, err := newMatrix(d.file, in, sources, outs)
	if err != nil {
		return nil, err
	}
	for _, old := range d.matrices {
		if old.in == in && slices.EqualFunc(old.parts, m.parts, part.same) {
			return old, nil
		}
	}
	d.matrices = append(d.matrices, m)
	return m, nil
}

// bias returns the biases of layers side by side, zeros where one has none.
func (d *design) bias(sources []source, outs []shape) (*vector, error) {
	biases := make([]source, len(sources))
	for i, s := range sources {
		biases[i] = source{weight: s.bias, from: s.from}
	}
	return d.vector(biases, outs, 1)
}

// vector returns numbers times scale; those of a source without a name are zeros.
func (d *design) vector(sources []source, outs []shape, scale float32) (*vector, error) {
	v := &vector{scale: scale}
	for i, s := range sources {
		t, ok := d.file.Tensor(s.weight)
		if !ok && s.weight != "" {
			return nil, fmt.Errorf("cuda: tensor %s is missing", s.weight)
		}
		v.parts = append(v.parts, part{s.weight, t, s.from, outs[i]})
	}
	d.vectors = append(d.vectors, v)
	return v, nil
}
