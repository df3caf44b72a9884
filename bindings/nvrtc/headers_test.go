package nvrtc

import (
	"testing"

	"github.com/holdfast-run/holdfast/bindings/internal/cheader"
)

// TestHeader holds the table and the codes against NVIDIA's nvrtc.h.
func TestHeader(t *testing.T) {
	h := cheader.Read(t, "nvrtc.h")
	for _, f := range funcs {
		if want, err := h.Func(f.Symbol); err != nil || want != f.Args {
			t.Errorf("%s takes %q, the table says %q (%v)", f.Symbol, want, f.Args, err)
		}
	}
	for name, code := range map[string]Code{
		"NVRTC_SUCCESS": Success, "NVRTC_ERROR_OUT_OF_MEMORY": OutOfMemory, "NVRTC_ERROR_INVALID_OPTION": InvalidOption,
		"NVRTC_ERROR_COMPILATION": CompilationFailed, "NVRTC_ERROR_INTERNAL_ERROR": InternalError,
	} {
		if v, ok := h.Const(name); !ok || v != int64(code) {
			t.Errorf("%s is %d (%v), not %d", name, v, ok, code)
		}
	}
}
