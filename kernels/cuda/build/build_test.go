package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/nvrtc"
	"github.com/holdfast-run/holdfast/kernels/cuda"
)

// wheels is where scripts/cuda-wheels.sh puts NVIDIA's tools.
const wheels = "../../../build/cuda/nvidia/cu13"

// afresh asks for what takes a minute: make test-long does.
var afresh = flag.Bool("afresh", false, "compile and disassemble all kernels anew")

// compiler returns NVRTC, or skips the test.
func compiler(t *testing.T) *nvrtc.Compiler {
	if !*afresh {
		t.Skip("takes a minute: make test-long")
	}
	if _, err := os.Stat(filepath.Join(wheels, "lib")); err != nil {
		t.Skip("NVRTC is not installed: sh scripts/cuda-wheels.sh")
	}
	c, err := open(filepath.Join(wheels, "lib"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	function  = regexp.MustCompile(`Compiling entry function '(\w+)'`)
	resources = regexp.MustCompile(`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	registers = regexp.MustCompile(`Used (\d+) registers`)
)

// TestImages compiles every module again: the images must be the same to the byte,
// and no kernel may spill or use more registers than the table says.
func TestImages(t *testing.T) {
	c := compiler(t)
	src, err := sources("../src")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range cuda.Modules {
		for _, arch := range cuda.Archs {
			image, err := src.compile(c, module, arch)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, module, arch, "cubin", image.Cubin, cuda.Cubin)
			compare(t, module, arch, "PTX", image.PTX, cuda.PTX)
			budgets(t, module, arch, image.Log)
		}
	}
}

func compare(t *testing.T, module, arch, kind string, built []byte, load func(module, arch string) ([]byte, error)) {
	t.Helper()
	committed, err := load(module, arch)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, committed) {
		t.Errorf("%s of %s for %s is not what its source gives: run make generate-cuda", kind, module, arch)
	}
}

// budgets reads the log of ptxas -v.
func budgets(t *testing.T, module, arch, log string) {
	what := module + " " + arch
	var k *cuda.Kernel
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		if m := function.FindStringSubmatch(line); m != nil {
			var ok bool
			if k, ok = cuda.Lookup(m[1]); !ok {
				t.Fatalf("%s: kernel %s is not in the table", what, m[1])
			}
		}
		if m := resources.FindStringSubmatch(line); m != nil && (m[1] != "0" || m[2] != "0" || m[3] != "0") {
			t.Errorf("%s: %s spills: %s", what, k.Name, strings.TrimSpace(line))
		}
		if m := registers.FindStringSubmatch(line); m != nil {
			seen[k.Name] = true
			if n, err := strconv.Atoi(m[1]); err != nil || n > k.Registers {
				t.Errorf("%s: %s uses %s registers, its budget is %d", what, k.Name, m[1], k.Registers)
			}
		}
	}
	for _, k := range cuda.Kernels {
		if k.Module == module && !seen[k.Name] {
			t.Errorf("%s: the compiler's log does not say what %s uses", what, k.Name)
		}
	}
}

// TestInstructions disassembles the images and looks for the machine instructions
// that the source means: tensor cores, asynchronous copies, matrix loads, wide
// loads. None may use local memory.
func TestInstructions(t *testing.T) {
	if !*afresh {
		t.Skip("takes a minute: make test-long")
	}
	cuobjdump, err := filepath.Abs(filepath.Join(wheels, "bin/cuobjdump"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cuobjdump); err != nil {
		t.Skip("cuobjdump is not installed: sh scripts/cuda-wheels.sh")
	}
	const (
		tensor, copies, matrix, transposed = "HMMA.16816.F32", "LDGSTS.E.BYPASS", "LDSM.16.M88.4", "LDSM.16.MT88.4"
		bf16                               = "HMMA.16816.F32.BF16"
	)
	want := []struct {
		kernels string // a prefix
		code    []string
	}{
		{"linear_bf16", []string{bf16, copies, "LDS.128"}},
		{"linear_q", []string{bf16, copies, "HFMA2"}},
		{"linear_q8", []string{"LDS.128"}},
		{"linear_q4", []string{"LDS.64"}},  // half of a lane's 16 bytes at a time
		{"linear_", []string{`LDG.E.128`}}, // x
		{"gemm_", []string{bf16, copies, matrix}},
		{"attend_bf16", []string{bf16}},
		{"attend_", []string{tensor, copies, matrix, transposed, "MUFU.EX2"}},
		{"decode_bf16", []string{bf16}},
		{"decode_f16", []string{tensor, copies, matrix, transposed, "MUFU.EX2"}},
		{"copy_blocks", []string{"LDG.E.EF.128", "STG.E.EF.128"}},
		{"norm_", []string{"LDG.E.128"}},
		{"sample_top", []string{"LDG.E.128"}},
		{"sample_weigh", []string{"ATOMS", "DMUL"}},
	}
	for _, arch := range cuda.Archs {
		code := map[string]string{}
		for _, module := range cuda.Modules {
			disassemble(t, cuobjdump, module, arch, code)
		}
		for _, k := range cuda.Kernels {
			text := code[k.Name]
			if text == "" {
				t.Errorf("%s: no code of %s", arch, k.Name)
			}
			for _, w := range want {
				for _, op := range w.code {
					if strings.HasPrefix(k.Name, w.kernels) && !strings.Contains(text, op) {
						t.Errorf("%s: %s has no %s", arch, k.Name, op)
					}
				}
			}
			for _, op := range []string{" LDL", " STL"} {
				if strings.Contains(text, op) {
					t.Errorf("%s: %s uses local memory", arch, k.Name)
				}
			}
			if waits := strings.Contains(text, "ACQBULK"); waits != (arch == "sm_90a") {
				t.Errorf("%s: %s waits for the kernel before it: %v", arch, k.Name, waits)
			}
		}
	}
}

// disassemble adds the code of a module's kernels.
func disassemble(t *testing.T, cuobjdump, module, arch string, code map[string]string) {
	cubin, err := cuda.Cubin(module, arch)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.cubin")
	if err := os.WriteFile(file, cubin, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cuobjdump, "-sass", file)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(cuobjdump)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cuobjdump %s %s: %v\n%s", module, arch, err, out)
	}
	for part := range strings.SplitSeq(string(out), "Function : ") {
		if name, text, ok := strings.Cut(part, "\n"); ok {
			code[strings.TrimSpace(name)] = text
		}
	}
}
