package cpu

import (
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
	"github.com/holdfast-run/holdfast/weights"
)

// phase is a part of a step between two barriers. Its closures are made once,
// when the graph is compiled.
type phase struct {
	tasks func() int // how many tasks the step under way makes of it
	run   func(i, worker int)
}

func (ph *phase) task(i, worker int) { ph.run(i, worker) }

func (p *program) add(tasks func() int, run func(i, worker int)) {
	p.phases = append(p.phases, &phase{tasks: tasks, run: run})
}

// rowCount returns how many rows values of this kind have in the step under way.
func (p *program) rowCount(r graph.Rows) int {
	if r == graph.PerLogit {
		return len(p.in.Logits)
	}
	return len(p.in.Tokens)
}

// perRow adds a phase that runs f for every row of a value, a tile of rows to
// a task.
func (p *program) perRow(r graph.Rows, f func(row int)) {
	p.add(
		func() int { return tiles(p.rowCount(r)) },
		func(i, _ int) {
			for row := i * kernels.MaxTile; row < min((i+1)*kernels.MaxTile, p.rowCount(r)); row++ {
				f(row)
			}
		})
}

// value returns the buffer of a value.
func (p *program) value(v graph.Value) *buffer { return &p.buffers[p.layout.of[v]] }

// compile adds the phases of a unit.
func (p *program) compile(u unit) {
	i := u.nodes[0]
	n := p.graph.Nodes[i]
	k, dim, rows := p.kernels, n.Type.Dim, n.Type.Rows
	var x, y *buffer // the first input and the result
	if len(n.In) > 0 {
		x = p.value(n.In[0])
	}
	if rows != graph.Cache {
		y = p.value(graph.Value(i))
	}
	switch op := n.Op.(type) {
	case graph.Embed:
		table := p.weights.tables[op.Table.Name]
		p.perRow(rows, func(r int) { p.embed(table, y.row(r, dim), r) })
	case graph.Norm:
		w := p.weights.vectors[op.Weight.Name]
		p.perRow(rows, func(r int) { k.RMSNorm(y.row(r, dim), x.row(r, dim), w, op.Eps) })
	case graph.Linear:
		p.linear(u, x)
	case graph.RoPE:
		t := &p.layout.ropeTables[p.layout.ropeOf[i]]
		p.perRow(rows, func(r int) {
			cos, sin := t.row(p.in.Positions[r])
			out := y.row(r, dim)
			copy(out, x.row(r, dim))
			k.RoPE(out, op.Heads, op.HeadDim, cos, sin, op.Interleaved)
		})
	case graph.StoreKV:
		v := p.value(n.In[1])
		p.perRow(graph.PerToken, func(r int) { p.store(op.Layer, r, x, v) })
	case graph.Attention:
		layer := p.graph.Nodes[n.In[1]].Op.(graph.StoreKV).Layer
		p.attention.compile(p, op, layer, x, y)
	case graph.SiLUGate:
		up := p.value(n.In[1])
		p.perRow(rows, func(r int) { k.SiLUMul(y.row(r, dim), x.row(r, dim), up.row(r, dim)) })
	case graph.Add:
		z := p.value(n.In[1])
		p.perRow(rows, func(r int) { k.Add(y.row(r, dim), x.row(r, dim), z.row(r, dim)) })
	case graph.Gather:
		p.perRow(rows, func(r int) { copy(y.row(r, dim), x.row(int(p.in.Logits[r]), dim)) })
	default:
		panic(fmt.Sprintf("cpu: BUG: no phase for %T", n.Op))
	}
}

// embed writes the embedding of token r, read from the file's mapping.
func (p *program) embed(table weights.Tensor, out []float32, r int) {
	tok := p.in.Tokens[r]
	if tok == device.Sampled {
		tok = p.sampled[p.tokenRow[r]]
	}
	n := table.Type.RowBytes(len(out))
	if err := weights.Dequantize(table.Type, out, table.Data[int(tok)*n:int(tok+1)*n]); err != nil {
		panic(fmt.Sprintf("cpu: BUG: embedding: %v", err)) // lengths are the table's own
	}
}

// store writes token r's K and V into its slot of a layer.
func (p *program) store(layer, r int, k, v *buffer) {
	slot := p.in.Slots[r]
	kv := p.graph.KV[layer]
	for h := range kv.Heads {
		kb, vb := p.pool.head(slot/device.BlockTokens, layer, h)
		at, end := h*kv.HeadDim, (h+1)*kv.HeadDim
		p.kernels.StoreK(kb, p.pool.dtype, kv.HeadDim, int(slot%device.BlockTokens), k.row(r, end)[at:])
		p.kernels.StoreV(vb, p.pool.dtype, kv.HeadDim, int(slot%device.BlockTokens), v.row(r, end)[at:])
	}
}

const (
	// decodeChunk and prefillChunk are the bytes of weights that one task
	// reads: little for one tile, so that the threads finish together; for
	// many tiles as much as stays in a core's L2 cache while they pass.
	decodeChunk  = 48 << 10
	prefillChunk = 192 << 10
	// taskTiles is the most tiles that pass over one chunk of weights in a task.
	taskTiles = 8
)

// span is a run of row groups of one matrix: the weights of one task.
type span struct {
	w      *kernels.Matrix
	y      *buffer
	bias   []float32 // nil, or of the whole matrix
	g0, g1 int
}

// linear adds the phases of linear nodes with the same input: one that brings
// the input into tiles, one that multiplies.
func (p *program) linear(u unit, x *buffer) {
	first := p.graph.Nodes[u.nodes[0]]
	kdim, rows := first.Op.(graph.Linear).Weight.Shape[1], first.Type.Rows
	p.add(
		func() int { return tiles(p.rowCount(rows)) },
		func(i, _ int) { p.tile(u.tiles, x, kdim, i, p.tileRows(i, rows)) })

	small, large := p.spans(u, decodeChunk), p.spans(u, prefillChunk)
	choose := func() []span {
		if p.rowCount(rows) <= kernels.MaxTile {
			return small
		}
		return large
	}
	p.add(
		func() int { return len(choose()) * ((tiles(p.rowCount(rows)) + taskTiles - 1) / taskTiles) },
		func(i, _ int) {
			spans := choose()
			s := &spans[i%len(spans)]
			first := i / len(spans) * taskTiles
			for t := first; t < min(first+taskTiles, tiles(p.rowCount(rows))); t++ {
				p.multiply(s, kdim, t, p.tileRows(t, rows))
			}
		})
}

// tileRows returns how many rows tile i has.
func (p *program) tileRows(i int, r graph.Rows) int {
	return min(kernels.MaxTile, p.rowCount(r)-i*kernels.MaxTile)
}

// spans cuts the matrices of a unit into runs of about size bytes.
func (p *program) spans(u unit, size int) []span {
	var list []span
	for _, i := range u.nodes {
		op := p.graph.Nodes[i].Op.(graph.Linear)
		w := p.weights.matrices[op.Weight.Name]
		step := max(1, size*w.Groups()/len(w.Data))
		for g := 0; g < w.Groups(); g += step {
			list = append(list, span{
				w: w, y: p.value(graph.Value(i)), bias: p.weights.vectors[op.Bias.Name],
				g0: g, g1: min(g+step, w.Groups()),
			})
		}
	}
	return list
}

// tileAt returns tile i of the tiles over k inputs.
func (p *program) tileAt(kind tileKind, k, i int) []byte {
	if kind == int8Tile {
		n := slab.Round(kernels.TileBytes(k, kernels.MaxTile))
		return p.int8Tiles[i*n : (i+1)*n]
	}
	n := slab.Round(kernels.FloatTileBytes(k, kernels.MaxTile))
	return p.floatTiles[i*n : (i+1)*n]
}

// tile brings m rows of x into tile i.
func (p *program) tile(kinds tileKind, x *buffer, k, i, m int) {
	src := x.data[i*kernels.MaxTile*x.stride:]
	if kinds&int8Tile != 0 {
		p.kernels.Quantize(p.tileAt(int8Tile, k, i), src, x.stride, k, m)
	}
	if kinds&floatTile != 0 {
		p.kernels.FloatTile(p.tileAt(floatTile, k, i), src, x.stride, k, m)
	}
}

// multiply computes the rows of s for the m tokens of tile t.
func (p *program) multiply(s *span, k, t, m int) {
	kind := floatTile
	if kernels.Int8Weights(s.w.Type) {
		kind = int8Tile
	}
	y := s.y.data[t*kernels.MaxTile*s.y.stride:]
	p.kernels.Linear(y, s.y.stride, p.tileAt(kind, k, t), m, s.w, s.g0, s.g1)
	if s.bias == nil {
		return
	}
	from, to := s.g0*kernels.GroupRows, min(s.g1*kernels.GroupRows, s.w.Rows)
	for r := range m {
		out := y[r*s.y.stride+from : r*s.y.stride+to]
		p.kernels.Add(out, out, s.bias[from:to])
	}
}
