// Package echo is an emulator of a device, for tests of what stands around
// devices: it has no model. The KV of a position is its token, and the token
// drawn after a position follows from all tokens up to it, read back through
// the block table as attention does, and from the seed and the choice. A wrong
// table, a block reused too early, a lost copy, a row that got another's
// parameters: each shows as a wrong token.
package echo

import (
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/weights"
)

// Backend makes programs that echo.
type Backend struct {
	// Overlap has launches run on a goroutine of their own, as a GPU's do.
	Overlap bool
	// Fault, if set, is asked for each row of logits, and how it is sampled, whether it
	// holds no number.
	Fault func(in *device.StepInput, row int, late sampler.Row) bool
}

// Name implements device.Backend.
func (Backend) Name() string { return "echo" }

// Plan implements device.Backend.
func (Backend) Plan(_ *graph.Graph, _ *weights.File, o device.Options) (device.Plan, error) {
	return device.Plan{{Name: "KV cache", Bytes: int64(o.Blocks[device.Full]) * blockBytes}}, nil
}

// Compile implements device.Backend.
func (b Backend) Compile(_ context.Context, g *graph.Graph, _ *weights.File, o device.Options) (device.Program, error) {
	return New(b, g.Vocab, o), nil
}

// Program implements device.Program.
type Program struct {
	backend Backend
	vocab   int
	opts    device.Options
	table   *device.Table
	slots   []int32 // per slot of the pool: its token
	sampled []int32 // per table row: the token drawn last

	queue chan func() // what is to be done, in order; nil without overlap
	idle  chan struct{}
}

// New returns a program for a vocabulary of a given size.
func New(b Backend, vocab int, o device.Options) *Program {
	p := &Program{
		backend: b, vocab: vocab, opts: o, table: device.NewTable(o),
		slots: make([]int32, o.Blocks[device.Full]*device.BlockTokens), sampled: make([]int32, o.MaxRows),
	}
	if b.Overlap {
		p.queue, p.idle = make(chan func(), 64), make(chan struct{})
		go func() {
			defer close(p.idle)
			for do := range p.queue {
				do()
			}
		}()
	}
	return p
}

// Class implements device.Program.
func (p *Program) Class() string { return "echo" }

// Overlaps implements device.Program.
func (p *Program) Overlaps() bool { return p.backend.Overlap }

// Pool implements device.Program.
func (p *Program) Pool(device.PoolKind) device.Pool { return pool{p} }

// Close implements device.Program.
func (p *Program) Close() error {
	if p.queue != nil {
		close(p.queue)
		<-p.idle
	}
	return nil
}

// do has f done after all that came before it.
func (p *Program) do(t *ticket, f func() error) *ticket {
	t.done = make(chan struct{})
	run := func() {
		if t.err == nil {
			t.err = f()
		}
		close(t.done)
	}
	if p.queue == nil {
		run()
	} else {
		p.queue <- run
	}
	return t
}

// ticket is work under way, and the step that it belongs to.
type ticket struct {
	done   chan struct{}
	err    error
	in     *device.StepInput
	hashes []uint64 // per row of logits: of all tokens up to it
	rows   []int32  // per row of logits: its table row
	out    *device.Output
}

// Wait implements device.Ticket.
func (t *ticket) Wait() (*device.Output, error) {
	<-t.done
	return t.out, t.err
}

// Launch implements device.Program.
func (p *Program) Launch(in *device.StepInput) (device.Ticket, error) {
	if err := in.Check(p.opts, p.vocab); err != nil {
		return nil, err
	}
	// The diffs name the host's tables, which go on changing.
	diffs := make([]device.TableDiff, len(in.Tables))
	for i, d := range in.Tables {
		diffs[i] = device.TableDiff{Kind: d.Kind, Row: d.Row, Start: d.Start, Blocks: append([]int32(nil), d.Blocks...)}
	}
	t := &ticket{in: in, out: &device.Output{}}
	return p.do(t, func() error {
		if err := p.table.Apply(diffs); err != nil {
			return err
		}
		return p.forward(t)
	}), nil
}

// forward writes the step's tokens and hashes what the rows of logits see.
func (p *Program) forward(t *ticket) error {
	in := t.in
	next := 0
	for _, s := range in.Spans {
		blocks := p.table.Row(device.Full, s.Row)
		for i := s.Start; i < s.Start+s.Tokens; i++ {
			token, pos := in.Tokens[i], int(in.Positions[i])
			if token == device.Sampled {
				token = p.sampled[s.Row]
			}
			slot := in.Slots[device.Full][i]
			if want := blocks[pos/device.BlockTokens]*device.BlockTokens + int32(pos%device.BlockTokens); slot != want {
				return fmt.Errorf("echo: position %d is written to slot %d; the table says %d", pos, slot, want)
			}
			p.slots[slot] = token
			if next < len(in.Logits) && in.Logits[next] == i {
				t.hashes = append(t.hashes, p.hash(blocks, pos+1))
				t.rows = append(t.rows, s.Row)
				next++
			}
		}
	}
	return nil
}

// hash reads the first n positions of a sequence.
func (p *Program) hash(blocks []int32, n int) uint64 {
	h := uint64(0)
	for i := range n {
		h = Mix(h, p.slots[blocks[i/device.BlockTokens]*device.BlockTokens+int32(i%device.BlockTokens)])
	}
	return h
}

// Mix adds a token to the hash of those before it.
func Mix(h uint64, token int32) uint64 {
	h = (h ^ uint64(uint32(token))) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// Next is the token that is drawn after tokens of this hash.
func Next(hash, seed uint64, choice uint32, vocab int) int32 {
	h := Mix(Mix(Mix(hash, int32(seed)), int32(seed>>32)), int32(choice))
	return int32(h >> 33 % uint64(vocab))
}

// Sample implements device.Program.
func (p *Program) Sample(of device.Ticket, late *sampler.Late) (device.Ticket, error) {
	t := of.(*ticket)
	return p.do(&ticket{in: t.in, out: t.out}, func() error {
		if t.err != nil {
			return t.err
		}
		if len(late.Rows) != len(t.rows) {
			return fmt.Errorf("echo: %d rows to sample of %d", len(late.Rows), len(t.rows))
		}
		for i, r := range late.Rows {
			token := Next(t.hashes[i], r.Params.Seed, r.Choice, p.vocab)
			if t.in.KeepLogits {
				logits := make([]float32, p.vocab)
				logits[token] = 1
				t.out.Logits = append(t.out.Logits, logits)
			}
			if p.backend.Fault != nil && p.backend.Fault(t.in, i, r) {
				token = device.NoToken
			}
			p.sampled[t.rows[i]] = max(token, 0)
			t.out.Tokens = append(t.out.Tokens, token)
		}
		return nil
	}), nil
}
