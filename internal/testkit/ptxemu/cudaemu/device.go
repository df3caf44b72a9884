package cudaemu

import (
	"runtime"
	"sync"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu"
)

const (
	driverVersion = 13000
	deviceName    = "Emulated GPU (sm_90)"
	busID         = "0000:1b:00.0"
)

// context is all that the process has on the device.
type context struct {
	handle  uintptr
	lost    cuda.Code
	mem     *ptxemu.Memory
	device  map[uint64]bool // allocations of cuMemAlloc
	host    map[uintptr]*hostRange
	streams map[uintptr]*stream
	events  map[uintptr]*event
	modules map[uintptr]*module
	funcs   map[uintptr]*function
	graphs  map[uintptr]*graph
	execs   map[uintptr]*graph
	nodes   map[uintptr]*node
	blas    map[uintptr]any // objects of cuBLASLt
}

func (e *Emulator) newContext() *context {
	c := &context{handle: e.handle(), mem: ptxemu.NewMemory(e.opt.MemoryBytes),
		device: map[uint64]bool{}, host: map[uintptr]*hostRange{}, streams: map[uintptr]*stream{}, events: map[uintptr]*event{},
		modules: map[uintptr]*module{}, funcs: map[uintptr]*function{}, graphs: map[uintptr]*graph{}, execs: map[uintptr]*graph{}, nodes: map[uintptr]*node{}, blas: map[uintptr]any{}}
	c.streams[0] = &stream{} // the default stream
	return c
}

// inventory counts what exists, without what is always there.
func (c *context) inventory() map[string]int {
	m := map[string]int{}
	for kind, n := range map[string]int{
		"device memory": len(c.device), "host memory": len(c.host), "streams": len(c.streams) - 1, "events": len(c.events),
		"modules": len(c.modules), "graphs": len(c.graphs), "executable graphs": len(c.execs), "cuBLASLt objects": len(c.blas),
	} {
		if n > 0 {
			m[kind] = n
		}
	}
	return m
}

// destroy frees what only the emulator holds.
func (c *context) destroy() {
	for _, h := range c.host {
		h.free()
	}
}

// attributes are those of an H100 SXM, as far as the bindings ask for them.
func (e *Emulator) attribute(a cuda.Attribute) (int32, bool) {
	v, ok := map[cuda.Attribute]int32{
		cuda.MaxThreadsPerBlock: 1024, cuda.WarpSize: 32, cuda.ClockRate: 1980000, cuda.KernelExecTimeout: 0,
		cuda.Integrated: 0, cuda.CanMapHostMemory: 1, cuda.ComputeMode: 0, cuda.ECCEnabled: 1,
		cuda.MemoryClockRate: 2619000, cuda.GlobalMemoryBusWidth: 5120, cuda.L2CacheSize: 50 << 20,
		cuda.MaxThreadsPerMultiprocessor: 2048, cuda.AsyncEngineCount: 3, cuda.UnifiedAddressing: 1,
		cuda.ComputeCapabilityMajor: int32(e.opt.Capability / 10), cuda.ComputeCapabilityMinor: int32(e.opt.Capability % 10), cuda.MaxSharedPerMultiprocessor: 228 << 10,
		cuda.MaxRegsPerMultiprocessor: 64 << 10, cuda.CooperativeLaunch: 0, cuda.MaxSharedPerBlockOptin: maxShared,
		cuda.MaxBlocksPerMultiprocessor: 32, cuda.ReservedSharedPerBlock: 1 << 10, cuda.HostNUMAID: -1,
	}[a]
	if a == cuda.MultiprocessorCount {
		return int32(e.opt.Multiprocessors), true
	}
	return v, ok
}

// errorNames are the names of codes, in memory that C may keep.
var errorNames = sync.OnceValue(func() map[cuda.Code]*byte {
	names := map[cuda.Code]*byte{}
	for code, name := range map[cuda.Code]string{
		cuda.Success: "CUDA_SUCCESS", cuda.InvalidValue: "CUDA_ERROR_INVALID_VALUE", cuda.OutOfMemory: "CUDA_ERROR_OUT_OF_MEMORY",
		cuda.NotInitialized: "CUDA_ERROR_NOT_INITIALIZED", cuda.NoDevice: "CUDA_ERROR_NO_DEVICE", cuda.InvalidDevice: "CUDA_ERROR_INVALID_DEVICE",
		cuda.InvalidImage: "CUDA_ERROR_INVALID_IMAGE", cuda.InvalidContext: "CUDA_ERROR_INVALID_CONTEXT",
		cuda.NoBinaryForGPU: "CUDA_ERROR_NO_BINARY_FOR_GPU", cuda.InvalidPTX: "CUDA_ERROR_INVALID_PTX",
		cuda.InvalidHandle: "CUDA_ERROR_INVALID_HANDLE", cuda.NotFound: "CUDA_ERROR_NOT_FOUND", cuda.NotReady: "CUDA_ERROR_NOT_READY",
		cuda.IllegalAddress: "CUDA_ERROR_ILLEGAL_ADDRESS", cuda.MisalignedAddress: "CUDA_ERROR_MISALIGNED_ADDRESS",
		cuda.LaunchFailed: "CUDA_ERROR_LAUNCH_FAILED", cuda.LaunchTimeout: "CUDA_ERROR_LAUNCH_TIMEOUT", cuda.Assert: "CUDA_ERROR_ASSERT",
		cuda.ECCUncorrectable: "CUDA_ERROR_ECC_UNCORRECTABLE", cuda.NotSupported: "CUDA_ERROR_NOT_SUPPORTED",
		cuda.StreamCaptureUnsupported: "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", cuda.StreamCaptureInvalidated: "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
		cuda.StreamCaptureUnjoined: "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", cuda.StreamCaptureImplicit: "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
		cuda.StreamCaptureWrongThread: "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", cuda.GraphExecUpdateFailure: "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE",
		captureIllegal: "CUDA_ERROR_ILLEGAL_STATE", captureIsolation: "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
		captureUnmatched: "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
	} {
		b := append([]byte(name), 0)
		names[code] = &b[0]
	}
	return names
})

// Codes that the bindings do not name.
const (
	captureIllegal   cuda.Code = 401
	captureUnmatched cuda.Code = 903
	captureIsolation cuda.Code = 905
)

func getErrorName(e *Emulator, a []uintptr) cuda.Code {
	name := errorNames()[cuda.Code(int32(a[0]))]
	if name == nil {
		put(a[1], uintptr(0))
		return cuda.InvalidValue
	}
	put(a[1], uintptr(unsafe.Pointer(name)))
	runtime.KeepAlive(name)
	return cuda.Success
}

// onDevice wraps what needs the one device's number in argument i.
func onDevice(i int, f func(e *Emulator, a []uintptr) cuda.Code) *handler {
	return &handler{needs: needsInit, do: func(e *Emulator, a []uintptr) cuda.Code {
		if int32(a[i]) != 0 {
			return cuda.InvalidDevice
		}
		return f(e, a)
	}}
}

func plain(needs int, f func(e *Emulator, a []uintptr) cuda.Code) *handler {
	return &handler{needs: needs, do: f}
}

func waiting(f func(e *Emulator, a []uintptr) cuda.Code) *handler {
	return &handler{needs: needsContext, waits: true, do: f}
}

func ok(*Emulator, []uintptr) cuda.Code { return cuda.Success }

var deviceHandlers = map[string]*handler{
	"cuInit": plain(needsNothing, func(e *Emulator, a []uintptr) cuda.Code {
		if a[0] != 0 {
			return cuda.InvalidValue
		}
		e.inited = true
		return cuda.Success
	}),
	"cuDriverGetVersion": plain(needsNothing, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], int32(driverVersion))
		return cuda.Success
	}),
	"cuGetErrorName": plain(needsNothing, getErrorName),
	"cuDeviceGetCount": plain(needsInit, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], int32(1))
		return cuda.Success
	}),
	"cuDeviceGet": onDevice(1, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], int32(0))
		return cuda.Success
	}),
	"cuDeviceGetName": onDevice(2, func(e *Emulator, a []uintptr) cuda.Code {
		putText(a[0], int(a[1]), deviceName)
		return cuda.Success
	}),
	"cuDeviceGetUuid_v2": onDevice(1, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], [16]byte{0: 0xe0, 15: 1})
		return cuda.Success
	}),
	"cuDeviceGetPCIBusId": onDevice(2, func(e *Emulator, a []uintptr) cuda.Code {
		putText(a[0], int(a[1]), busID)
		return cuda.Success
	}),
	"cuDeviceTotalMem_v2": onDevice(1, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], uint64(e.opt.MemoryBytes))
		return cuda.Success
	}),
	"cuDeviceGetAttribute": onDevice(2, func(e *Emulator, a []uintptr) cuda.Code {
		v, known := e.attribute(cuda.Attribute(int32(a[1])))
		if !known {
			return cuda.InvalidValue
		}
		put(a[0], v)
		return cuda.Success
	}),
	"cuDeviceCanAccessPeer": onDevice(1, func(e *Emulator, a []uintptr) cuda.Code { return cuda.InvalidDevice }),

	"cuDevicePrimaryCtxRetain": onDevice(1, func(e *Emulator, a []uintptr) cuda.Code {
		if e.ctx == nil {
			e.ctx = e.newContext()
		}
		if e.ctx.lost != 0 {
			return e.ctx.lost
		}
		e.retained++
		put(a[0], e.ctx.handle)
		return cuda.Success
	}),
	"cuDevicePrimaryCtxRelease_v2": onDevice(0, func(e *Emulator, a []uintptr) cuda.Code {
		if e.retained == 0 {
			return cuda.InvalidContext
		}
		if e.retained--; e.retained == 0 && e.ctx != nil {
			e.drain(func() bool { return false })
			e.leaked = e.ctx.inventory()
			e.ctx.destroy()
			e.ctx = nil
		}
		return cuda.Success
	}),
	"cuDevicePrimaryCtxReset_v2": onDevice(0, func(e *Emulator, a []uintptr) cuda.Code {
		if e.ctx != nil {
			e.ctx.destroy()
		}
		e.ctx, e.retained, e.fault, e.leaked = nil, 0, nil, nil
		return cuda.Success
	}),
	"cuDevicePrimaryCtxSetFlags_v2": onDevice(0, ok),
	"cuDevicePrimaryCtxGetState": onDevice(0, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[1], uint32(0))
		state := int32(0)
		if e.ctx != nil {
			state = 1
		}
		put(a[2], state)
		return cuda.Success
	}),
	"cuCtxSetCurrent": plain(needsInit, func(e *Emulator, a []uintptr) cuda.Code {
		if a[0] != 0 && (e.ctx == nil || e.ctx.handle != a[0]) {
			return cuda.InvalidContext
		}
		e.current[thread()] = a[0]
		return cuda.Success
	}),
	"cuCtxGetCurrent": plain(needsInit, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], e.current[thread()])
		return cuda.Success
	}),
	"cuCtxSynchronize": waiting(func(e *Emulator, a []uintptr) cuda.Code {
		for _, s := range e.ctx.streams {
			if s.capture != nil {
				s.capture.invalid = true
				return cuda.StreamCaptureUnsupported
			}
		}
		e.drain(func() bool { return false })
		return cuda.Success
	}),
	"cuCtxGetLimit": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], uint64(1<<10))
		return cuda.Success
	}),
	"cuCtxSetLimit": plain(needsContext, ok),
	"cuCtxGetStreamPriorityRange": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], int32(0))
		put(a[1], int32(-5))
		return cuda.Success
	}),
}
