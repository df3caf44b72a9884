// Package cpu runs graphs on the CPU in the numerics classes cpu-1. A graph is
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

// classes are the numerics classes by type of KV; docs/NUMERICS.md defines them.
var classes = map[graph.DType]string{graph.F16: "cpu-1", graph.F32: "cpu-1-kv-f32", graph.Q8_0: "cpu-1-kv-q8_0"}

// Backend is the CPU.
type Backend struct{}

var _ device.Backend = Backend{}

// Name implements device.Backend.
func (Backend) Name() string { return "cpu" }

// Plan implements device.Backend.
func (Backend) Plan(g *graph.Graph, w *weights.File, o device.Options) (device.Plan, error) {
	if err := checkKV(g, o.KV); err != nil {
		return nil, err
	}
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
		{Name: "KV cache (" + o.KV.String() + ")", Bytes: kv},
		{Name: "scratch", Bytes: int64(l.bytes())},
	}, nil
}

// checkKV reports a type of KV that there are no kernels for, or not for this graph.
func checkKV(g *graph.Graph, t graph.DType) error {
	if classes[t] == "" {
		return fmt.Errorf("cpu: a KV cache of %s is not there; use F16, F32 or Q8_0", t)
	}
	return device.CheckKV(g, t)
}

// Compile implements device.Backend.
func (Backend) Compile(ctx context.Context, g *graph.Graph, w *weights.File, o device.Options) (_ device.Program, err error) {
	if err := checkKV(g, o.KV); err != nil {
		return nil, err
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
	size := l.bytes()
	if p.scratch, err = slab.New(size); err != nil {
		return nil, err
	}
	touching.Go(func() { p.scratch.Touch(0, size) })
	if p.weights, err = loadWeights(ctx, g, w, p.team, o.Progress); err != nil {
		return nil, err
	}
	p.bind()
	return p, nil
}
