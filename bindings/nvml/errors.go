package nvml

import "fmt"

// Code is an nvmlReturn_t. It is an error, so that errors.Is(err,
// nvml.NotSupported) asks for it.
type Code int32

// The codes that callers tell apart. Error.Text has the library's words for any.
const (
	Success          Code = 0
	Uninitialized    Code = 1
	InvalidArgument  Code = 2
	NotSupported     Code = 3
	NoPermission     Code = 4
	NotFound         Code = 6
	InsufficientSize Code = 7
	DriverNotLoaded  Code = 9
	GPUIsLost        Code = 15
	ResetRequired    Code = 16
	VersionMismatch  Code = 18
	Unknown          Code = 999
)

func (c Code) Error() string { return fmt.Sprintf("NVML error %d", int32(c)) }

// Error is a call that did not succeed.
type Error struct {
	Code Code
	Text string // as the library says it: "Not Supported"
	Call string // the function: "nvmlDeviceGetEccMode"
}

func (e *Error) Error() string {
	return fmt.Sprintf("nvml: %s: %s (%d)", e.Call, e.Text, int32(e.Code))
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }
