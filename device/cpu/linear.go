package cpu

import (
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// cut says how the matrices of a unit become tasks: each is the share of one
// thread in what is left, but at least and at most so many bytes of weights.
// The first tasks are large, because reading that begins anew every few
// microseconds loses a fifth of the memory's speed; the last are small, so that
// the threads finish together.
type cut struct{ least, most int }

// next returns how many row groups of group bytes the next task has, of left
// bytes that are in no task yet.
func (c cut) next(left, group, threads int) int {
	return max(1, min(max(left/threads, c.least), c.most)/group)
}

var (
	// oneTile reads each weight once.
	oneTile = cut{least: 16 << 10, most: 2 << 20}
	// manyTiles pass over weights that stay in a core's L2 cache meanwhile.
	manyTiles = cut{least: 24 << 10, most: 192 << 10}
)

// taskTiles is the most tiles that pass over one span in a task.
const taskTiles = 8

// span is a run of row groups of one matrix: the weights of one task.
type span struct {
	w    kernels.Matrix // these groups only
	y    *buffer
	bias []float32 // of these rows, or nil
	row  int       // first row
}

// fineScratch is one worker's memory for fine tiles: the rows that are
// quantised, each followed by its residual, and their products.
type fineScratch struct{ rows, out []float32 }

// linear adds the phases of linear nodes with the same input: one that brings
// the input into tiles, one that multiplies.
func (p *program) linear(u unit, x *buffer) {
	first := p.graph.Nodes[u.nodes[0]]
	kdim, rows := first.Op.(graph.Linear).Weight.Shape[1], first.Type.Rows
	count := func() int { return u.tileCount(p.rowCount(rows)) }
	tileRows := func(t int) int { return min(u.tileRows(), p.rowCount(rows)-t*u.tileRows()) }
	p.add(count, func(t, worker int) { p.tile(u, x, kdim, t, tileRows(t), worker) })

	one, many := p.spans(u, oneTile), p.spans(u, manyTiles)
	choose := func() []span {
		if count() == 1 {
			return one
		}
		return many
	}
	p.add(
		func() int { return len(choose()) * ((count() + taskTiles - 1) / taskTiles) },
		func(i, worker int) {
			spans := choose()
			s := &spans[i%len(spans)]
			first := i / len(spans) * taskTiles
			for t := first; t < min(first+taskTiles, count()); t++ {
				p.multiply(u, s, t, tileRows(t), worker)
			}
		})
}

// spans cuts the matrices of a unit into runs of row groups.
func (p *program) spans(u unit, c cut) []span {
	left := 0 // bytes
	for _, i := range u.nodes {
		left += len(p.matrix(i).Data)
	}
	var list []span
	for _, i := range u.nodes {
		w, bias := p.matrix(i), p.weights.vectors[p.graph.Nodes[i].Op.(graph.Linear).Bias.Name]
		group := len(w.Data) / w.Groups()
		for g := 0; g < w.Groups(); {
			end := min(g+c.next(left, group, p.team.size()), w.Groups())
			s := span{y: p.value(graph.Value(i)), row: g * kernels.GroupRows}
			s.w = kernels.Matrix{Type: w.Type, Rows: min(end*kernels.GroupRows, w.Rows) - s.row, K: w.K, Data: w.Data[g*group : end*group]}
			if bias != nil {
				s.bias = bias[s.row : s.row+s.w.Rows]
			}
			list = append(list, s)
			left -= len(s.w.Data)
			g = end
		}
	}
	return list
}

// matrix returns the weights of a linear node.
func (p *program) matrix(node int) *kernels.Matrix {
	return p.weights.matrices[p.graph.Nodes[node].Op.(graph.Linear).Weight.Name]
}

// tileAt returns tile t of the tiles over k inputs.
func (p *program) tileAt(kind tileKind, k, t int) []byte {
	if kind == int8Tile {
		n := slab.Round(kernels.TileBytes(k, kernels.MaxTile))
		return p.int8Tiles[t*n : (t+1)*n]
	}
	n := slab.Round(kernels.FloatTileBytes(k, kernels.MaxTile))
	return p.floatTiles[t*n : (t+1)*n]
}

// tile brings m rows of x into tile t.
func (p *program) tile(u unit, x *buffer, k, t, m, worker int) {
	src := x.data[t*u.tileRows()*x.stride:]
	if u.tiles&floatTile != 0 {
		p.kernels.FloatTile(p.tileAt(floatTile, k, t), src, x.stride, k, m)
	}
	if u.tiles&int8Tile == 0 {
		return
	}
	if !u.fine {
		p.kernels.Quantize(p.tileAt(int8Tile, k, t), src, x.stride, k, m)
		return
	}
	rows := p.fine[worker].rows
	for r := range m {
		row := src[r*x.stride : r*x.stride+k]
		copy(rows[2*r*k:], row)
		p.kernels.Residual(rows[(2*r+1)*k:(2*r+2)*k], row)
	}
	p.kernels.Quantize(p.tileAt(int8Tile, k, t), rows, k, k, 2*m)
}

// multiply computes the rows of s for the m rows of tile t.
func (p *program) multiply(u unit, s *span, t, m, worker int) {
	kind := floatTile
	if kernels.Int8Weights(s.w.Type) {
		kind = int8Tile
	}
	tile := p.tileAt(kind, s.w.K, t)
	y := s.y.data[t*u.tileRows()*s.y.stride+s.row:]
	if u.fine && kind == int8Tile {
		width := s.w.Groups() * kernels.GroupRows
		out := p.fine[worker].out
		p.kernels.Linear(out, width, tile, 2*m, &s.w, 0, s.w.Groups())
		for r := range m {
			p.kernels.Add(y[r*s.y.stride:r*s.y.stride+width], out[2*r*width:(2*r+1)*width], out[(2*r+1)*width:(2*r+2)*width])
		}
	} else {
		p.kernels.Linear(y, s.y.stride, tile, m, &s.w, 0, s.w.Groups())
	}
	if s.bias == nil {
		return
	}
	for r := range m {
		out := y[r*s.y.stride : r*s.y.stride+len(s.bias)]
		p.kernels.Add(out, out, s.bias)
	}
}
