package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu"
)

// device is one emulated device for all tests of the process. A test's memory is
// freed at its end.
var device = struct {
	sync.Mutex
	mem  *ptxemu.Memory
	mods map[string]*ptxemu.Module // by module and architecture
}{mem: ptxemu.NewMemory(1 << 30), mods: map[string]*ptxemu.Module{}}

// gpu is a test's view of the device.
type gpu struct {
	t    testing.TB
	arch string
	mem  *ptxemu.Memory
	seed uint64 // of the order in which warps run
}

func newGPU(t testing.TB) *gpu { return &gpu{t: t, arch: "sm_90a", mem: device.mem, seed: 1} }

func (g *gpu) alloc(n int) uint64 {
	g.t.Helper()
	p, err := g.mem.Alloc(n)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := g.mem.Free(p); err != nil {
			g.t.Error(err)
		}
	})
	return p
}

func (g *gpu) module(name string) *ptxemu.Module {
	g.t.Helper()
	device.Lock()
	defer device.Unlock()
	key := name + "." + g.arch
	if device.mods[key] == nil {
		ptx, err := PTX(name, g.arch)
		if err != nil {
			g.t.Fatal(err)
		}
		if device.mods[key], err = ptxemu.Load(g.mem, string(ptx)); err != nil {
			g.t.Fatalf("%s: %v", key, err)
		}
	}
	return device.mods[key]
}

// run launches a kernel as the table says.
func (g *gpu) run(name string, p Params) {
	g.t.Helper()
	k, ok := Lookup(name)
	if !ok {
		g.t.Fatalf("no kernel %s", name)
	}
	grid := k.Grid(p)
	g.seed++
	mod := g.module(k.Module)
	err := mod.Launch(name, ptxemu.Config{
		Grid:        ptxemu.Dim3{X: int(grid[0]), Y: int(grid[1]), Z: int(grid[2])},
		Block:       ptxemu.Dim3{X: int(k.Threads)},
		SharedBytes: int(k.Shared),
		Params:      paramBytes(k, p),
		Seed:        g.seed,
		Unfinished:  g.unfinished(),
	})
	if err != nil {
		g.t.Fatalf("%s: %v", name, err)
	}
}

// unfinished returns the launches that may still run when the next begins: on an
// architecture with programmatic dependent launch, the last.
func (g *gpu) unfinished() []int {
	if last := g.mem.Grids(); last > 0 && g.arch == "sm_90a" {
		return []int{last}
	}
	return nil
}

// paramBytes returns the memory of a struct of parameters.
func paramBytes(k *Kernel, p Params) []byte {
	return unsafe.Slice((*byte)(reflect.ValueOf(p).UnsafePointer()), k.ParamBytes())
}

// number is what device memory is filled with.
type number interface {
	~uint8 | ~uint16 | ~uint32 | ~int32 | ~uint64 | ~float32 | ~float64 | Draw | Change | Penalty
}

// put copies values to new device memory, with nothing behind it.
func put[T number](g *gpu, v []T) Ptr {
	g.t.Helper()
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(v[0])))
	p := g.alloc(len(b))
	if err := g.mem.Write(p, b); err != nil {
		g.t.Fatal(err)
	}
	return Ptr(p)
}

// room returns new device memory for n values, filled with 0xCD.
func room[T number](g *gpu, n int) Ptr {
	g.t.Helper()
	var v T
	return Ptr(g.alloc(n * int(unsafe.Sizeof(v))))
}

// get copies n values back.
func get[T number](g *gpu, p Ptr, n int) []T {
	g.t.Helper()
	v := make([]T, n)
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), n*int(unsafe.Sizeof(v[0])))
	if err := g.mem.Read(uint64(p), b); err != nil {
		g.t.Fatal(err)
	}
	return v
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 9)) }

// normals returns n normally distributed numbers.
func normals(rng *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * scale)
	}
	return x
}

// half is one of the two 16-bit types.
type half struct {
	name string
	to   func(float32) uint16
	from func(uint16) float32
	ulp  float64 // relative, of rounding
}

var (
	asBF16 = half{"bf16", f16.FromFloat32BF16, f16.BF16ToFloat32, 0x1p-8}
	asF16  = half{"f16", f16.FromFloat32, f16.ToFloat32, 0x1p-11}
)

// round returns the 16-bit numbers nearest to x, and sets x to their values.
func (h half) round(x []float32) []uint16 {
	v := make([]uint16, len(x))
	for i := range x {
		v[i] = h.to(x[i])
		x[i] = h.from(v[i])
	}
	return v
}

func (h half) values(v []uint16) []float32 {
	x := make([]float32, len(v))
	for i := range v {
		x[i] = h.from(v[i])
	}
	return x
}

// near fails unless every got is within abs + rel·|want| of want.
func near(t testing.TB, what string, got []float32, want []float64, abs, rel float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= abs+rel*math.Abs(w)) {
			t.Fatalf("%s: value %d of %d is %v, want %v", what, i, len(got), got[i], w)
		}
	}
}

// same fails unless the values are equal in their bits.
func same[T uint16 | float32 | int32 | byte](t testing.TB, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if bits(got[i]) != bits(want[i]) {
			t.Fatalf("%s: value %d of %d is %v, want %v", what, i, len(got), got[i], want[i])
		}
	}
}

func bits[T uint16 | float32 | int32 | byte](v T) uint32 {
	b, _ := binary.Append(nil, binary.LittleEndian, v)
	return binary.LittleEndian.Uint32(append(b, 0, 0, 0)[:4])
}

func name(parts ...any) string { return fmt.Sprint(parts...) }
