package cuda

import (
	"github.com/holdfast-run/holdfast/device"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// Launch implements device.Program.
func (p *program) Launch(in *device.StepInput) (device.Ticket, error) {
	if err := in.Check(p.opts, p.graph.Vocab); err != nil {
		return nil, err
	}
	if err := p.table.Apply(in.Tables); err != nil {
		return nil, err
	}
	p.in = in
	f := &p.flights[p.turn]
	if err := p.thread.do(p.launchFn); err != nil {
		return nil, err
	}
	p.turn = 1 - p.turn
	return f, nil
}

// launch is Launch on the thread.
func (p *program) launch() error {
	f, in := &p.flights[p.turn], p.in
	if err := f.wait(); err != nil { // its memory may still be copied from, if nobody waited
		return err
	}
	p.fresh = nil
	f.fill(in)
	g := p.graphFor(&f.size)
	if g != nil {
		f.fillUp(g.rows)
	}
	f.busy = true
	if err := p.orderStep(in); err != nil {
		return err
	}
	if err := p.send(f, in); err != nil {
		return err
	}
	if err := p.forward(f, g); err != nil {
		return err
	}
	if f.keep && f.size.logits > 0 {
		n := f.size.logits * logitStride(p.graph.Vocab)
		if err := p.driver.MemcpyDtoHAsync(bytesOf(f.logits[:n]), devicePtr(p.at.role[logits]), p.compute.stream); err != nil {
			return p.fail("copy of logits", err)
		}
	}
	p.fresh = f
	return f.mark()
}

// forward launches the step's operations, or the graph that has them.
func (p *program) forward(f *flight, g *captured) error {
	if g != nil {
		return p.fail(g.name, p.driver.GraphLaunch(g.exec, p.compute.stream))
	}
	for _, op := range p.ops {
		if err := op.run(p, &f.size); err != nil {
			return err
		}
	}
	return nil
}

// send copies the step's arrays, and what changed in the block tables.
func (p *program) send(f *flight, in *device.StepInput) error {
	if err := p.driver.MemcpyHtoDAsync(devicePtr(p.at.input), f.input, p.compute.stream); err != nil {
		return p.fail("copy of a step's input", err)
	}
	next := 0
	for _, d := range in.Tables {
		n := copy(f.tables[next:], d.Blocks)
		if n == 0 {
			continue
		}
		at := p.at.tables[d.Kind] + kernels.Ptr(4*(int(d.Row)*p.opts.MaxBlocks()+int(d.Start)))
		if err := p.driver.MemcpyHtoDAsync(devicePtr(at), bytesOf(f.tables[next:next+n]), p.compute.stream); err != nil {
			return p.fail("copy of a block table", err)
		}
		next += n
	}
	return nil
}

// fill writes the step's arrays.
func (f *flight) fill(in *device.StepInput) {
	p := f.p
	copy(f.ids, in.Tokens)
	copy(f.positions, in.Positions)
	for kind := range f.slots {
		copy(f.slots[kind], in.Slots[kind])
	}
	f.size = step{tokens: len(in.Tokens), logits: len(in.Logits), spans: len(in.Spans)}
	s := &f.size
	for i, span := range in.Spans {
		f.spans[2*i], f.spans[2*i+1] = span.Start, span.Tokens
		for t := span.Start; t < span.Start+span.Tokens; t++ {
			f.rows[t] = span.Row
		}
		if span.Tokens == 1 && s.decode == i && i < p.decodeRows() {
			s.decode++
		} else {
			s.longest = max(s.longest, int(span.Tokens))
		}
	}
	s.all = len(in.Logits) == len(in.Tokens) // ascending, so in order
	width := kernels.Ptr(4 * p.width[stream])
	stride := logitStride(p.graph.Vocab)
	f.shown, f.keep, f.drawn = f.shown[:0], in.KeepLogits, false
	for i, t := range in.Logits {
		f.from[i] = uint64(p.at.role[stream] + kernels.Ptr(t)*width)
		f.to[i] = uint64(p.at.role[gathered] + kernels.Ptr(i)*width)
		f.table[i] = f.rows[t]
		f.shown = append(f.shown, f.logits[i*stride:][:p.graph.Vocab:p.graph.Vocab])
	}
}

// fillUp makes the rows up to a bucket's rows without a token.
func (f *flight) fillUp(rows int) {
	for i := f.size.tokens; i < rows; i++ {
		f.ids[i], f.positions[i], f.rows[i] = noID, -1, -1
		f.spans[2*i], f.spans[2*i+1] = 0, 0
		for kind := range f.slots {
			f.slots[kind][i] = 0
		}
	}
}

// noID is a token that is in no vocabulary, and not device.Sampled.
const noID = -2
