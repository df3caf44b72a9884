package cudaemu

import (
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// TestWorkerImages loads the worker's own cubins, which the emulator knows by
// their PTX.
func TestWorkerImages(t *testing.T) {
	g := start(t, Options{})
	images := map[string][]byte{}
	for _, name := range kernels.Modules {
		cubin, err := kernels.Cubin(name, "sm_90a")
		g.ok(err)
		ptx, err := kernels.PTX(name, "sm_90a")
		g.ok(err)
		g.emu.AddImage(cubin, string(ptx))
		images[name] = cubin
	}
	for name, cubin := range images {
		m, err := g.ModuleLoadData(cubin)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g.ok(g.ModuleUnload(m))
		damaged := append([]byte(nil), cubin...)
		damaged[len(damaged)-1] ^= 1
		_, err = g.ModuleLoadData(damaged)
		g.want(cuda.NoBinaryForGPU, err)
	}
}
