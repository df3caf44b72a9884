// Package cudatest starts the CUDA emulator with the worker's own kernels, for tests
// of what drives a GPU.
package cudatest

import (
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// image is a cubin of the worker and the PTX that the emulator runs in its place.
type image struct {
	cubin []byte
	ptx   string
}

var images = sync.OnceValues(func() (list []image, err error) {
	for _, name := range kernels.Modules {
		cubin, err := kernels.Cubin(name, "sm_90a")
		if err != nil {
			return nil, err
		}
		ptx, err := kernels.PTX(name, "sm_90a")
		if err != nil {
			return nil, err
		}
		list = append(list, image{cubin, string(ptx)})
	}
	return list, nil
})

// Start makes an emulated GPU, the process's only one until the next Start. At the
// test's end nothing may be left on it.
func Start(t testing.TB, o cudaemu.Options) (*cuda.Driver, *cudaemu.Emulator) {
	t.Helper()
	list, err := images()
	if err != nil {
		t.Fatal(err)
	}
	emu := cudaemu.New(o)
	for _, i := range list {
		emu.AddImage(i.cubin, i.ptx)
	}
	d, err := cuda.New(emu.Symbols())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := emu.Leaks(); len(left) > 0 {
			t.Errorf("left on the GPU: %v", left)
		}
	})
	return d, emu
}

// BLAS returns the emulated cuBLASLt of an emulated GPU.
func BLAS(t testing.TB, emu *cudaemu.Emulator) *cublaslt.Library {
	t.Helper()
	lib, err := cublaslt.New(emu.BlasSymbols())
	if err != nil {
		t.Fatal(err)
	}
	return lib
}
