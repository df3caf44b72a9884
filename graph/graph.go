// Package graph describes a model's forward pass as a typed SSA graph: every
// node defines one value, edges are explicit, nodes stand in the order in
// which they may run. Package model writes graphs, the backends of package
// device compile or interpret them; nothing here computes.
//
// Values are matrices of float32, one row per token of the step (after Gather,
// one row per position that needs logits); a value's type gives its width.
// StoreKV is the exception: its value is a layer of the KV cache, so layers
// that share KV are attention nodes with the same edge.
package graph

import "fmt"

// Value names the result of one node: its index in Graph.Nodes.
type Value int32

// Rows says what the rows of a value are.
type Rows uint8

// The kinds of rows.
const (
	PerToken Rows = iota // one row per token of the step
	PerLogit             // one row per position that needs logits
	Cache                // not rows: a layer of the KV cache
)

// Type is the type of a value: float32 rows of Dim elements.
type Type struct {
	Rows Rows
	Dim  int // elements in a row
}

// Tensor names a weight and the shape that the graph needs it to have,
// outermost dimension first.
type Tensor struct {
	Name  string
	Shape []int
}

// Node is one operation. Op is one of the structs of ops.go.
type Node struct {
	Op   Op
	In   []Value
	Type Type
}

// Graph is one model's forward pass.
type Graph struct {
	Nodes []Node
	// Logits is the value that holds a row of Vocab logits per position asked for.
	Logits Value
	// Vocab is the number of logits in a row.
	Vocab int
	// ContextLength is the most positions that the model was made for.
	ContextLength int
	// KV lists the cache's layers, in the order of StoreKV.Layer.
	KV []KVLayer
}

// KVLayer is the geometry of one layer of the KV cache. Keys and values have
// the same width.
type KVLayer struct {
	Heads   int // KV heads
	HeadDim int // elements of one head
	// Window is how many positions a token sees, its own included; 0 means all.
	// Layers with a window live in a pool of their own.
	Window int
}

// Window returns the window of g's layers that have one, or 0.
func (g *Graph) Window() int {
	for _, l := range g.KV {
		if l.Window > 0 {
			return l.Window
		}
	}
	return 0
}

// Builder makes a Graph. Its methods check shapes; the first error sticks and
// is returned by Build, so that a model file reads as the model's own
// equations.
type Builder struct {
	g   Graph
	err error
}

func (b *Builder) fail(format string, args ...any) Value {
	if b.err == nil {
		b.err = fmt.Errorf("graph: node %d: %s", len(b.g.Nodes), fmt.Sprintf(format, args...))
	}
	return 0
}

func (b *Builder) add(op Op, t Type, in ...Value) Value {
	if b.err != nil {
		return 0
	}
	b.g.Nodes = append(b.g.Nodes, Node{Op: op, In: in, Type: t})
	return Value(len(b.g.Nodes) - 1)
}

// typeOf returns v's type, or the zero type once the builder has failed.
func (b *Builder) typeOf(v Value) Type {
	if b.err != nil || int(v) >= len(b.g.Nodes) {
		return Type{}
	}
	return b.g.Nodes[v].Type
}

// Build returns the graph whose result is logits, a value of PerLogit rows.
func (b *Builder) Build(logits Value, contextLength int) (*Graph, error) {
	t := b.typeOf(logits)
	if b.err == nil && (t.Rows != PerLogit || t.Dim <= 0) {
		b.fail("logits must have rows per position asked for; use Gather")
	}
	if b.err != nil {
		return nil, b.err
	}
	g := b.g
	g.Logits, g.Vocab, g.ContextLength = logits, t.Dim, contextLength
	return &g, nil
}

// Tensors returns every weight that g uses, each once, in order of first use.
func (g *Graph) Tensors() []Tensor {
	var list []Tensor
	seen := map[string]bool{}
	for _, n := range g.Nodes {
		for _, t := range n.Op.tensors() {
			if t.Name != "" && !seen[t.Name] {
				seen[t.Name] = true
				list = append(list, t)
			}
		}
	}
	return list
}
