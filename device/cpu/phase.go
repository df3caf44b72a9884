package cpu

import (
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
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

// taskRows is how many rows one task of a row-by-row phase has.
const taskRows = 8

// perRow adds a phase that runs f for every row of a value.
func (p *program) perRow(r graph.Rows, f func(row int)) {
	p.add(
		func() int { return (p.rowCount(r) + taskRows - 1) / taskRows },
		func(i, _ int) {
			for row := i * taskRows; row < min((i+1)*taskRows, p.rowCount(r)); row++ {
				f(row)
			}
		})
}

// partElems is how many elements one task of a row cut into parts has.
const partElems = 4096

// perPart adds a phase that runs f for every part of every row: for rows so long
// that one is work for all threads.
func (p *program) perPart(r graph.Rows, dim int, f func(row, from, to int)) {
	parts := (dim + partElems - 1) / partElems
	p.add(
		func() int { return p.rowCount(r) * parts },
		func(i, _ int) { f(i/parts, i%parts*partElems, min((i%parts+1)*partElems, dim)) })
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
		p.perRow(rows, func(r int) {
			for at := 0; at < dim; at += len(w) {
				k.RMSNorm(y.row(r, dim)[at:at+len(w)], x.row(r, dim)[at:at+len(w)], w, op.Eps)
			}
		})
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
	case graph.GELUGate:
		up := p.value(n.In[1])
		p.perRow(rows, func(r int) { geluMul(k, y.row(r, dim), x.row(r, dim), up.row(r, dim)) })
	case graph.Scale:
		p.perRow(rows, func(r int) { k.ScaleTo(y.row(r, dim), x.row(r, dim), op.By) })
	case graph.SoftCap:
		p.perPart(rows, dim, func(r, from, to int) { softCap(y.row(r, to)[from:], x.row(r, to)[from:], op.Cap) })
	case graph.Slice:
		p.perRow(rows, func(r int) { copy(y.row(r, dim), x.row(r, op.From+dim)[op.From:]) })
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
	kv := p.graph.KV[layer]
	kind := device.KindOf(kv)
	slot, pool := p.in.Slots[kind][r], p.pools[kind]
	for h := range kv.Heads {
		kb, vb := pool.head(slot/device.BlockTokens, layer, h)
		at, end := h*kv.HeadDim, (h+1)*kv.HeadDim
		p.kernels.StoreK(kb, pool.dtype, kv.HeadDim, int(slot%device.BlockTokens), k.row(r, end)[at:])
		p.kernels.StoreV(vb, pool.dtype, kv.HeadDim, int(slot%device.BlockTokens), v.row(r, end)[at:])
	}
}
