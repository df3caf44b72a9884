package cpu

import (
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
	"github.com/holdfast-run/holdfast/weights"
)

// layout is a graph's order of work and its scratch memory, settled before
// anything is loaded so that the memory plan is exact.
type layout struct {
	units   []unit
	buffers []bufferSpec // scratch buffers, shared by values whose lives do not meet
	of      []int        // per value: its buffer, or -1

	int8Tiles  int // bytes of the tiles of quantised activations, 0 if unused
	floatTiles int // bytes of the tiles of float activations, 0 if unused
	fineRows   int // float32 of one worker's rows before they become a fine tile
	fineOut    int // float32 of one worker's products of a fine tile
	workers    int
	attention  attentionLayout
	ropeTables []ropeTable
	ropeOf     map[int]int // per RoPE node: its table
}

// unit is what one phase computes: one node, or all linear nodes that share an
// input, so that their activations are prepared once and their rows are spread
// over the threads together.
type unit struct {
	nodes []int
	tiles tileKind // what a unit of linear nodes needs of its input
	// fine units quantise their input twice, the second time what the first
	// lost: those that make logits (docs/NUMERICS.md).
	fine bool
}

// tileRows is how many rows of input make a tile.
func (u unit) tileRows() int {
	if u.fine {
		return kernels.MaxTile / 2
	}
	return kernels.MaxTile
}

// tileCount returns how many tiles n rows of input make.
func (u unit) tileCount(n int) int { return (n + u.tileRows() - 1) / u.tileRows() }

// tileKind says which forms of an activation are needed; both may be.
type tileKind uint8

const (
	int8Tile tileKind = 1 << iota
	floatTile
)

// bufferSpec is the size of a scratch buffer: rows of stride float32.
type bufferSpec struct{ rows, stride int }

func newLayout(g *graph.Graph, w *weights.File, o device.Options) (*layout, error) {
	l := &layout{ropeOf: map[int]int{}, workers: o.Threads}
	if err := l.order(g, w, o); err != nil {
		return nil, err
	}
	l.assign(g, o)
	for i, n := range g.Nodes {
		if op, ok := n.Op.(graph.RoPE); ok {
			l.ropeOf[i] = l.ropeTable(op, o.ContextLength)
		}
	}
	l.attention = newAttentionLayout(g, o)
	return l, nil
}

// order lists the units in an order that respects the edges.
func (l *layout) order(g *graph.Graph, w *weights.File, o device.Options) error {
	taken := make([]bool, len(g.Nodes))
	for i, n := range g.Nodes {
		if taken[i] {
			continue
		}
		u := unit{nodes: []int{i}}
		if _, ok := n.Op.(graph.Linear); ok {
			u.nodes, u.fine = nil, n.Type.Rows == graph.PerLogit
			for j := i; j < len(g.Nodes); j++ {
				op, ok := g.Nodes[j].Op.(graph.Linear)
				if !ok || g.Nodes[j].In[0] != n.In[0] {
					continue
				}
				u.nodes, taken[j] = append(u.nodes, j), true
				have, ok := w.Tensor(op.Weight.Name)
				if !ok {
					return fmt.Errorf("cpu: tensor %s is missing", op.Weight.Name)
				}
				l.needTiles(&u, have.Type, op.Weight.Shape[0], op.Weight.Shape[1], o)
			}
		}
		l.units = append(l.units, u)
	}
	return nil
}

// needTiles makes room for the activations of a linear node of rows × k weights.
func (l *layout) needTiles(u *unit, t graph.DType, rows, k int, o device.Options) {
	n := u.tileCount(o.MaxTokens)
	if u.fine {
		n = u.tileCount(o.MaxRows)
		groups := mostGroups(t, rows, k)
		l.fineRows = max(l.fineRows, kernels.MaxTile*k)
		l.fineOut = max(l.fineOut, kernels.MaxTile*kernels.GroupRows*groups)
	}
	if kernels.Int8Weights(t) {
		u.tiles |= int8Tile
		l.int8Tiles = max(l.int8Tiles, n*slab.Round(kernels.TileBytes(k, kernels.MaxTile)))
	} else {
		u.tiles |= floatTile
		l.floatTiles = max(l.floatTiles, n*slab.Round(kernels.FloatTileBytes(k, kernels.MaxTile)))
	}
}

// mostGroups returns how many row groups of a matrix a span has at most.
func mostGroups(t graph.DType, rows, k int) int {
	n, err := kernels.PackedBytes(t, rows, k)
	if err != nil {
		return 1 // packedBytes reports it
	}
	groups := (rows + kernels.GroupRows - 1) / kernels.GroupRows
	return min(groups, max(1, max(oneTile.most, manyTiles.most)*groups/n))
}

// assign gives every value a buffer. A value that dies where another is made
// from it element by element leaves its buffer to it.
func (l *layout) assign(g *graph.Graph, o device.Options) {
	lastUse := l.lastUse(g)
	l.of = make([]int, len(g.Nodes))
	var free []int
	for at, u := range l.units {
		for _, i := range u.nodes {
			n := g.Nodes[i]
			l.of[i] = -1
			if n.Type.Rows == graph.Cache {
				continue
			}
			if inPlace(n.Op) && lastUse[n.In[0]] == at && g.Nodes[n.In[0]].Type == n.Type {
				l.of[i] = l.of[n.In[0]]
				continue
			}
			l.of[i] = l.take(&free, bufferFor(n.Type, o))
		}
		for v, last := range lastUse {
			if last == at && l.of[v] >= 0 && !l.passedOn(g, u, v) {
				free = append(free, l.of[v])
			}
		}
	}
}

// lastUse returns, per value, the last unit that reads it.
func (l *layout) lastUse(g *graph.Graph) []int {
	last := make([]int, len(g.Nodes))
	for at, u := range l.units {
		for _, i := range u.nodes {
			last[i] = at
			for _, v := range g.Nodes[i].In {
				last[v] = max(last[v], at)
			}
		}
	}
	last[g.Logits] = len(l.units)
	return last
}

// passedOn reports whether unit u took over the buffer of v in place.
func (l *layout) passedOn(g *graph.Graph, u unit, v int) bool {
	i := u.nodes[0]
	return i != v && inPlace(g.Nodes[i].Op) && int(g.Nodes[i].In[0]) == v && l.of[i] == l.of[v]
}

// inPlace reports whether a node may write over its first input.
func inPlace(op graph.Op) bool {
	switch op.(type) {
	case graph.RoPE, graph.Add, graph.SiLUGate, graph.GELUGate, graph.Scale, graph.SoftCap:
		return true
	}
	return false
}

func bufferFor(t graph.Type, o device.Options) bufferSpec {
	rows := o.MaxTokens
	if t.Rows == graph.PerLogit {
		rows = o.MaxRows
	}
	return bufferSpec{rows: rows, stride: (t.Dim + kernels.GroupRows - 1) / kernels.GroupRows * kernels.GroupRows}
}

// take returns a free buffer of just that shape, or a new one.
func (l *layout) take(free *[]int, want bufferSpec) int {
	for i, b := range *free {
		if l.buffers[b] == want {
			*free = append((*free)[:i], (*free)[i+1:]...)
			return b
		}
	}
	l.buffers = append(l.buffers, want)
	return len(l.buffers) - 1
}

// bytes is the size of the scratch slab.
func (l *layout) bytes() int {
	n := slab.Round(l.int8Tiles) + slab.Round(l.floatTiles) + l.attention.bytes()
	n += l.workers * (slab.Round(4*l.fineRows) + slab.Round(4*l.fineOut))
	for _, b := range l.buffers {
		n += slab.Round(4 * b.rows * b.stride)
	}
	for _, t := range l.ropeTables {
		n += 2 * slab.Round(4*t.context*len(t.freqs))
	}
	return n
}
