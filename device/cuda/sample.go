package cuda

import (
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
	"github.com/holdfast-run/holdfast/sampler"
)

// bindSampler settles what no step changes.
func (p *program) bindSampler() (err error) {
	stride := uint32(logitStride(p.graph.Vocab))
	p.sampleParams = kernels.SampleParams{
		Logits: p.at.role[logits], Draws: p.at.draws, Octave: p.at.octave, Top: p.at.top, Counts: p.at.counts, Sums: p.at.sums,
		Tokens: p.at.tokens, Sampled: p.at.sampled, Vocab: uint32(p.graph.Vocab), Stride: stride,
	}
	p.adjustParams = kernels.AdjustParams{
		Logits: p.at.role[logits], Changes: p.at.changes, Penalties: p.at.penalties, Vocab: uint32(p.graph.Vocab), Stride: stride,
	}
	p.changes.mark, p.changes.place = make([]uint32, p.graph.Vocab), make([]int32, p.graph.Vocab)
	for _, k := range []struct {
		name string
		at   **kernel
	}{{"sample_adjust", &p.adjust}, {"sample_top", &p.sampleTop}, {"sample_weigh", &p.weigh}, {"sample_pick", &p.pick}} {
		if *k.at, err = p.kernel(k.name); err != nil {
			return err
		}
	}
	return nil
}

// Sample implements device.Program.
func (p *program) Sample(t device.Ticket, late *sampler.Late) (device.Ticket, error) {
	f, ok := t.(*flight)
	if !ok || f != p.fresh {
		if p.lost != nil {
			return nil, p.lost
		}
		return nil, fmt.Errorf("cuda: BUG: the logits of that launch are gone")
	}
	if len(late.Rows) != f.size.logits {
		return nil, fmt.Errorf("cuda: BUG: %d rows to sample of %d", len(late.Rows), f.size.logits)
	}
	p.late = late
	if err := p.thread.do(p.sampleFn); err != nil {
		return nil, err
	}
	return f, nil
}

// sample is Sample on the thread.
func (p *program) sample() error {
	f, rows := p.fresh, p.late.Rows
	if f.drawn = true; len(rows) == 0 {
		return nil
	}
	f.busy = true
	greedy := true
	for i := range rows {
		greedy = p.draw(f, rows, i) && greedy
	}
	d := p.driver
	if err := d.MemcpyHtoDAsync(devicePtr(p.at.draws), bytesOf(f.draws[:len(rows)]), p.compute.stream); err != nil {
		return p.fail("copy of draws", err)
	}
	if err := p.change(f, rows); err != nil {
		return err
	}
	s := &p.sampleParams
	s.Rows = uint32(len(rows))
	for _, k := range []*kernel{p.sampleTop, p.weigh, p.pick} {
		if greedy && k != p.sampleTop {
			break
		}
		if err := p.start(k, s, view(s)); err != nil {
			return err
		}
	}
	if err := d.MemcpyDtoHAsync(bytesOf(f.tokens[:len(rows)]), devicePtr(p.at.tokens), p.compute.stream); err != nil {
		return p.fail("copy of tokens", err)
	}
	return f.mark()
}

// draw notes how row i is sampled, and reports whether it takes the largest logit.
func (*program) draw(f *flight, rows []sampler.Row, i int) (greedy bool) {
	row := f.table[i]
	if i+1 < len(rows) && f.table[i+1] == row {
		row = -1 // the sequence's last row of logits says what was sampled
	}
	f.draws[i] = kernels.NewDraw(&rows[i], row)
	return f.draws[i].Steps == 0
}
