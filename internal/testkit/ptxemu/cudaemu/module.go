package cudaemu

import (
	"bytes"
	"errors"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu"
)

type module struct {
	mod   *ptxemu.Module
	funcs map[string]uintptr
}

type function struct {
	mod     *module
	name    string
	dynamic int // bytes of dynamic shared memory that it may have
}

// launch is a kernel with its parameters, copied when it was queued.
type launch struct {
	fn           *function
	cfg          ptxemu.Config
	programmatic bool
}

const (
	maxShared     = 227 << 10 // of a block, with opting in
	defaultShared = 48 << 10
	maxText       = 64 << 20 // bytes of PTX
	elfHeader     = 64       // bytes that every cubin has
)

// text finds the PTX of an image at an address: its own, or that of a cubin.
func (e *Emulator) text(address uintptr) (string, cuda.Code) {
	if get[[4]byte](address) != [4]byte{0x7f, 'E', 'L', 'F'} {
		return dynload.GoString(address, maxText), cuda.Success
	}
	head := memory(address, elfHeader)
	for _, im := range e.images {
		// Equal headers have equal sizes, so the rest may be read.
		if len(im.cubin) >= elfHeader && bytes.Equal(head, im.cubin[:elfHeader]) && bytes.Equal(memory(address, len(im.cubin)), im.cubin) {
			return im.ptx, cuda.Success
		}
	}
	return "", cuda.NoBinaryForGPU
}

func (e *Emulator) load(result, address uintptr) (cuda.Code, error) {
	if e.unsafeInCapture() {
		return cuda.StreamCaptureUnsupported, nil
	}
	text, code := e.text(address)
	if code != cuda.Success {
		return code, nil
	}
	mod, err := ptxemu.Load(e.ctx.mem, text)
	var bad *ptxemu.LoadError
	switch {
	case errors.As(err, &bad):
		return cuda.InvalidPTX, err
	case err != nil:
		return cuda.OutOfMemory, err
	}
	h := e.handle()
	e.ctx.modules[h] = &module{mod: mod, funcs: map[string]uintptr{}}
	put(result, h)
	return cuda.Success, nil
}

// loadEx writes what is wrong with PTX to the error log, if there is one.
func loadEx(e *Emulator, a []uintptr) cuda.Code {
	const errorLog, errorLogBytes = 5, 6
	code, err := e.load(a[0], a[1])
	var log uintptr
	var size int
	for i := range a[2] {
		value := get[uintptr](a[4] + 8*i)
		switch get[uint32](a[3] + 4*i) {
		case errorLog:
			log = value
		case errorLogBytes:
			size = int(uint32(value))
		}
	}
	if err != nil && log != 0 {
		putText(log, size, err.Error())
	}
	return code
}

func (e *Emulator) function(h uintptr) *function { return e.ctx.funcs[h] }

// functionAttribute: registers are made up.
func (f *function) attribute(a cuda.FunctionAttribute) (int, bool) {
	switch a {
	case cuda.FuncMaxThreadsPerBlock:
		return f.mod.mod.MaxThreads(f.name), true
	case cuda.FuncSharedSizeBytes:
		return f.mod.mod.StaticShared(f.name), true
	case cuda.FuncConstSizeBytes, cuda.FuncLocalSizeBytes:
		return 0, true
	case cuda.FuncNumRegs:
		return 32, true
	case cuda.FuncPTXVersion, cuda.FuncBinaryVersion:
		return 90, true
	case cuda.FuncMaxDynamicSharedBytes:
		return f.dynamic, true
	case cuda.FuncPreferredSharedPercent:
		return -1, true
	}
	return 0, false
}

// blocksPerSM by threads, shared memory and the limit of blocks.
func (f *function) blocksPerSM(threads, shared int) int {
	if threads <= 0 || threads > f.mod.mod.MaxThreads(f.name) {
		return 0
	}
	shared += f.mod.mod.StaticShared(f.name) + 1<<10
	return min(2048/((threads+31)&^31), (228<<10)/shared, 32)
}

// start queues a launch whose parameters are packed in extra or listed in
// params.
func (e *Emulator) start(l *launch, stream, params, extra uintptr) cuda.Code {
	b, code := e.params(l.fn, params, extra)
	if code != cuda.Success {
		return code
	}
	l.cfg.Params, l.cfg.StepLimit = b, e.opt.StepLimit
	if l.cfg.SharedBytes > l.fn.dynamic || l.cfg.Grid.X == 0 || l.cfg.Grid.Y == 0 || l.cfg.Grid.Z == 0 ||
		l.cfg.Block.X == 0 || l.cfg.Block.Y == 0 || l.cfg.Block.Z == 0 || l.fn.mod.mod.Check(l.fn.name, l.cfg) != nil {
		return cuda.InvalidValue
	}
	return e.queue(stream, work{kind: cuda.NodeKernel, launch: l})
}

// params copies a kernel's parameters.
func (e *Emulator) params(f *function, params, extra uintptr) ([]byte, cuda.Code) {
	decl := f.mod.mod.Params(f.name)
	size := 0
	if n := len(decl); n > 0 {
		size = decl[n-1].Offset + decl[n-1].Size
	}
	out := make([]byte, size)
	switch {
	case size == 0 && params == 0 && extra == 0:
	case params != 0 && extra == 0:
		for i, p := range decl {
			copy(out[p.Offset:], memory(get[uintptr](params+uintptr(8*i)), p.Size))
		}
	case params == 0 && extra != 0:
		b, ok := packed(extra)
		if !ok || len(b) != size {
			return nil, cuda.InvalidValue
		}
		copy(out, b)
	default:
		return nil, cuda.InvalidValue
	}
	return out, cuda.Success
}

// packed reads the array of CU_LAUNCH_PARAM_BUFFER_POINTER (1), _SIZE (2), _END (0).
func packed(extra uintptr) ([]byte, bool) {
	var buffer uintptr
	size := -1
	for range 3 {
		switch get[uintptr](extra) {
		case 0:
			if buffer == 0 || size < 0 {
				return nil, false
			}
			return memory(buffer, size), true
		case 1:
			buffer = get[uintptr](extra + 8)
		case 2:
			size = int(get[uint64](get[uintptr](extra + 8)))
		default:
			return nil, false
		}
		extra += 16
	}
	return nil, false
}

// launchConfig is CUlaunchConfig, launchAttribute CUlaunchAttribute.
type launchConfig struct {
	grid, block [3]uint32
	shared      uint32
	stream      uintptr
	attributes  uintptr
	count       uint32
}

type launchAttribute struct {
	id    int32
	_     int32
	value [8]uint64
}

const programmaticStreamSerialization = 6 // a CUlaunchAttributeID

func launchEx(e *Emulator, a []uintptr) cuda.Code {
	c := get[launchConfig](a[0])
	l := &launch{fn: e.function(a[1])}
	if l.fn == nil {
		return cuda.InvalidHandle
	}
	l.cfg.Grid, l.cfg.Block, l.cfg.SharedBytes = dim(c.grid), dim(c.block), int(c.shared)
	for i := range uintptr(c.count) {
		at := get[launchAttribute](c.attributes + i*unsafe.Sizeof(launchAttribute{}))
		if at.id != programmaticStreamSerialization {
			return cuda.NotSupported
		}
		l.programmatic = uint32(at.value[0]) != 0
	}
	return e.start(l, c.stream, a[2], a[3])
}

func dim(v [3]uint32) ptxemu.Dim3 { return ptxemu.Dim3{X: int(v[0]), Y: int(v[1]), Z: int(v[2])} }

// withFunction wraps what has a kernel's handle in argument i.
func withFunction(i int, f func(e *Emulator, fn *function, a []uintptr) cuda.Code) *handler {
	return plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		fn := e.function(a[i])
		if fn == nil {
			return cuda.InvalidHandle
		}
		return f(e, fn, a)
	})
}

var moduleHandlers = map[string]*handler{
	"cuModuleLoadData": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		code, _ := e.load(a[0], a[1])
		return code
	}),
	"cuModuleLoadDataEx": plain(needsContext, loadEx),
	"cuModuleUnload": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		m := e.ctx.modules[a[0]]
		if m == nil {
			return cuda.InvalidHandle
		}
		e.drain(func() bool { return false })
		for _, f := range m.funcs {
			delete(e.ctx.funcs, f)
		}
		delete(e.ctx.modules, a[0])
		m.mod.Unload()
		return cuda.Success
	}),
	"cuModuleGetFunction": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		m := e.ctx.modules[a[1]]
		if m == nil {
			return cuda.InvalidHandle
		}
		name := dynload.GoString(a[2], 4096)
		if m.mod.Params(name) == nil {
			return cuda.NotFound
		}
		if m.funcs[name] == 0 {
			m.funcs[name] = e.handle()
			e.ctx.funcs[m.funcs[name]] = &function{mod: m, name: name, dynamic: defaultShared - m.mod.StaticShared(name)}
		}
		put(a[0], m.funcs[name])
		return cuda.Success
	}),
	"cuModuleGetGlobal_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		m := e.ctx.modules[a[2]]
		if m == nil {
			return cuda.InvalidHandle
		}
		addr, size, found := m.mod.Global(dynload.GoString(a[3], 4096))
		if !found {
			return cuda.NotFound
		}
		put(a[0], addr)
		put(a[1], uint64(size))
		return cuda.Success
	}),
	"cuFuncLoad": withFunction(0, func(e *Emulator, f *function, a []uintptr) cuda.Code { return cuda.Success }),
	"cuFuncGetAttribute": withFunction(2, func(e *Emulator, f *function, a []uintptr) cuda.Code {
		v, known := f.attribute(cuda.FunctionAttribute(int32(a[1])))
		if !known {
			return cuda.InvalidValue
		}
		put(a[0], int32(v))
		return cuda.Success
	}),
	"cuFuncSetAttribute": withFunction(0, func(e *Emulator, f *function, a []uintptr) cuda.Code {
		v := int(int32(a[2]))
		switch cuda.FunctionAttribute(int32(a[1])) {
		case cuda.FuncMaxDynamicSharedBytes:
			if v < 0 || v+f.mod.mod.StaticShared(f.name) > maxShared {
				return cuda.InvalidValue
			}
			f.dynamic = v
		case cuda.FuncPreferredSharedPercent:
			if v < -1 || v > 100 {
				return cuda.InvalidValue
			}
		default:
			return cuda.InvalidValue
		}
		return cuda.Success
	}),
	"cuFuncGetParamInfo": withFunction(0, func(e *Emulator, f *function, a []uintptr) cuda.Code {
		decl := f.mod.mod.Params(f.name)
		if a[1] >= uintptr(len(decl)) {
			return cuda.InvalidValue
		}
		put(a[2], uint64(decl[a[1]].Offset))
		put(a[3], uint64(decl[a[1]].Size))
		return cuda.Success
	}),
	"cuOccupancyMaxActiveBlocksPerMultiprocessor": withFunction(1, func(e *Emulator, f *function, a []uintptr) cuda.Code {
		put(a[0], int32(f.blocksPerSM(int(int32(a[2])), int(a[3]))))
		return cuda.Success
	}),
	"cuOccupancyMaxPotentialBlockSize": withFunction(2, func(e *Emulator, f *function, a []uintptr) cuda.Code {
		if a[3] != 0 {
			return cuda.NotSupported
		}
		limit := f.mod.mod.MaxThreads(f.name)
		if n := int(int32(a[5])); n > 0 {
			limit = min(limit, n)
		}
		best, blocks := 0, 0
		for t := limit &^ 31; t > 0; t -= 32 {
			if n := f.blocksPerSM(t, int(a[4])); n*t > blocks*best {
				best, blocks = t, n
			}
		}
		put(a[0], int32(blocks*e.opt.Multiprocessors))
		put(a[1], int32(best))
		return cuda.Success
	}),
	"cuOccupancyAvailableDynamicSMemPerBlock": withFunction(1, func(e *Emulator, f *function, a []uintptr) cuda.Code {
		n := int(int32(a[2]))
		if n <= 0 || n > f.blocksPerSM(int(int32(a[3])), 0) {
			return cuda.InvalidValue
		}
		put(a[0], uint64(max(0, min((228<<10)/n-1<<10, maxShared)-f.mod.mod.StaticShared(f.name))))
		return cuda.Success
	}),
	"cuLaunchKernel": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		l := &launch{fn: e.function(a[0])}
		if l.fn == nil {
			return cuda.InvalidHandle
		}
		l.cfg.Grid = ptxemu.Dim3{X: int(a[1]), Y: int(a[2]), Z: int(a[3])}
		l.cfg.Block = ptxemu.Dim3{X: int(a[4]), Y: int(a[5]), Z: int(a[6])}
		l.cfg.SharedBytes = int(a[7])
		return e.start(l, a[8], a[9], a[10])
	}),
	"cuLaunchKernelEx": plain(needsContext, launchEx),
}
