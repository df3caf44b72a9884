package cuda

import (
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
)

// ErrUnusable is returned when there is no GPU that can be used; what it wraps says
// why and what to do.
var ErrUnusable = errors.New("cuda: no usable GPU")

// Error is a call of the driver that failed.
type Error struct {
	// Kernel is what was being done: the kernel that was launched, or
	// "decode graph of 8 rows". A fault on the GPU is reported at a later call;
	// Backend.Synchronous makes this the kernel that caused it.
	Kernel string
	Err    error // a *cuda.Error of bindings/cuda
}

func (e *Error) Error() string { return fmt.Sprintf("cuda: %s: %v", e.Kernel, e.Err) }

// Unwrap returns the driver's error, and device.ErrLost if it means that the GPU's
// context is lost: by a fault of a kernel, by hardware, by a reset.
func (e *Error) Unwrap() []error {
	if contextLost(e.Err) {
		return []error{e.Err, device.ErrLost}
	}
	return []error{e.Err}
}

func contextLost(err error) bool {
	var code cuda.Code
	return errors.As(err, &code) && code.ContextLost()
}

// UnsupportedError is a model that the kernels do not cover.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("cuda: %s: no kernel does that; use --device cpu", e.What)
}

func unsupported(format string, args ...any) error {
	return &UnsupportedError{fmt.Sprintf(format, args...)}
}
