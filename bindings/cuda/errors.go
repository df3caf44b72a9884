package cuda

import (
	"errors"
	"fmt"
)

// ErrNoDriver is returned by Open when the machine has no CUDA driver that can be
// used; the message says what was found and what to install.
var ErrNoDriver = errors.New("no usable NVIDIA driver")

// Code is a CUresult. It is an error, so that errors.Is(err, cuda.OutOfMemory)
// asks for it.
type Code int32

// The codes that callers tell apart. Error.Name has the driver's own name of any.
const (
	Success                  Code = 0
	InvalidValue             Code = 1
	OutOfMemory              Code = 2
	NotInitialized           Code = 3
	Deinitialized            Code = 4
	StubLibrary              Code = 34
	DeviceUnavailable        Code = 46
	NoDevice                 Code = 100
	InvalidDevice            Code = 101
	InvalidImage             Code = 200
	InvalidContext           Code = 201
	NoBinaryForGPU           Code = 209
	ECCUncorrectable         Code = 214
	InvalidPTX               Code = 218
	NVLinkUncorrectable      Code = 220
	UnsupportedPTXVersion    Code = 222
	Contained                Code = 226
	InvalidHandle            Code = 400
	NotFound                 Code = 500
	NotReady                 Code = 600
	IllegalAddress           Code = 700
	LaunchOutOfResources     Code = 701
	LaunchTimeout            Code = 702
	ContextIsDestroyed       Code = 709
	Assert                   Code = 710
	HardwareStackError       Code = 714
	IllegalInstruction       Code = 715
	MisalignedAddress        Code = 716
	InvalidAddressSpace      Code = 717
	InvalidPC                Code = 718
	LaunchFailed             Code = 719
	TensorMemoryLeak         Code = 721
	NotSupported             Code = 801
	SystemNotReady           Code = 802
	SystemDriverMismatch     Code = 803
	CompatNotSupported       Code = 804
	StreamCaptureUnsupported Code = 900
	StreamCaptureInvalidated Code = 901
	StreamCaptureUnjoined    Code = 904
	StreamCaptureImplicit    Code = 906
	StreamCaptureWrongThread Code = 908
	GraphExecUpdateFailure   Code = 910
	Unknown                  Code = 999
)

func (c Code) Error() string { return fmt.Sprintf("CUDA error %d", int32(c)) }

// ContextLost reports whether the context, and all memory, streams and modules
// in it, can no longer be used: it must be made anew.
func (c Code) ContextLost() bool {
	switch c {
	case Deinitialized, DeviceUnavailable, ECCUncorrectable, NVLinkUncorrectable, Contained,
		IllegalAddress, LaunchTimeout, ContextIsDestroyed, Assert, HardwareStackError, IllegalInstruction,
		MisalignedAddress, InvalidAddressSpace, InvalidPC, LaunchFailed, TensorMemoryLeak, Unknown:
		return true
	}
	return false
}

// Error is a call that did not succeed. The driver reports faults of a kernel
// at a later call, so Call is where it was noticed, not what caused it.
type Error struct {
	Code Code
	Name string // as the driver calls it: "CUDA_ERROR_OUT_OF_MEMORY"
	Call string // the function: "cuMemAlloc_v2"
}

func (e *Error) Error() string {
	return fmt.Sprintf("cuda: %s: %s (%d)", e.Call, e.Name, int32(e.Code))
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

// remedies says what to do about a driver that does not start.
var remedies = map[Code]string{
	StubLibrary:          "this libcuda.so.1 is the toolkit's stub for linking: install the driver's own",
	DeviceUnavailable:    "another process holds the GPU in exclusive mode",
	NoDevice:             "no GPU is visible: see whether nvidia-smi lists one, whether the container was given one, and what CUDA_VISIBLE_DEVICES says",
	SystemNotReady:       "the NVSwitch fabric is not up: start nvidia-fabricmanager",
	SystemDriverMismatch: "libcuda and the loaded kernel module are of different versions: restart the machine, or install the driver anew",
	CompatNotSupported:   "a forward-compatibility libcuda needs a data centre GPU: use the driver's own libcuda.so.1",
	Unknown:              "the kernel module does not answer: see dmesg for NVRM messages",
}
