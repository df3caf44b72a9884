// Package cpu runs graphs on the CPU in the numerics class cpu-1. A graph is
// compiled to a list of phases over scratch buffers; a step runs them in order,
// each spread over a fixed team of threads (team.go). Weights are repacked at
// load into the layout that package kernels/cpu streams, KV lives in blocks
// that hold all layers, and nothing of a step allocates or touches the Go heap.
package cpu

import (
	"context"
	"fmt"
	"sync"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
	"github.com/holdfast-run/holdfast/weights"
)

// Class is the numerics class of this backend; docs/NUMERICS.md defines it.
const Class = "cpu-1"

// Backend is the CPU.
type Backend struct{}

var _ device.Backend = Backend{}

// Name implements device.Backend.
func (Backend) Name() string { return "cpu" }

// Plan implements device.Backend.
func (Backend) Plan(g *graph.Graph, w *weights.File, o device.Options) (device.Plan, error) {
	packed, err := packedBytes(g, w)
	if err != nil {
		return nil, err
	}
	l, err := newLayout(g, w, o)
	if err != nil {
		return nil, err
	}
	kv := int64(0)
	for kind, blocks := range o.Blocks {
		kv += int64(blocks) * int64(blockBytes(g, o.KV, device.PoolKind(kind)))
	}
	return device.Plan{
		{Name: "weights", Bytes: int64(packed)},
		{Name: "KV cache", Bytes: kv},
		{Name: "scratch", Bytes: int64(l.bytes())},
	}, nil
}

// Compile implements device.Backend.
func (Backend) Compile(ctx context.Context, g *graph.Graph, w *weights.File, o device.Options) (_ device.Program, err error) {
	if o.KV != graph.F16 && o.KV != graph.F32 {
		return nil, fmt.Errorf("cpu: KV of type %s is not carried; use F16 or F32", o.KV)
	}
	k, err := kernels.Select()
	if err != nil {
		return nil, err
	}
	l, err := newLayout(g, w, o)
	if err != nil {
		return nil, err
	}
	p := &program{graph: g, opts: o, kernels: k, layout: l, table: device.NewTable(o)}
	p.team = newTeam(o.Threads)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w (%v)", err, p.Close())
		}
	}()
	var touching sync.WaitGroup
	defer touching.Wait() // before Close
	for kind := range p.pools {
		if p.pools[kind], err = newPool(g, o, device.PoolKind(kind)); err != nil {
			return nil, err
		}
		touching.Go(p.pools[kind].touch)
	}
	if p.scratch, err = slab.New(l.bytes()); err != nil {
		return nil, err
	}
	touching.Go(func() { p.scratch.Touch(0, l.bytes()) })
	if p.weights, err = loadWeights(ctx, g, w, p.team, o.Progress); err != nil {
		return nil, err
	}
	p.bind()
	return p, nil
}
