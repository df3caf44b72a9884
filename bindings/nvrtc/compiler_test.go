package nvrtc

import (
	"bytes"
	"debug/elf"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ebitengine/purego"
	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/bindings/internal/fakelib"
)

// source uses what the kernels are made of: shared memory, a barrier, inline
// PTX, and a header that the test supplies.
const source = `
#include "scale.h"
extern "C" __global__ void rows(float *out, const float *in, int n) {
	__shared__ float sum[256];
	float s = 0;
	for (int i = threadIdx.x; i < n; i += 256) s += in[blockIdx.x * n + i];
	sum[threadIdx.x] = s;
	__syncthreads();
	for (int k = 128; k > 0; k /= 2) {
		if (threadIdx.x < k) sum[threadIdx.x] += sum[threadIdx.x + k];
		__syncthreads();
	}
	unsigned lane;
	asm("mov.u32 %0, %%laneid;" : "=r"(lane));
	if (threadIdx.x == 0) out[blockIdx.x] = sum[0] * SCALE + lane;
}`

var program = Program{
	Name: "rows.cu", Source: source, Arch: "sm_80",
	Headers: []Header{{Name: "scale.h", Text: "#define SCALE 2.0f\n"}},
	Options: []string{"--ptxas-options=-v"},
}

// open loads the library that scripts/cuda-wheels.sh installed.
func open(t *testing.T) *Compiler {
	t.Helper()
	folder, err := filepath.Abs("../../build/cuda/nvidia/cu13/lib")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Skip("no NVRTC: run scripts/cuda-wheels.sh")
	}
	c, err := Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOpen(t *testing.T) {
	c := open(t)
	if c.Major != 13 || c.Minor != 0 || filepath.Base(c.Path) != "libnvrtc.so.13" {
		t.Errorf("version %d.%d at %s", c.Major, c.Minor, c.Path)
	}
	if _, err := purego.Dlsym(purego.RTLD_DEFAULT, "nvrtcVersion"); err == nil {
		t.Error("the library's functions are global")
	}
	archs, err := c.Archs()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(archs) || !slices.Contains(archs, 80) || !slices.Contains(archs, 90) {
		t.Errorf("architectures %v", archs)
	}
}

// TestCompile compiles for both architectures that the project ships. The
// machine code must be an ELF file for CUDA with the kernel in it.
func TestCompile(t *testing.T) {
	c := open(t)
	for _, arch := range []string{"sm_80", "sm_90a"} {
		p := program
		p.Arch = arch
		image, err := c.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(image.PTX, []byte(".target "+arch)) || !bytes.Contains(image.PTX, []byte(".entry rows(")) {
			t.Errorf("%s: the PTX is\n%.400s", arch, image.PTX)
		}
		if image.PTX[len(image.PTX)-1] == 0 {
			t.Errorf("%s: the PTX ends with a zero byte", arch)
		}
		f, err := elf.NewFile(bytes.NewReader(image.Cubin))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		const cuda = elf.Machine(190)
		if f.Machine != cuda || f.Section(".text.rows") == nil || f.Section(".nv.shared.rows") == nil {
			t.Errorf("%s: machine %v, sections %v", arch, f.Machine, f.Sections)
		}
		if !strings.Contains(image.Log, "registers") {
			t.Errorf("%s: the log is %q", arch, image.Log)
		}
		again, err := c.Compile(p)
		if err != nil || !bytes.Equal(again.Cubin, image.Cubin) || !bytes.Equal(again.PTX, image.PTX) {
			t.Errorf("%s: a second compilation differs (%v)", arch, err)
		}
	}
}

func TestCompileToPTXAlone(t *testing.T) {
	p := program
	p.Arch, p.Options = "compute_80", nil
	image, err := open(t).Compile(p)
	if err != nil || len(image.PTX) == 0 || image.Cubin != nil {
		t.Errorf("%d bytes of PTX, %d of cubin, %v", len(image.PTX), len(image.Cubin), err)
	}
}

func TestCompileErrors(t *testing.T) {
	c := open(t)
	f := func(p Program, want Code, log string) {
		t.Helper()
		_, err := c.Compile(p)
		var failed *CompileError
		if !errors.As(err, &failed) || failed.Err.Code != want || !strings.Contains(failed.Log, log) {
			t.Fatalf("%+v", err)
		}
		if failed.Program != p.Name || failed.Arch != p.Arch || !strings.HasPrefix(failed.Err.Name, "NVRTC_ERROR_") {
			t.Errorf("%+v", failed)
		}
	}
	p := Program{Name: "bad.cu", Arch: "sm_90", Source: "__global__ void k() {\n undeclared = 1;\n}"}
	f(p, CompilationFailed, "bad.cu(2)")
	p.Source = "#include \"nowhere.h\"\n"
	f(p, CompilationFailed, "nowhere.h")
	p.Source, p.Options = "", []string{"--no-such-option"}
	f(p, InvalidOption, "no-such-option")
	p.Options, p.Arch = nil, "sm_1"
	f(p, InvalidOption, "gpu-architecture")
}

// TestConcurrent compiles from several goroutines: each gets its own answer.
func TestConcurrent(t *testing.T) {
	c := open(t)
	var wg sync.WaitGroup
	for _, arch := range []string{"sm_80", "sm_86", "sm_90", "sm_90a"} {
		wg.Go(func() {
			p := program
			p.Arch = arch
			image, err := c.Compile(p)
			if err != nil || !bytes.Contains(image.PTX, []byte(".target "+arch+"\n")) {
				t.Errorf("%s: %v", arch, err)
			}
		})
	}
	wg.Wait()
}

var fake = fakelib.New(funcs)

func TestNewRefuses(t *testing.T) {
	fake.Reset()
	version := int32(12)
	fake.Respond["nvrtcVersion"] = func(args []uintptr) {
		dynload.Poke(args[0], version)
		dynload.Poke(args[1], int32(8))
	}
	if c, err := New(fake.Symbols); err != nil || c.Major != 12 || c.Minor != 8 {
		t.Error(err)
	}
	version = 11
	if _, err := New(fake.Symbols); err == nil || !strings.Contains(err.Error(), "version 11.8 is too old") {
		t.Error(err)
	}
	s := maps.Clone(fake.Symbols)
	delete(s, "nvrtcGetCUBIN")
	var symbol *dynload.MissingSymbolError
	if _, err := New(s); !errors.As(err, &symbol) || symbol.Symbol != "nvrtcGetCUBIN" {
		t.Error(err)
	}
}

// TestFailures: whatever call fails, the error names it and the program is freed.
func TestFailures(t *testing.T) {
	fake.Reset()
	fake.Respond["nvrtcVersion"] = func(args []uintptr) { dynload.Poke(args[0], int32(13)) }
	c, err := New(fake.Symbols)
	if err != nil {
		t.Fatal(err)
	}
	fake.Results["nvrtcGetErrorString"] = fakelib.CString("NVRTC_ERROR_OUT_OF_MEMORY")
	fake.Respond["nvrtcCreateProgram"] = func(args []uintptr) { dynload.Poke(args[0], uint64(0x7f00_0000_0001)) }
	for _, size := range []string{"nvrtcGetProgramLogSize", "nvrtcGetPTXSize", "nvrtcGetCUBINSize"} {
		fake.Respond[size] = func(args []uintptr) { dynload.Poke(args[1], uint64(1)) }
	}
	var freed uint64
	fake.Respond["nvrtcDestroyProgram"] = func(args []uintptr) { freed = dynload.Peek[uint64](args[0]) }
	for _, f := range funcs[fnCreateProgram:] {
		if f.Symbol == "nvrtcDestroyProgram" {
			continue
		}
		freed = 0
		fake.Results[f.Symbol] = uintptr(OutOfMemory)
		_, err := c.Compile(Program{Name: "a.cu", Arch: "sm_90"})
		delete(fake.Results, f.Symbol)
		var e *Error
		if !errors.As(err, &e) || *e != (Error{OutOfMemory, "NVRTC_ERROR_OUT_OF_MEMORY", f.Symbol}) {
			t.Errorf("%s failed, the error is %v", f.Symbol, err)
		}
		if f.Symbol != "nvrtcCreateProgram" && freed != 0x7f00_0000_0001 {
			t.Errorf("%s failed: the program freed is %#x", f.Symbol, freed)
		}
	}
}

func TestOpenWhereNothingIs(t *testing.T) {
	_, err := Open(t.TempDir())
	var missing *dynload.MissingLibraryError
	if !errors.As(err, &missing) || missing.Library != "libnvrtc" || len(missing.Looked) != 0 {
		t.Fatal(err)
	}
	if _, err = Open("lib"); err == nil || errors.As(err, &missing) {
		t.Errorf("a relative folder: %v", err)
	}
}
