package nvrtc

import (
	"testing"

	"github.com/holdfast-run/holdfast/bindings/internal/cheader"
)

// TestHeader holds the table and the codes against NVIDIA's nvrtc.h.
func TestHeader(t *testing.T) {
	h := cheader.Read(t, "nvrtc.h")
	h.CheckFuncs(t, funcs)
	h.CheckConsts(t, map[string]int64{
		"NVRTC_SUCCESS": int64(Success), "NVRTC_ERROR_OUT_OF_MEMORY": int64(OutOfMemory),
		"NVRTC_ERROR_INVALID_OPTION": int64(InvalidOption), "NVRTC_ERROR_COMPILATION": int64(CompilationFailed),
		"NVRTC_ERROR_INTERNAL_ERROR": int64(InternalError),
	})
}
