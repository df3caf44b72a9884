package cuda

import (
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"

	"errors"
)

// kernel is an entry of a loaded image.
type kernel struct {
	*kernels.Kernel
	fn cuda.Function
}

// defaultShared is the dynamic shared memory that every kernel may have.
const defaultShared = 48 << 10

// loadModules loads the images: those built in for the GPU, else what NVRTC makes of the
// sources, else PTX, which the driver compiles and caches.
func (p *program) loadModules(ctx context.Context, b *Backend) error {
	set, err := builtIn(p.info)
	if err != nil {
		return err
	}
	if set != nil {
		return p.load(set)
	}
	if set, err = b.compiled(ctx, p.info); err != nil {
		return err
	}
	if set != nil {
		// A driver older than the compiler refuses what that made.
		if err := p.load(set); err == nil || p.lost != nil {
			return err
		}
		if err := p.unload(); err != nil {
			return err
		}
	}
	if set, err = text(); err != nil {
		return err
	}
	return p.load(set)
}

func (p *program) load(set *images) error {
	for _, name := range kernels.Modules {
		load := p.driver.ModuleLoadData
		if set.text {
			load = p.driver.ModuleLoadPTX
		}
		m, err := load(set.of[name])
		if err != nil {
			return p.fail("image "+name, p.driverTooOld(err))
		}
		p.modules[name] = m
	}
	p.images = set
	return nil
}

// unload gives back what was loaded so far.
func (p *program) unload() error {
	for name, m := range p.modules {
		if err := p.driver.ModuleUnload(m); err != nil {
			return p.fail("image "+name, err)
		}
		delete(p.modules, name)
	}
	return nil
}

// driverTooOld says so where an image was refused by a driver older than the
// compiler that made it.
func (p *program) driverTooOld(err error) error {
	version, e := p.driver.DriverGetVersion()
	if e != nil || version >= 1000*kernels.NVRTCMajor {
		return err
	}
	return fmt.Errorf("%w: the driver is for CUDA %d.%d, the kernels need %d.%d: install driver 580 or later (%w)",
		ErrUnusable, version/1000, version%1000/10, kernels.NVRTCMajor, kernels.NVRTCMinor, err)
}

// fits reports whether the GPU has the shared memory of a kernel.
func (p *program) fits(name string) bool {
	k, ok := kernels.Lookup(name)
	return ok && (k.Shared <= defaultShared || int(k.Shared) <= p.info.SharedPerBlockBytes)
}

// kernel returns a kernel by name, ready to be launched.
func (p *program) kernel(name string) (*kernel, error) {
	if k := p.kernels[name]; k != nil {
		return k, nil
	}
	entry, ok := kernels.Lookup(name)
	if !ok {
		return nil, unsupported("kernel %s", name)
	}
	if !p.fits(name) {
		return nil, unsupported("kernel %s wants %d bytes of shared memory, %s has %d", name, entry.Shared, p.info.Name, p.info.SharedPerBlockBytes)
	}
	fn, err := p.driver.ModuleGetFunction(p.modules[entry.Module], name)
	if err != nil {
		return nil, p.fail(name, err)
	}
	if entry.Shared > defaultShared {
		if err := p.driver.FuncSetAttribute(fn, cuda.FuncMaxDynamicSharedBytes, int(entry.Shared)); err != nil {
			return nil, p.fail(name, err)
		}
	}
	// Loaded now, not at a first launch that may be in a capture; an old driver
	// cannot and need not.
	var missing *dynload.MissingSymbolError
	if err := p.driver.FuncLoad(fn); err != nil && !errors.As(err, &missing) {
		return nil, p.fail(name, err)
	}
	k := &kernel{entry, fn}
	p.kernels[name] = k
	return k, nil
}

// start launches a kernel. params and bytes are the same struct.
func (p *program) start(k *kernel, params kernels.Params, bytes []byte) error {
	grid := k.Grid(params)
	err := p.driver.LaunchKernel(k.fn, cuda.Launch{
		Grid: cuda.Dim{X: grid[0], Y: grid[1], Z: grid[2]}, Block: cuda.Dim{X: k.Threads, Y: 1, Z: 1},
		SharedBytes: k.Shared, Stream: p.compute.stream, Programmatic: p.images.overlaps,
	}, bytes)
	if err == nil && p.synchronous {
		err = p.driver.StreamSynchronize(p.compute.stream)
	}
	if err != nil {
		return p.fail(k.Name, err)
	}
	return nil
}

// fail says what was under way when a call failed, and remembers a lost context.
func (p *program) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Kernel: what, Err: err}
	if contextLost(err) && p.lost == nil {
		p.lost = e
	}
	return e
}
