package gpucheck

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/leaktest"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
)

var (
	onGPU    = flag.Bool("gpu", false, "run on the machine's GPU, not on the emulator")
	figures  = flag.String("figures", "", "measure, and write JSON to this `file`")
	sanitize = flag.Bool("sanitize", false, "run the tests again under compute-sanitizer, if it is there")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *onGPU {
		if _, err := new(cuda.Backend).Memory(); err != nil {
			fmt.Println("gpu-check: skipped:", err)
			return
		}
	}
	leaktest.Main(m)
}

// backend is one on the machine's GPU, or on a new emulated one.
func backend(t testing.TB, o cudaemu.Options) (*cuda.Backend, *cudaemu.Emulator) {
	t.Helper()
	if !*onGPU {
		d, emu := cudatest.Start(t, o)
		return &cuda.Backend{Driver: d}, emu
	}
	return &cuda.Backend{}, nil
}

// invariant is a backend in batch-invariant mode.
func invariant(t testing.TB, seed uint64) *cuda.Backend {
	b, _ := backend(t, cudaemu.Options{Seed: seed})
	b.BatchInvariant = true
	return b
}

// fast is a backend that is not, with cuBLASLt or without.
func fast(t testing.TB, seed uint64, blas bool) *cuda.Backend {
	b, emu := backend(t, cudaemu.Options{Seed: seed})
	b.NoBLAS = !blas
	if emu != nil && blas {
		b.BLAS = cudatest.BLAS(t, emu)
	} else if _, err := cublaslt.Open(""); blas && err != nil {
		t.Skip(err)
	}
	return b
}

// TestSanitizer runs the goldens and properties under NVIDIA's checker of memory and
// races.
func TestSanitizer(t *testing.T) {
	if !*onGPU || !*sanitize {
		t.Skip("needs -gpu and -sanitize; the emulator checks memory and races by itself")
	}
	tool, err := exec.LookPath("compute-sanitizer")
	if err != nil {
		t.Skip("compute-sanitizer is not installed: it is part of the CUDA toolkit")
	}
	for _, check := range []string{"memcheck", "racecheck"} {
		t.Run(check, func(t *testing.T) {
			cmd := exec.Command(tool, "--tool", check, "--error-exitcode", "9",
				os.Args[0], "-gpu", "-test.run", "^Test(Buckets|Sample|Pool|NoLogits|Fast)$", "-test.timeout", "20m")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out[max(0, len(out)-8000):])
			}
		})
	}
}
