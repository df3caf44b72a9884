package ptxemu

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// wantFault fails unless err is a *Fault of the kind whose text holds part.
func wantFault(t *testing.T, err error, kind FaultKind, part string) *Fault {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault %q", err, kind)
	}
	if f.Kind != kind || !strings.Contains(f.Error(), part) {
		t.Fatalf("got %v, want %q with %q", f, kind, part)
	}
	return f
}

// TestFaults runs each kernel of faults.cu as it is right and as it is wrong,
// under several schedules: a mistake is found in every one.
func TestFaults(t *testing.T) {
	b := load(t, "faults")
	out := alloc(b, make([]int32, 64))
	x := alloc(b, make([]float32, 3*32*4))
	y := alloc(b, make([]float32, 3*32*4))
	for _, c := range []struct {
		kernel string
		block  int
		right  []any // parameters; nil: see of
		wrong  []any
		of     string // the right kernel
		kind   FaultKind
		part   string
	}{
		{kernel: "past_end", block: 128, right: []any{out, int32(63)}, wrong: []any{out, int32(64)}, kind: OutOfBounds, part: "256 bytes past its start"},
		{kernel: "misaligned", block: 16, wrong: []any{out}, kind: Misaligned, part: "thread (9,0,0)"},
		{kernel: "shared_race", block: 64, right: []any{out, int32(1)}, wrong: []any{out, int32(0)}, kind: Race, part: "with no barrier since"},
		{kernel: "shared_reuse", block: 64, right: []any{out, int32(1)}, wrong: []any{out, int32(0)}, kind: Race, part: "with no barrier since"},
		{kernel: "warp_race", block: 32, right: []any{out, int32(1)}, wrong: []any{out, int32(0)}, kind: Race, part: "written by thread"},
		{kernel: "uninitialised", block: 64, right: []any{out, int32(64)}, wrong: []any{out, int32(63)}, kind: Uninitialised, part: "nobody wrote"},
		{kernel: "pipeline_no_wait", of: "pipeline_right", block: 32, right: []any{x, y, int32(3)}, wrong: []any{x, y, int32(3)}, kind: Uninitialised, part: "has not been waited for"},
		{kernel: "pipeline_late_wait", of: "pipeline_right", block: 32, right: []any{x, y, int32(3)}, wrong: []any{x, y, int32(3)}, kind: Uninitialised, part: "has not been waited for"},
		{kernel: "pipeline_no_barrier", of: "pipeline_right", block: 32, right: []any{x, y, int32(3)}, wrong: []any{x, y, int32(3)}, kind: Race, part: "with no barrier since"},
		{kernel: "partial_mma", block: 32, right: []any{out, int32(32)}, wrong: []any{out, int32(16)}, kind: Divergence, part: "partial warp"},
		{kernel: "wrong_mask", block: 32, right: []any{out, uint32(0xffff), int32(16)}, wrong: []any{out, uint32(0xffff), int32(17)}, kind: Divergence, part: "outside its own member mask"},
		{kernel: "wrong_mask", block: 32, wrong: []any{out, uint32(0x1ffff), int32(16)}, kind: Divergence, part: "partial warp"},
		{kernel: "divergent_barrier", block: 64, right: []any{out, int32(64)}, wrong: []any{out, int32(40)}, kind: Divergence, part: "bar.sync"},
		{kernel: "missing_warp", block: 64, wrong: []any{out}, kind: Deadlock, part: "64 of 96 threads"},
		{kernel: "spin", block: 32, wrong: []any{x}, kind: StepLimit, part: "100000 instructions"},
		{kernel: "divide", block: 32, right: []any{out, int32(3)}, wrong: []any{out, int32(0)}, kind: Undefined, part: "division by zero"},
		{kernel: "own_cache", block: 32, wrong: []any{x, out}, kind: Race, part: "ld.global.nc"},
	} {
		for seed := range uint64(5) {
			cfg := Config{Block: Dim3{X: c.block}, Seed: seed, StepLimit: 100000}
			if c.right != nil {
				right := c.kernel
				if c.of != "" {
					right = c.of
				}
				if err := b.launch(right, cfg, c.right...); err != nil {
					t.Errorf("%s, seed %d: %v", right, seed, err)
				}
			}
			f := wantFault(t, b.launch(c.kernel, cfg, c.wrong...), c.kind, c.part)
			if f.Kernel != c.kernel || f.Line == 0 || f.Instr == "" {
				t.Errorf("%s: fault without a place: %+v", c.kernel, f)
			}
		}
	}
}

func TestFaultPlace(t *testing.T) {
	b := load(t, "faults")
	x := alloc(b, []int32{0, 0, 0, -1, 0})
	f := wantFault(t, b.launch("trap", Config{Grid: Dim3{X: 5}}, x), Trap, "trapped")
	if f.Block != (Dim3{X: 3}) || f.Instr != "trap" {
		t.Errorf("fault %+v", f)
	}
	text, err := os.ReadFile("testdata/faults.cu")
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Split(string(text), "\n")[f.Source-1]; !strings.Contains(line, "__trap()") {
		t.Errorf("fault at source line %d: %s", f.Source, line)
	}
}

func TestUseAfterFree(t *testing.T) {
	b := load(t, "faults")
	x, y := alloc(b, make([]int32, 64)), alloc(b, make([]int32, 64))
	b.run("produce", Config{Block: Dim3{X: 64}}, x)
	if err := b.mem.Free(x); err != nil {
		t.Fatal(err)
	}
	wantFault(t, b.launch("produce", Config{Block: Dim3{X: 64}}, x), OutOfBounds, "freed")
	b.run("produce", Config{Block: Dim3{X: 64}}, y)
}

// TestDependent: with a predecessor that may still run, reading what it wrote
// before the wait is a fault, reading other memory is not.
func TestDependent(t *testing.T) {
	b := load(t, "faults")
	text, err := os.ReadFile("testdata/dependent.ptx")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := Load(b.mem, string(text))
	if err != nil {
		t.Fatal(err)
	}
	x, w, y := alloc(b, make([]int32, 32)), alloc(b, make([]int32, 32)), alloc(b, make([]int32, 32))
	cfg := Config{Block: Dim3{X: 32}}
	b.run("produce", cfg, w)
	b.run("produce", cfg, x)
	d := &bench{t: t, mem: b.mem, mod: mod}
	cfg.Unfinished = []int{b.mem.Grids()}
	d.run("dependent", cfg, x, w, y, int32(0))
	for i, v := range read[int32](b, y, 32) {
		if v != int32(2*i) {
			t.Fatalf("y[%d] = %d", i, v)
		}
	}
	wantFault(t, d.launch("dependent", cfg, x, w, y, int32(1)), Order, "before griddepcontrol.wait")
	wantFault(t, b.launch("produce", cfg, y), Order, "write")
	cfg.Unfinished = nil
	d.run("dependent", cfg, x, w, y, int32(1))
}

func TestLaunchRefused(t *testing.T) {
	b := load(t, "block")
	x := alloc(b, make([]float32, 64))
	for name, c := range map[string]struct {
		kernel string
		cfg    Config
	}{
		"unknown":       {"nothing", Config{}},
		"launch bounds": {"rms", Config{Block: Dim3{X: 257}, Params: make([]byte, 24)}},
		"threads":       {"reverse", Config{Block: Dim3{X: 2048}, Params: make([]byte, 8)}},
		"shared":        {"reverse", Config{Block: Dim3{X: 32}, SharedBytes: 228 << 10, Params: make([]byte, 8)}},
		"parameters":    {"reverse", Config{Block: Dim3{X: 32}, SharedBytes: 128, Params: make([]byte, 4)}},
	} {
		var e *LaunchError
		if err := b.mod.Launch(c.kernel, c.cfg); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.mod.Pack("reverse", int32(1)); err == nil {
		t.Error("Pack took an int32 for a pointer")
	}
	wantFault(t, b.launch("reverse", Config{Block: Dim3{X: 32}, SharedBytes: 124}, x), OutOfBounds, "shared memory of 124 bytes")
}
