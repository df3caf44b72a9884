package cuda

import (
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
	"github.com/holdfast-run/holdfast/sampler"
)

// changes gathers what happens to logits before they are sampled: biases, bans,
// penalties. A token of a row stands once among those of a launch; where they are too
// many for one, the next goes on, which is the same as one change after the other.
type changes struct {
	list  []kernels.Change // page-locked
	n     int
	mark  []uint32 // per token: the round in which it was changed last
	place []int32  // and where
	round uint32   // one of a row, or of what is left of it after a launch
}

// begin starts a row.
func (c *changes) begin() {
	if c.round++; c.round == 0 {
		clear(c.mark)
		c.round = 1
	}
}

// of returns the change of a token, or nil for one outside of the vocabulary.
func (c *changes) of(row int, token int32) *kernels.Change {
	if uint(token) >= uint(len(c.mark)) {
		return nil
	}
	if c.mark[token] != c.round {
		c.mark[token], c.place[token] = c.round, int32(c.n)
		c.list[c.n] = kernels.Change{Row: uint32(row), Token: token}
		c.n++
	}
	return &c.list[c.place[token]]
}

// change sends what the rows' parameters and histories say of their logits.
func (p *program) change(f *flight, rows []sampler.Row) error {
	c := &p.changes
	c.list, c.n = f.changes, 0
	for i := range rows {
		q := &rows[i].Params
		f.penalties[i] = kernels.Penalty{Repetition: q.RepetitionPenalty, Frequency: q.FrequencyPenalty, Presence: q.PresencePenalty}
		if q.RepetitionPenalty == 0 {
			f.penalties[i].Repetition = 1
		}
		c.begin()
		for _, b := range q.LogitBias {
			if err := p.makeRoom(f); err != nil {
				return err
			}
			if x := c.of(i, b.Token); x != nil {
				x.Kind, x.Bias = x.Kind|kernels.Biased, b.Value
			}
		}
		p.forbidden = rows[i].AppendForbidden(p.forbidden[:0])
		for _, token := range p.forbidden {
			if err := p.makeRoom(f); err != nil {
				return err
			}
			if x := c.of(i, token); x != nil {
				x.Kind |= kernels.Forbidden
			}
		}
		if f.penalties[i] == (kernels.Penalty{Repetition: 1}) {
			continue
		}
		for _, seen := range rows[i].History.Seen() {
			if err := p.makeRoom(f); err != nil {
				return err
			}
			if x := c.of(i, seen.Token); x != nil {
				x.Kind, x.Made = x.Kind|kernels.Seen, seen.Output
			}
		}
	}
	return p.sendChanges(f, len(rows))
}

// makeRoom sends the changes so far if there is no room for another.
func (p *program) makeRoom(f *flight) error {
	if p.changes.n < len(p.changes.list) {
		return nil
	}
	if err := p.sendChanges(f, len(f.penalties)); err != nil {
		return err
	}
	// The list is written again: its copy must be over.
	if err := p.driver.StreamSynchronize(p.compute.stream); err != nil {
		return p.fail("copy of changes", err)
	}
	p.changes.n = 0
	p.changes.begin()
	return nil
}

// sendChanges has the changes so far made.
func (p *program) sendChanges(f *flight, rows int) error {
	n := p.changes.n
	if n == 0 {
		return nil
	}
	d := p.driver
	err := d.MemcpyHtoDAsync(devicePtr(p.at.changes), bytesOf(f.changes[:n]), p.compute.stream)
	if err == nil {
		err = d.MemcpyHtoDAsync(devicePtr(p.at.penalties), bytesOf(f.penalties[:rows]), p.compute.stream)
	}
	if err != nil {
		return p.fail("copy of changes", err)
	}
	p.adjustParams.Count = uint32(n)
	return p.start(p.adjust, &p.adjustParams, view(&p.adjustParams))
}
