package cuda

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/weights"
)

// Backend is one NVIDIA GPU.
type Backend struct {
	// Driver is the CUDA driver. The default is the machine's.
	Driver *cuda.Driver
	// BLAS is cuBLASLt, for products of many rows. The default is the machine's, and
	// our own kernels where there is none.
	BLAS *cublaslt.Library
	// NoBLAS keeps to our own kernels.
	NoBLAS bool
	// Compiler makes images for architectures that none is built in for. The default is
	// the machine's NVRTC; where there is none, the driver compiles PTX.
	Compiler Compiler
	// Cache is the folder that keeps what it made. The default is in the user's cache
	// folder.
	Cache string
	// Ordinal is the GPU, as the driver counts those that the process may use.
	Ordinal int
	// BatchInvariant keeps to kernels whose results depend on no other row.
	BatchInvariant bool
	// Synchronous waits after each kernel, so that an error names the kernel that
	// caused it. It is for the search for a fault: a step takes much longer, and no
	// graph is captured.
	Synchronous bool
	// RandomWeights makes weights up on the device; of the file only names, types and
	// shapes are read. It is for measurements.
	RandomWeights bool
}

var _ device.Backend = (*Backend)(nil)

// Name implements device.Backend.
func (*Backend) Name() string { return "cuda" }

// Plan implements device.Backend. It touches no GPU.
func (b *Backend) Plan(g *graph.Graph, w *weights.File, o device.Options) (device.Plan, error) {
	d, err := newDesign(g, w, o)
	if err != nil {
		return nil, err
	}
	return plan(d.regions(new(buffers), b.BatchInvariant)), nil
}

// open returns the driver, started, and what it says of the GPU.
func (b *Backend) open() (*cuda.Driver, cuda.DeviceInfo, error) {
	d := b.Driver
	var err error
	if d == nil {
		if d, err = cuda.Open(""); err != nil {
			return nil, cuda.DeviceInfo{}, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	if err = d.Init(); err != nil {
		return nil, cuda.DeviceInfo{}, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	info, err := d.DeviceInfo(b.Ordinal)
	if err != nil {
		return nil, info, fmt.Errorf("%w: GPU %d: %w", ErrUnusable, b.Ordinal, err)
	}
	if info.Major < 8 {
		return nil, info, fmt.Errorf("%w: %s has compute capability %d.%d, 8.0 is the least", ErrUnusable, info.Name, info.Major, info.Minor)
	}
	return d, info, nil
}

// Memory returns the bytes of the GPU's memory that are free; the error, ErrUnusable,
// says why there is no GPU to use. Loading is not needed for it.
func (b *Backend) Memory() (free int64, err error) {
	d, info, err := b.open()
	if err != nil {
		return 0, err
	}
	t := newThread()
	defer t.close()
	err = t.do(func() error {
		ctx, err := d.DevicePrimaryCtxRetain(info.Device)
		if err != nil {
			return err
		}
		if err = d.CtxSetCurrent(ctx); err == nil {
			var bytes uint64
			bytes, _, err = d.MemGetInfo()
			free = int64(bytes)
		}
		return errors.Join(err, d.DevicePrimaryCtxRelease(info.Device))
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrUnusable, info.Name, err)
	}
	return free, nil
}

// Compile implements device.Backend.
func (b *Backend) Compile(ctx context.Context, g *graph.Graph, w *weights.File, o device.Options) (device.Program, error) {
	fresh, err := b.newProgram(g, w, o)
	if err != nil {
		return nil, err
	}
	p := &fresh
	if p.driver, p.info, err = b.open(); err != nil {
		return nil, err
	}
	p.thread = newThread()
	if err := p.thread.do(func() error { return p.open(ctx) }); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// newProgram returns a program that has neither driver nor thread, and nothing on
// the device.
func (b *Backend) newProgram(g *graph.Graph, w *weights.File, o device.Options) (program, error) {
	d, err := newDesign(g, w, o)
	if err != nil {
		return program{}, err
	}
	return program{
		design: d, backend: b, invariant: b.BatchInvariant, synchronous: b.Synchronous, table: device.NewTable(o),
		modules: map[string]cuda.Module{}, kernels: map[string]*kernel{}, layout: d.inputLayout(),
	}, nil
}
