package cpu

import (
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
	"github.com/holdfast-run/holdfast/sampler"
)

// program is a compiled graph. It implements device.Program and, as all work
// is done when a call returns, device.Ticket.
type program struct {
	graph   *graph.Graph
	opts    device.Options
	kernels *kernels.Kernels
	layout  *layout
	weights *modelWeights
	pools   [device.PoolKinds]*pool
	table   *device.Table
	team    *team
	scratch *slab.Slab

	buffers    []buffer
	int8Tiles  []byte
	floatTiles []byte
	fine       []fineScratch // one per worker
	phases     []*phase
	attention  attention

	// Of the step under way.
	in       *device.StepInput
	tokenRow []int32 // table row of each token

	// Of sampling.
	sampled  []int32 // per table row: the token drawn last
	late     *sampler.Late
	samplers []sampler.Scratch // one per worker
	drawing  phase
	rows     []int32 // table row of each row of logits
	tokens   []int32
	logits   [][]float32
	out      device.Output
}

// buffer is a scratch buffer: rows of stride float32.
type buffer struct {
	data   []float32
	stride int
}

// row returns the first n elements of row i.
func (b *buffer) row(i, n int) []float32 { return b.data[i*b.stride : i*b.stride+n] }

// bind carves the scratch slab and makes the phases.
func (p *program) bind() {
	for _, s := range p.layout.buffers {
		p.buffers = append(p.buffers, buffer{data: p.scratch.Floats(s.rows * s.stride), stride: s.stride})
	}
	p.int8Tiles = p.scratch.Take(p.layout.int8Tiles)
	p.floatTiles = p.scratch.Take(p.layout.floatTiles)
	for range p.layout.workers {
		p.fine = append(p.fine, fineScratch{rows: p.scratch.Floats(p.layout.fineRows), out: p.scratch.Floats(p.layout.fineOut)})
	}
	for i := range p.layout.ropeTables {
		p.layout.ropeTables[i].bind(p.scratch)
	}
	p.attention.bind(p)
	p.tokenRow = make([]int32, p.opts.MaxTokens)
	p.sampled = make([]int32, p.opts.MaxRows)
	p.samplers = make([]sampler.Scratch, p.team.size())
	p.drawing = phase{run: p.draw}
	p.rows = make([]int32, 0, p.opts.MaxRows)
	p.tokens = make([]int32, p.opts.MaxRows)
	p.logits = make([][]float32, 0, p.opts.MaxRows)
	for _, u := range p.layout.units {
		p.compile(u)
	}
}

// Class implements device.Program.
func (p *program) Class() string { return classes[p.opts.KV] }

// Pool implements device.Program.
func (p *program) Pool(kind device.PoolKind) device.Pool { return p.pools[kind] }

// Overlaps implements device.Program: host and kernels share the cores.
func (p *program) Overlaps() bool { return false }

// Wait implements device.Ticket.
func (p *program) Wait() (*device.Output, error) { return &p.out, nil }

// Launch implements device.Program.
func (p *program) Launch(in *device.StepInput) (device.Ticket, error) {
	if err := in.Check(p.opts, p.graph.Vocab); err != nil {
		return nil, err
	}
	if err := p.table.Apply(in.Tables); err != nil {
		return nil, err
	}
	for _, d := range in.Tables {
		p.pools[d.Kind].touchAhead(d.Blocks)
	}
	p.prepare(in)
	for _, ph := range p.phases {
		if n := ph.tasks(); n > 0 {
			p.team.run(ph, n)
		}
	}
	p.logits = p.logits[:0]
	out := &p.buffers[p.layout.of[p.graph.Logits]]
	for i := range in.Logits {
		p.logits = append(p.logits, out.row(i, p.graph.Vocab))
	}
	p.out = device.Output{}
	if in.KeepLogits {
		p.out.Logits = p.logits
	}
	return p, nil
}

// prepare settles what all layers of a step share.
func (p *program) prepare(in *device.StepInput) {
	p.in = in
	furthest := 0
	for _, s := range in.Spans {
		for i := s.Start; i < s.Start+s.Tokens; i++ {
			p.tokenRow[i] = s.Row
			furthest = max(furthest, int(in.Positions[i]))
		}
	}
	for i := range p.layout.ropeTables {
		p.layout.ropeTables[i].fill(furthest)
	}
	p.attention.prepare(p)
	p.rows = p.rows[:0]
	for _, i := range in.Logits {
		p.rows = append(p.rows, p.tokenRow[i])
	}
}

// Sample implements device.Program.
func (p *program) Sample(_ device.Ticket, late *sampler.Late) (device.Ticket, error) {
	if len(late.Rows) != len(p.rows) {
		return nil, fmt.Errorf("cpu: BUG: %d rows to sample of %d", len(late.Rows), len(p.rows))
	}
	p.late = late
	p.out.Tokens = p.tokens[:len(p.rows)]
	p.team.run(&p.drawing, len(p.rows))
	for i, tok := range p.out.Tokens {
		if tok != device.NoToken {
			p.sampled[p.rows[i]] = tok // of several rows of logits of one table row the last
		}
	}
	return p, nil
}

// draw samples one row of logits, beside other threads that draw others.
func (p *program) draw(i, worker int) {
	tok, err := sampler.Pick(p.logits[i], p.late.Rows[i], &p.samplers[worker])
	if err != nil {
		tok = device.NoToken
	}
	p.out.Tokens[i] = tok
}

// Close implements device.Program.
func (p *program) Close() error {
	p.team.close()
	var errs []error
	if p.weights != nil {
		errs = append(errs, p.weights.slab.Close())
	}
	for _, pool := range p.pools {
		if pool != nil {
			errs = append(errs, pool.slab.Close())
		}
	}
	if p.scratch != nil {
		errs = append(errs, p.scratch.Close())
	}
	return errors.Join(errs...)
}
