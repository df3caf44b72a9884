// Package ref interprets a graph in plain float64 Go, one value at a time, as
// the oracle that other backends are compared with. It is written to be read,
// not to be fast: weights are dequantised on the fly, KV is kept in float64, of Q8_0
// with the values that this leaves.
package ref

import (
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/weights"
)

// Backend is the reference backend.
type Backend struct{}

var _ device.Backend = Backend{}

// Name implements device.Backend.
func (Backend) Name() string { return "ref" }

// Plan implements device.Backend.
func (Backend) Plan(g *graph.Graph, w *weights.File, o device.Options) (device.Plan, error) {
	if err := device.CheckKV(g, o.KV); err != nil {
		return nil, err
	}
	var elems int64
	for _, t := range g.Tensors() {
		have, ok := w.Tensor(t.Name)
		if !ok {
			return nil, fmt.Errorf("ref: tensor %s is missing", t.Name)
		}
		elems += int64(have.Elems())
	}
	kv := int64(0)
	for kind, blocks := range o.Blocks {
		kv += int64(blocks) * int64(blockElems(g, device.PoolKind(kind))) * 8
	}
	return device.Plan{
		{Name: "weights (float32)", Bytes: 4 * elems},
		{Name: "KV cache (float64)", Bytes: kv},
	}, nil
}

// Compile implements device.Backend.
func (Backend) Compile(ctx context.Context, g *graph.Graph, w *weights.File, o device.Options) (device.Program, error) {
	if err := device.CheckKV(g, o.KV); err != nil {
		return nil, err
	}
	p := &program{
		graph:   g,
		opts:    o,
		weights: map[string][]float32{},
		table:   device.NewTable(o),
		sampled: make([]int32, o.MaxRows),
	}
	for kind := range p.pools {
		p.pools[kind] = newPool(g, o, device.PoolKind(kind))
	}
	for _, t := range g.Tensors() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		have, ok := w.Tensor(t.Name)
		if !ok {
			return nil, fmt.Errorf("ref: tensor %s is missing", t.Name)
		}
		x := make([]float32, have.Elems())
		if err := weights.Dequantize(have.Type, x, have.Data); err != nil {
			return nil, fmt.Errorf("ref: tensor %s: %w", t.Name, err)
		}
		p.weights[t.Name] = x
	}
	return p, nil
}

// program implements device.Program and, as everything is done when Launch
// returns, device.Ticket.
type program struct {
	graph   *graph.Graph
	opts    device.Options
	weights map[string][]float32
	table   *device.Table
	pools   [device.PoolKinds]*pool
	sampled []int32 // per table row: the token drawn last

	rows []int32 // table row of each row of logits of the last launch
	out  device.Output
	scr  sampler.Scratch
}

func (p *program) Class() string {
	if p.opts.KV == graph.Q8_0 {
		return "ref-kv-q8_0"
	}
	return "ref"
}

func (p *program) Overlaps() bool                { return false }
func (p *program) Close() error                  { return nil }
func (p *program) Wait() (*device.Output, error) { return &p.out, nil }

// Pool implements device.Program.
func (p *program) Pool(kind device.PoolKind) device.Pool { return p.pools[kind] }

// Launch implements device.Program.
func (p *program) Launch(in *device.StepInput) (device.Ticket, error) {
	if err := in.Check(p.opts, p.graph.Vocab); err != nil {
		return nil, err
	}
	if err := p.table.Apply(in.Tables); err != nil {
		return nil, err
	}
	s := newStep(p, in)
	for i, n := range p.graph.Nodes {
		s.values[i] = s.eval(n)
	}
	p.out.Logits = p.out.Logits[:0]
	for _, row := range s.values[p.graph.Logits] {
		l := make([]float32, len(row))
		for i, x := range row {
			l[i] = float32(x)
		}
		p.out.Logits = append(p.out.Logits, l)
	}
	p.rows = p.rows[:0]
	for _, i := range in.Logits {
		p.rows = append(p.rows, s.tokenRow[i])
	}
	return p, nil
}

// Sample implements device.Program.
func (p *program) Sample(_ device.Ticket, late *sampler.Late) (device.Ticket, error) {
	if len(late.Rows) != len(p.rows) {
		return nil, fmt.Errorf("ref: BUG: %d rows to sample of %d", len(late.Rows), len(p.rows))
	}
	p.out.Tokens = p.out.Tokens[:0]
	for i, row := range late.Rows {
		tok, err := sampler.Pick(p.out.Logits[i], row, &p.scr)
		if err != nil {
			tok = device.NoToken
		} else {
			p.sampled[p.rows[i]] = tok
		}
		p.out.Tokens = append(p.out.Tokens, tok)
	}
	return p, nil
}
