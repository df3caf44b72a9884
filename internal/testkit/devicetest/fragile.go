package devicetest

import (
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/weights"
)

// Fragile is a backend whose programs lose all that they have on the device when a
// test says so, as a GPU does, and can be rebuilt. What was to be saved to the host
// and had not to be there yet is lost too.
type Fragile struct {
	device.Backend
	// Lose is asked at each call, by its name: "Launch", "Sample", "Wait", "Copy",
	// "Save", "Load", "Rebuild". It is never called twice at a time.
	Lose func(call string) bool
	// Rebuild, if set, is called before a program is rebuilt; the error is the rebuild's.
	Rebuild func(ctx context.Context, progress func(done, total int64)) error
}

// Compile implements device.Backend.
func (b Fragile) Compile(ctx context.Context, g *graph.Graph, w *weights.File, o device.Options) (device.Program, error) {
	inner, err := b.Backend.Compile(ctx, g, w, o)
	if err != nil {
		return nil, err
	}
	p := &fragile{Program: inner, backend: b, graph: g, file: w, opts: o}
	for kind := range p.pools {
		p.pools[kind] = fragilePool{p, device.PoolKind(kind)}
	}
	return p, nil
}

// fragile is a program as it is on the device now.
type fragile struct {
	device.Program
	backend Fragile
	graph   *graph.Graph
	file    *weights.File
	opts    device.Options
	life    int // how often it was rebuilt
	lost    error
	pools   [device.PoolKinds]fragilePool
	saves   []save // whose host memory is not written yet
}

var _ device.Rebuilder = (*fragile)(nil)

// save is a block on its way to the host.
type save struct {
	data, host []byte
	ticket     device.Ticket
}

// call says whether the device is lost, be it only now.
func (p *fragile) call(name string) error {
	if p.lost == nil && p.backend.Lose(name) {
		p.lost = fmt.Errorf("%s: %w", name, device.ErrLost)
		for _, s := range p.saves {
			for i := range s.host {
				s.host[i] = 0xee
			}
		}
		p.saves = nil
	}
	return p.lost
}

// flush has what was saved written to the host.
func (p *fragile) flush() error {
	for _, s := range p.saves {
		if _, err := s.ticket.Wait(); err != nil {
			return err
		}
		copy(s.host, s.data)
	}
	p.saves = nil
	return nil
}

// fragileTicket is work of one life of the program.
type fragileTicket struct {
	device.Ticket
	p    *fragile
	life int
}

func (t *fragileTicket) check() error {
	if t.life != t.p.life {
		return fmt.Errorf("devicetest: BUG: a ticket from before the device was rebuilt is used")
	}
	return nil
}

// Wait implements device.Ticket.
func (t *fragileTicket) Wait() (*device.Output, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if err := t.p.call("Wait"); err != nil {
		return nil, err
	}
	return t.Ticket.Wait()
}

// Launch implements device.Program.
func (p *fragile) Launch(in *device.StepInput) (device.Ticket, error) {
	if err := p.call("Launch"); err != nil {
		return nil, err
	}
	t, err := p.Program.Launch(in)
	return &fragileTicket{t, p, p.life}, err
}

// Sample implements device.Program.
func (p *fragile) Sample(of device.Ticket, late *sampler.Late) (device.Ticket, error) {
	launched := of.(*fragileTicket)
	if err := launched.check(); err != nil {
		return nil, err
	}
	if err := p.call("Sample"); err != nil {
		return nil, err
	}
	t, err := p.Program.Sample(launched.Ticket, late)
	return &fragileTicket{t, p, p.life}, err
}

// Pool implements device.Program.
func (p *fragile) Pool(kind device.PoolKind) device.Pool { return p.pools[kind] }

// Rebuild implements device.Rebuilder.
func (p *fragile) Rebuild(ctx context.Context, progress func(done, total int64)) error {
	if p.backend.Rebuild != nil {
		if err := p.backend.Rebuild(ctx, progress); err != nil {
			return err
		}
	}
	if p.backend.Lose("Rebuild") {
		return fmt.Errorf("rebuild: %w", device.ErrLost)
	}
	fresh, err := p.backend.Backend.Compile(ctx, p.graph, p.file, p.opts)
	if err != nil {
		return err
	}
	err = p.Program.Close() // which waits for what is under way
	p.Program, p.lost, p.life, p.saves = fresh, nil, p.life+1, nil
	return err
}

// fragilePool implements device.Pool.
type fragilePool struct {
	p    *fragile
	kind device.PoolKind
}

func (q fragilePool) inner() device.Pool { return q.p.Program.Pool(q.kind) }

// BlockBytes implements device.Pool.
func (q fragilePool) BlockBytes() int { return q.inner().BlockBytes() }

// Blocks implements device.Pool.
func (q fragilePool) Blocks() int { return q.inner().Blocks() }

// Copy implements device.Pool.
func (q fragilePool) Copy(src, dst int32) (device.Ticket, error) {
	if err := q.p.call("Copy"); err != nil {
		return nil, err
	}
	return q.inner().Copy(src, dst)
}

// Save implements device.Pool. The host's memory is written when the ticket is
// waited for, or before anything is loaded.
func (q fragilePool) Save(block int32, host []byte) (device.Ticket, error) {
	if err := q.p.call("Save"); err != nil {
		return nil, err
	}
	data := make([]byte, len(host))
	t, err := q.inner().Save(block, data)
	if err != nil {
		return nil, err
	}
	q.p.saves = append(q.p.saves, save{data, host, t})
	return &savedTicket{fragileTicket{t, q.p, q.p.life}}, nil
}

// savedTicket is the ticket of a Save.
type savedTicket struct{ fragileTicket }

// Wait implements device.Ticket.
func (t *savedTicket) Wait() (*device.Output, error) {
	if _, err := t.fragileTicket.Wait(); err != nil {
		return nil, err
	}
	return nil, t.p.flush()
}

// Load implements device.Pool.
func (q fragilePool) Load(host []byte, block int32) (device.Ticket, error) {
	if err := q.p.call("Load"); err != nil {
		return nil, err
	}
	if err := q.p.flush(); err != nil {
		return nil, err
	}
	t, err := q.inner().Load(host, block)
	if err != nil {
		return nil, err
	}
	return &fragileTicket{t, q.p, q.p.life}, nil
}
