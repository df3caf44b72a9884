package cuda

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
	"github.com/holdfast-run/holdfast/sampler"
)

// program implements device.Program. The step loop calls its methods; what touches
// the driver runs on the thread, which the caller waits for: it takes as long as
// the launches do, not as the GPU does. Rebuild sets all fields anew.
type program struct {
	*design
	backend     *Backend
	driver      *cuda.Driver
	info        cuda.DeviceInfo
	invariant   bool
	synchronous bool
	thread      *thread
	lost        error // set once the context is lost, until Rebuild

	context cuda.Context
	compute lane   // steps, and copies of blocks on the device
	copies  lane   // blocks to the host and back
	loaded  uint64 // number of the last load of a block
	images  *images
	modules map[string]cuda.Module
	kernels map[string]*kernel
	owned   []cuda.DevicePtr // all of the device's memory
	at      buffers
	blas    *blas
	pools   [device.PoolKinds]pool
	host    hostMemory
	layout  inputLayout
	graphs  []captured
	table   *device.Table

	flights [2]flight
	turn    int     // of flights: the next
	fresh   *flight // of the last launch, whose logits the device still has

	// Arguments of what runs on the thread, and that as values made once.
	in                     *device.StepInput
	late                   *sampler.Late
	launchFn, sampleFn     func() error
	forbidden              []int32
	changes                changes
	adjustParams           kernels.AdjustParams
	sampleParams           kernels.SampleParams
	adjust                 *kernel
	sampleTop, weigh, pick *kernel
}

// place settles what calls need to say that there is nothing on the device.
func (p *program) place() {
	p.launchFn, p.sampleFn = p.launch, p.sample
	for i := range p.flights {
		p.flights[i].place(p)
	}
	for kind := range p.pools {
		p.pools[kind].place(p, device.PoolKind(kind))
	}
}

// open makes everything on the device. It runs on the thread.
func (p *program) open(ctx context.Context) (err error) {
	p.place()
	b, d := p.backend, p.driver
	if p.context, err = d.DevicePrimaryCtxRetain(p.info.Device); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnusable, p.info.Name, err)
	}
	if err := d.CtxSetCurrent(p.context); err != nil {
		return p.fail("context", err)
	}
	list := p.regions(&p.at, p.invariant)
	if err := p.reserve(list); err != nil {
		return err
	}
	if err := p.openLanes(); err != nil {
		return err
	}
	if err := p.loadModules(ctx, b); err != nil {
		return err
	}
	if err := p.clearPools(); err != nil {
		return err
	}
	if b.RandomWeights {
		err = p.randomWeights()
	} else {
		err = p.loadWeights(ctx)
	}
	if err != nil {
		return err
	}
	if err := p.openBLAS(b); err != nil {
		return err
	}
	for _, op := range p.ops {
		if err := op.bind(p); err != nil {
			return err
		}
	}
	if err := p.bindSampler(); err != nil {
		return err
	}
	for i := range p.flights {
		if err := p.flights[i].open(); err != nil {
			return err
		}
	}
	for kind := range p.pools {
		if err := p.pools[kind].open(); err != nil {
			return err
		}
	}
	if p.host.slab != nil {
		if err := p.lockHost(); contextLost(err) {
			return err
		}
	}
	return p.capture()
}

// reserve allocates the plan, after a look at what is free.
func (p *program) reserve(list []region) error {
	free, _, err := p.driver.MemGetInfo()
	if err != nil {
		return p.fail("memory", err)
	}
	if need := plan(list).Total(); need > int64(free) {
		return fmt.Errorf("cuda: %w: the plan needs %d MiB and %d MiB of %s are free", device.ErrNoMemory, need>>20, free>>20, p.info.Name)
	}
	for _, r := range list {
		at, err := p.driver.MemAlloc(uint64(r.bytes))
		if errors.Is(err, cuda.OutOfMemory) {
			err = fmt.Errorf("%w: %d bytes of %s: %w", device.ErrNoMemory, r.bytes, r.item, err)
		}
		if err != nil {
			return p.fail("memory", err)
		}
		p.owned = append(p.owned, at)
		*r.at = kernels.Ptr(at)
	}
	return nil
}

// clearPools zeroes what a step may read before it is written: nothing of another
// process's memory is ever saved with a block.
func (p *program) clearPools() error {
	o := p.opts
	for kind := range p.at.pools {
		if o.Blocks[kind] == 0 {
			continue
		}
		n := o.Blocks[kind] * p.blockBytes(device.PoolKind(kind))
		err := p.driver.MemsetD8Async(devicePtr(p.at.pools[kind]), 0, uint64(n), p.compute.stream)
		if err == nil {
			err = p.driver.MemsetD8Async(devicePtr(p.at.tables[kind]), 0, uint64(4*o.MaxRows*o.MaxBlocks()), p.compute.stream)
		}
		if err != nil {
			return p.fail("KV cache", err)
		}
	}
	return p.fail("sampler", p.driver.MemsetD8Async(devicePtr(p.at.sampled), 0xff, uint64(4*o.MaxRows), p.compute.stream))
}

// Class implements device.Program. Tensor cores of other architectures add in other
// ways, so that the class names the architecture, and the compiler where the images
// are of this start's.
func (p *program) Class() string {
	class := fmt.Sprintf("cuda-1-sm%d", p.info.Major*10)
	if p.images.compiler != "" {
		class += "-nvrtc" + p.images.compiler
	}
	if !p.invariant {
		class += "-fast"
	}
	return class
}

// Pool implements device.Program.
func (p *program) Pool(kind device.PoolKind) device.Pool { return &p.pools[kind] }

// Overlaps implements device.Program.
func (p *program) Overlaps() bool { return true }

// kvKind is the cache's type in kernels' names.
func (p *program) kvKind() string {
	if p.opts.KV == graph.BF16 {
		return "bf16"
	}
	return "f16"
}

// Rebuild implements device.Rebuilder. What is left of a lost context is destroyed
// with it; the little that cuBLASLt keeps on the host is not given back, because
// nothing says that it may be asked for that behind the context.
func (p *program) Rebuild(ctx context.Context, progress func(done, total int64)) error {
	left := p.thread.do(p.release)
	o := p.opts
	o.Progress = progress
	fresh, err := p.backend.newProgram(p.graph, p.file, o)
	if err == nil {
		fresh.driver, fresh.info, fresh.thread, fresh.host = p.driver, p.info, p.thread, p.host
		*p = fresh
		err = p.thread.do(func() error { return p.open(ctx) })
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, left, p.thread.do(p.release))
	p.lost = fmt.Errorf("%w: %w", device.ErrLost, err)
	return err
}

// Close implements device.Program. Of a lost context everything is gone with it.
func (p *program) Close() error {
	if p.thread == nil {
		return nil
	}
	err := p.thread.do(p.release)
	p.thread.close()
	p.thread = nil
	return errors.Join(err, p.host.close())
}

// release gives everything back, on the thread.
func (p *program) release() error {
	if p.context == 0 {
		return nil
	}
	defer func() { p.context = 0 }()
	d := p.driver
	if p.lost == nil {
		// What is still under way uses what is freed below.
		if err := d.CtxSynchronize(); contextLost(err) {
			p.lost = err
		}
	}
	if p.lost != nil {
		p.host.locked = false
		err := d.DevicePrimaryCtxReset(p.info.Device)
		_ = d.DevicePrimaryCtxRelease(p.info.Device) // the reset may have counted it
		return err
	}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	for _, g := range p.graphs {
		note(d.GraphExecDestroy(g.exec))
	}
	for i := range p.flights {
		note(p.flights[i].close(d))
	}
	for i := range p.pools {
		note(p.pools[i].close())
	}
	note(p.host.unlock(d))
	note(p.blas.close())
	for _, m := range p.modules {
		note(d.ModuleUnload(m))
	}
	for _, at := range p.owned {
		note(d.MemFree(at))
	}
	p.compute.close(d, note)
	p.copies.close(d, note)
	note(d.DevicePrimaryCtxRelease(p.info.Device))
	return errors.Join(errs...)
}
