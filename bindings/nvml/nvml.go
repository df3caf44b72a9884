package nvml

import (
	"bytes"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// Library is the loaded libnvidia-ml.
type Library struct {
	fn []uintptr
	// Path is its file; "" for one made by New.
	Path string
}

// Device is a GPU of the machine, valid from Init to Shutdown.
type Device uintptr

// Open loads the library from the folders of drivers, or from the given folder
// alone if it is not "". The error is a *dynload.MissingLibraryError.
func Open(folder string) (*Library, error) {
	lib, err := library.Load(folder)
	if err != nil {
		return nil, fmt.Errorf("nvml: %w", err)
	}
	return &Library{fn: lib.Symbols.Addresses(funcs), Path: lib.Path}, nil
}

// New makes a library from a table of functions by symbol; Functions lists them.
func New(s dynload.Symbols) (*Library, error) {
	if err := library.Check(s); err != nil {
		return nil, fmt.Errorf("nvml: %w", err)
	}
	return &Library{fn: s.Addresses(funcs)}, nil
}

// Init is the first call to make. Every Init needs a Shutdown.
func (l *Library) Init() error {
	c := dynload.NewCall()
	defer c.Free()
	return l.do(c, fnInit)
}

// Shutdown undoes one Init.
func (l *Library) Shutdown() error {
	c := dynload.NewCall()
	defer c.Free()
	return l.do(c, fnShutdown)
}

// SystemGetDriverVersion returns the driver's version: "580.95.05".
func (l *Library) SystemGetDriverVersion() (string, error) {
	return l.text(fnSystemGetDriverVersion)
}

// SystemGetCudaDriverVersion returns the CUDA version of the driver: 13000 is 13.0.
func (l *Library) SystemGetCudaDriverVersion() (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := l.do(c, fnSystemGetCudaDriverVersion, c.Out(0))
	return int(c.Int32(0)), err
}

// DeviceGetCount returns how many GPUs the machine has.
func (l *Library) DeviceGetCount() (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := l.do(c, fnDeviceGetCount, c.Out(0))
	return int(uint32(c.Word(0))), err
}

// DeviceGetHandleByIndex returns the GPU with an index below the count.
func (l *Library) DeviceGetHandleByIndex(i int) (Device, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := l.do(c, fnDeviceGetHandleByIndex, uintptr(i), c.Out(0))
	return Device(c.Word(0)), err
}

// DeviceGetHandleByPCIBusID returns the GPU in a place on the bus.
func (l *Library) DeviceGetHandleByPCIBusID(id string) (Device, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := l.do(c, fnDeviceGetHandleByPCIBusID, c.String(id), c.Out(0))
	return Device(c.Word(0)), err
}

// DeviceGetName returns the product's name.
func (l *Library) DeviceGetName(d Device) (string, error) {
	return l.text(fnDeviceGetName, uintptr(d))
}

// DeviceGetUUID returns the GPU's identity, as cuda.DeviceGetUUID does.
func (l *Library) DeviceGetUUID(d Device) (string, error) {
	return l.text(fnDeviceGetUUID, uintptr(d))
}

// Memory is how a GPU's memory is used, in bytes. Used includes what the driver
// keeps for itself.
type Memory struct{ Total, Free, Used uint64 }

// DeviceGetMemoryInfo returns how the memory is used, by all processes.
func (l *Library) DeviceGetMemoryInfo(d Device) (Memory, error) {
	c := dynload.NewCall()
	defer c.Free()
	m := dynload.View[Memory](c, 0)
	err := l.do(c, fnDeviceGetMemoryInfo, uintptr(d), c.At(0))
	return *m, err
}

// Utilization is the percentage of the last sample period (1/6 to 1 s) in which
// a kernel ran, and in which memory was read or written.
type Utilization struct{ GPU, Memory uint32 }

// DeviceGetUtilizationRates returns how busy a GPU is.
func (l *Library) DeviceGetUtilizationRates(d Device) (Utilization, error) {
	c := dynload.NewCall()
	defer c.Free()
	u := dynload.View[Utilization](c, 0)
	err := l.do(c, fnDeviceGetUtilizationRates, uintptr(d), c.At(0))
	return *u, err
}

// DeviceGetPowerUsage returns the board's power in milliwatts.
func (l *Library) DeviceGetPowerUsage(d Device) (uint32, error) {
	return l.number(fnDeviceGetPowerUsage, d)
}

// DeviceGetEnforcedPowerLimit returns the power that the GPU is held to, in
// milliwatts.
func (l *Library) DeviceGetEnforcedPowerLimit(d Device) (uint32, error) {
	return l.number(fnDeviceGetEnforcedPowerLimit, d)
}

// DeviceGetEccMode reports whether memory errors are corrected, now and after
// the next restart.
func (l *Library) DeviceGetEccMode(d Device) (now, pending bool, err error) {
	c := dynload.NewCall()
	defer c.Free()
	err = l.do(c, fnDeviceGetEccMode, uintptr(d), c.Out(0), c.Out(1))
	return c.Int32(0) != 0, c.Int32(1) != 0, err
}

// An nvmlMemoryErrorType_t and an nvmlEccCounterType_t.
const (
	errorCorrected   = 0
	errorUncorrected = 1
	sinceDriverLoad  = 0
)

// DeviceGetTotalEccErrors returns the memory errors since the driver was loaded:
// those that were corrected, or those that were not.
func (l *Library) DeviceGetTotalEccErrors(d Device, corrected bool) (uint64, error) {
	c := dynload.NewCall()
	defer c.Free()
	kind := uintptr(errorUncorrected)
	if corrected {
		kind = errorCorrected
	}
	err := l.do(c, fnDeviceGetTotalEccErrors, uintptr(d), kind, sinceDriverLoad, c.Out(0))
	return c.Word(0), err
}

// number calls a function that writes an unsigned int.
func (l *Library) number(fn int, d Device) (uint32, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := l.do(c, fn, uintptr(d), c.Out(0))
	return uint32(c.Word(0)), err
}

// maxText is the most bytes of a name, version or message.
const maxText = 96

// text calls a function whose last arguments are a buffer and its length.
func (l *Library) text(fn int, args ...uintptr) (string, error) {
	c := dynload.NewCall()
	defer c.Free()
	var b [maxText]byte
	if err := l.do(c, fn, append(args, c.Bytes(b[:]), uintptr(len(b)))...); err != nil {
		return "", err
	}
	s, _, _ := bytes.Cut(b[:], []byte{0})
	return string(s), nil
}

// do calls a function and turns its nvmlReturn_t into an error.
func (l *Library) do(c *dynload.Call, fn int, args ...uintptr) error {
	code := Code(c.Do(l.fn[fn], args...))
	if code == Success {
		return nil
	}
	text := dynload.GoString(c.Do(l.fn[fnErrorString], uintptr(code)), maxText)
	return &Error{Code: code, Text: text, Call: funcs[fn].Symbol}
}
