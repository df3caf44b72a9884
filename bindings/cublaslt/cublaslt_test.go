package cublaslt

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/bindings/internal/cheader"
	"github.com/holdfast-run/holdfast/bindings/internal/fakelib"
)

var fake = fakelib.New(funcs)

// recorded returns a library that hands out handles from 0x7f00_0000_0001 on.
func recorded(t *testing.T) *Library {
	t.Helper()
	fake.Reset()
	l, err := New(fake.Symbols)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(0x7f00_0000_0000)
	for _, f := range funcs {
		if strings.HasSuffix(f.Symbol, "Create") {
			fake.Respond[f.Symbol] = func(args []uintptr) {
				next++
				dynload.Poke(args[0], next)
			}
		}
	}
	return l
}

// called returns the calls of one function.
func called(symbol string) (args [][]uintptr) {
	for _, c := range fake.Calls {
		if c.Symbol == symbol {
			args = append(args, c.Args)
		}
	}
	return args
}

var linear = Problem{
	TransposeA: true,
	A:          Matrix{BF16, 4096, 1024, 4096},
	B:          Matrix{BF16, 4096, 7, 5 << 32},
	D:          Matrix{F32, 1024, 7, 1024},
}

func TestHandle(t *testing.T) {
	l := recorded(t)
	fake.Results["cublasLtGetVersion"] = 130100
	if v := l.GetVersion(); v != 130100 {
		t.Errorf("version %d", v)
	}
	fake.Expect(t, "cublasLtCreate", []any{fakelib.Out8(99)}, func() string { return fmt.Sprint(l.Create()) }, "99 <nil>")
	fake.Expect(t, "cublasLtDestroy", []any{uint64(1 << 40)}, func() string { return fmt.Sprint(l.Destroy(1 << 40)) }, "<nil>")
}

// TestMatmul follows a problem from its description to its end.
func TestMatmul(t *testing.T) {
	l := recorded(t)
	type set struct{ attribute, value, bytes uint64 }
	var sets []set
	attribute := func(args []uintptr) {
		sets = append(sets, set{uint64(uint32(args[1])), uint64(dynload.Peek[uint32](args[2])), uint64(args[3])})
	}
	fake.Respond["cublasLtMatmulDescSetAttribute"] = attribute
	fake.Respond["cublasLtMatmulPreferenceSetAttribute"] = attribute
	m, err := l.NewMatmul(linear)
	if err != nil {
		t.Fatal(err)
	}
	if c := called("cublasLtMatmulDescCreate"); len(c) != 1 || c[0][1] != 68 || c[0][2] != 0 {
		t.Errorf("the description is %v", c)
	}
	if !slices.Equal(sets, []set{{3, 1, 4}}) {
		t.Errorf("its attributes are %v", sets)
	}
	for i, c := range called("cublasLtMatrixLayoutCreate") {
		want := []Matrix{linear.A, linear.B, linear.D}[i]
		if got := (Matrix{DataType(c[1]), uint64(c[2]), uint64(c[3]), int64(c[4])}); got != want {
			t.Errorf("layout %d is %v", i, got)
		}
	}
	const desc, a, b, d, pref = 0x7f00_0000_0001, 0x7f00_0000_0002, 0x7f00_0000_0003, 0x7f00_0000_0004, 0x7f00_0000_0005

	sets = nil
	fake.Respond["cublasLtMatmulAlgoGetHeuristic"] = func(args []uintptr) {
		if !slices.Equal(args[:8], []uintptr{77, desc, a, b, d, d, pref, 1}) {
			t.Errorf("the heuristic was asked with %#x", args)
		}
		dynload.Poke(args[8], heuristicResult{Algorithm: Algorithm{[8]uint64{1, 2, 3, 4, 5, 6, 7, 8}, 1 << 33}})
		dynload.Poke(args[9], int32(1))
	}
	algo, err := m.Heuristic(77, Limits{WorkspaceBytes: 32 << 20, AlignBytes: 16})
	if err != nil || *algo != (Algorithm{[8]uint64{1, 2, 3, 4, 5, 6, 7, 8}, 1 << 33}) {
		t.Fatal(algo, err)
	}
	if !slices.Equal(sets, []set{{1, 32 << 20, 8}, {5, 16, 4}, {6, 16, 4}, {7, 16, 4}, {8, 16, 4}}) {
		t.Errorf("the preference is %v", sets)
	}
	if c := called("cublasLtMatmulPreferenceDestroy"); len(c) != 1 || c[0][0] != pref {
		t.Errorf("the preference was freed as %#x", c)
	}

	fake.Respond["cublasLtMatmul"] = func(args []uintptr) {
		alpha, beta := math.Float32frombits(dynload.Peek[uint32](args[2])), math.Float32frombits(dynload.Peek[uint32](args[7]))
		if alpha != 1.5 || beta != -2 {
			t.Errorf("alpha %v, beta %v", alpha, beta)
		}
		if got := dynload.Peek[[8]uint64](args[12]); got != algo.Data {
			t.Errorf("the algorithm is %v", got)
		}
		args[2], args[7], args[12] = 0, 0, 0
		if !slices.Equal(args, []uintptr{77, desc, 0, 1 << 40, a, 1 << 41, b, 0, 1 << 42, d, 1 << 43, d, 0, 1 << 44, 1 << 33, 9}) {
			t.Errorf("the product is %#x", args)
		}
	}
	err = m.Run(77, algo, Operands{A: 1 << 40, B: 1 << 41, C: 1 << 42, D: 1 << 43, Alpha: 1.5, Beta: -2,
		Workspace: 1 << 44, WorkspaceBytes: 1 << 33}, 9)
	if err != nil || len(called("cublasLtMatmul")) != 1 {
		t.Error(err)
	}

	fake.Calls = nil
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(called("cublasLtMatrixLayoutDestroy"), called("cublasLtMatmulDescDestroy")); got != fmt.Sprint([][]int{{a}, {b}, {d}}, [][]int{{desc}}) {
		t.Errorf("freed were %s", got)
	}
}

// TestFailures: whatever call fails, the error says which and nothing is left.
func TestFailures(t *testing.T) {
	l := recorded(t)
	fake.Results["cublasLtGetStatusName"] = fakelib.CString("CUBLAS_STATUS_ALLOC_FAILED")
	f := func(symbol string, call func() error) {
		t.Helper()
		fake.Calls = nil
		fake.Results[symbol] = uintptr(AllocFailed)
		err := call()
		delete(fake.Results, symbol)
		if !errors.Is(err, AllocFailed) || err.Error() != "cublaslt: "+symbol+": CUBLAS_STATUS_ALLOC_FAILED (3)" {
			t.Errorf("%s failed, the error is %v", symbol, err)
		}
		made := len(called("cublasLtMatmulDescCreate")) + len(called("cublasLtMatrixLayoutCreate")) + len(called("cublasLtMatmulPreferenceCreate"))
		if strings.HasSuffix(symbol, "Create") {
			made--
		}
		freed := len(called("cublasLtMatmulDescDestroy")) + len(called("cublasLtMatrixLayoutDestroy")) + len(called("cublasLtMatmulPreferenceDestroy"))
		if made != freed {
			t.Errorf("%s failed: %d objects were made and %d freed", symbol, made, freed)
		}
	}
	// A Create that fails writes no handle.
	failing := func(symbol string, call func() error) {
		t.Helper()
		respond := fake.Respond[symbol]
		delete(fake.Respond, symbol)
		f(symbol, call)
		fake.Respond[symbol] = respond
	}
	build := func() error { _, err := l.NewMatmul(linear); return err }
	failing("cublasLtMatmulDescCreate", build)
	f("cublasLtMatmulDescSetAttribute", build)
	failing("cublasLtMatrixLayoutCreate", build)
	m, err := l.NewMatmul(linear)
	if err != nil {
		t.Fatal(err)
	}
	heuristic := func() error { _, err := m.Heuristic(1, Limits{}); return err }
	failing("cublasLtMatmulPreferenceCreate", heuristic)
	f("cublasLtMatmulPreferenceSetAttribute", heuristic)
	f("cublasLtMatmulAlgoGetHeuristic", heuristic)
	if err := heuristic(); !errors.Is(err, NotSupported) { // success, and no algorithm
		t.Error(err)
	}
	f("cublasLtMatmul", func() error { return m.Run(1, &Algorithm{}, Operands{}, 1) })
	fake.Results["cublasLtMatrixLayoutDestroy"] = uintptr(AllocFailed)
	if err := m.Close(); !errors.Is(err, AllocFailed) || len(called("cublasLtMatmulDescDestroy")) != 1 {
		t.Errorf("a Close that fails frees the rest: %v", err)
	}

	s := maps.Clone(fake.Symbols)
	delete(s, "cublasLtMatmul")
	var symbol *dynload.MissingSymbolError
	if _, err := New(s); !errors.As(err, &symbol) || symbol.Symbol != "cublasLtMatmul" {
		t.Error(err)
	}
}

// installed returns the folder where scripts/cuda-wheels.sh --cublas put the
// library, or skips the test: half a gigabyte is not for every run.
func installed(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs("../../build/cuda/nvidia/cu13/lib")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "libcublasLt.so.13")); err != nil {
		t.Skip("no cuBLASLt: run scripts/cuda-wheels.sh --cublas (0.5 GB)")
	}
	return folder
}

// TestHeader holds the table, the constants and the struct against NVIDIA's
// cublasLt.h.
func TestHeader(t *testing.T) {
	installed(t)
	h := cheader.Read(t, "library_types.h", "driver_types.h", "cublas_api.h", "cublasLt.h")
	h.CheckFuncs(t, funcs)
	h.CheckConsts(t, map[string]int64{
		"CUBLAS_STATUS_SUCCESS": int64(Success), "CUBLAS_STATUS_NOT_INITIALIZED": int64(NotInitialized),
		"CUBLAS_STATUS_ALLOC_FAILED": int64(AllocFailed), "CUBLAS_STATUS_INVALID_VALUE": int64(InvalidValue),
		"CUBLAS_STATUS_ARCH_MISMATCH": int64(ArchMismatch), "CUBLAS_STATUS_EXECUTION_FAILED": int64(ExecutionFailed),
		"CUBLAS_STATUS_INTERNAL_ERROR": int64(InternalError), "CUBLAS_STATUS_NOT_SUPPORTED": int64(NotSupported),
		"CUDA_R_32F": int64(F32), "CUDA_R_16F": int64(F16), "CUDA_R_16BF": int64(BF16),
		"CUBLAS_COMPUTE_32F": compute32F, "CUBLAS_OP_T": opTranspose,
		"CUBLASLT_MATMUL_DESC_TRANSA": descTransA, "CUBLASLT_MATMUL_DESC_TRANSB": descTransB,
		"CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES":   prefMaxWorkspaceBytes,
		"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": prefMinAlignmentA,
		"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": prefMinAlignmentA + 1,
		"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": prefMinAlignmentA + 2,
		"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": prefMinAlignmentA + 3,
	})
	h.CheckLayout(t, heuristicResult{}, "cublasLtMatmulHeuristicResult_t",
		map[string]string{"Algorithm": "algo", "State": "state", "WavesCount": "wavesCount"})
}

// TestLoad loads the real library. What needs no GPU works; what does says that
// there is none.
func TestLoad(t *testing.T) {
	l, err := Open(installed(t))
	if err != nil {
		t.Fatal(err)
	}
	if v := l.GetVersion(); v < 120000 {
		t.Errorf("version %d", v)
	}
	m, err := l.NewMatmul(linear)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	var e *Error
	if h, err := l.Create(); err == nil {
		t.Log("a GPU is here:", l.Destroy(h))
	} else if !errors.As(err, &e) || e.Code != NotInitialized || e.Name != "CUBLAS_STATUS_NOT_INITIALIZED" {
		t.Error(err)
	}
}
