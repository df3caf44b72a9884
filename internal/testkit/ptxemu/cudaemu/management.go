package cudaemu

import (
	"sync"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/bindings/nvml"
)

// NVMLSymbols returns the functions of the management library, for nvml.New.
func (e *Emulator) NVMLSymbols() dynload.Symbols { return nvmlCallbacks() }

var nvmlCallbacks = sync.OnceValue(func() dynload.Symbols {
	return bind(nvml.Functions(), func(symbol string) func(args []uintptr) uintptr {
		if symbol == "nvmlErrorString" {
			return func([]uintptr) uintptr { return uintptr(unsafe.Pointer(&nvmlText[0])) }
		}
		do := nvmlHandlers[symbol]
		if do == nil {
			panic("cudaemu: BUG: no emulation of " + symbol)
		}
		return func(args []uintptr) uintptr {
			e := active.Load()
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.calls[symbol]++; e.managed == 0 && symbol != "nvmlInit_v2" {
				return uintptr(nvml.Uninitialized)
			}
			return uintptr(uint32(do(e, args)))
		}
	})
})

var nvmlText = []byte("Emulated error\x00")

const (
	nvmlDevice    = 0x4e564d4c // the handle of the one device
	powerMilliW   = 70000
	limitMilliW   = 700000
	uuid          = "GPU-e0000000-0000-0000-0000-000000000001"
	driverRelease = "580.00.00"
)

// onManaged wraps what has the device's handle first.
func onManaged(f func(e *Emulator, a []uintptr) nvml.Code) func(e *Emulator, a []uintptr) nvml.Code {
	return func(e *Emulator, a []uintptr) nvml.Code {
		if a[0] != nvmlDevice {
			return nvml.InvalidArgument
		}
		return f(e, a)
	}
}

// text writes a string where a buffer can hold it.
func text(address, n uintptr, s string) nvml.Code {
	if int(n) <= len(s) {
		return nvml.InsufficientSize
	}
	putText(address, int(n), s)
	return nvml.Success
}

func number[T any](i int, v T) func(e *Emulator, a []uintptr) nvml.Code {
	return func(e *Emulator, a []uintptr) nvml.Code {
		put(a[i], v)
		return nvml.Success
	}
}

var nvmlHandlers = map[string]func(e *Emulator, a []uintptr) nvml.Code{
	"nvmlInit_v2":                       func(e *Emulator, a []uintptr) nvml.Code { e.managed++; return nvml.Success },
	"nvmlShutdown":                      func(e *Emulator, a []uintptr) nvml.Code { e.managed--; return nvml.Success },
	"nvmlSystemGetDriverVersion":        func(e *Emulator, a []uintptr) nvml.Code { return text(a[0], a[1], driverRelease) },
	"nvmlSystemGetCudaDriverVersion_v2": number(0, int32(driverVersion)),
	"nvmlDeviceGetCount_v2":             number(0, uint32(1)),
	"nvmlDeviceGetHandleByIndex_v2": func(e *Emulator, a []uintptr) nvml.Code {
		if a[0] != 0 {
			return nvml.InvalidArgument
		}
		put(a[1], uintptr(nvmlDevice))
		return nvml.Success
	},
	"nvmlDeviceGetHandleByPciBusId_v2": func(e *Emulator, a []uintptr) nvml.Code {
		if dynload.GoString(a[0], 64) != busID {
			return nvml.NotFound
		}
		put(a[1], uintptr(nvmlDevice))
		return nvml.Success
	},
	"nvmlDeviceGetName": onManaged(func(e *Emulator, a []uintptr) nvml.Code { return text(a[1], a[2], deviceName) }),
	"nvmlDeviceGetUUID": onManaged(func(e *Emulator, a []uintptr) nvml.Code { return text(a[1], a[2], uuid) }),
	"nvmlDeviceGetMemoryInfo": onManaged(func(e *Emulator, a []uintptr) nvml.Code {
		m := nvml.Memory{Total: uint64(e.opt.MemoryBytes)}
		if e.ctx != nil {
			m.Used = uint64(e.ctx.mem.Used())
		}
		m.Free = m.Total - m.Used
		put(a[1], m)
		return nvml.Success
	}),
	"nvmlDeviceGetUtilizationRates":   onManaged(number(1, nvml.Utilization{})),
	"nvmlDeviceGetPowerUsage":         onManaged(number(1, uint32(powerMilliW))),
	"nvmlDeviceGetEnforcedPowerLimit": onManaged(number(1, uint32(limitMilliW))),
	"nvmlDeviceGetEccMode": onManaged(func(e *Emulator, a []uintptr) nvml.Code {
		put(a[1], int32(1))
		put(a[2], int32(1))
		return nvml.Success
	}),
	"nvmlDeviceGetTotalEccErrors": onManaged(number(3, uint64(0))),
}
