package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/graph"
)

// quantTypes and floatTypes are the weight types that Linear takes.
var (
	quantTypes = []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q4_K, graph.Q5_0, graph.Q5_1, graph.Q5_K, graph.Q6_K, graph.Q8_0}
	floatTypes = []graph.DType{graph.F32, graph.F16, graph.BF16}
)

// kvTypes are the types of KV; quants are of 32 dimensions.
var kvTypes = []graph.DType{graph.F32, graph.F16, graph.Q8_0}

// kvDims returns those of dims that KV of type t can have.
func kvDims(t graph.DType, dims ...int) []int {
	return slices.DeleteFunc(dims, func(d int) bool { return d%t.BlockElems() != 0 })
}

// forTiers runs f as a subtest for each tier of this machine.
func forTiers(t *testing.T, f func(t *testing.T, k *Kernels)) {
	for _, tier := range append(Tiers(), emulated...) {
		t.Run(tier.String(), func(t *testing.T) { f(t, &Kernels{Tier: tier}) })
	}
}

// same reports whether two results are equal in their bits; any two NaNs are.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// equal fails unless got and want are the same.
func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Fatalf("%s: value %d of %d is %v (%08x), want %v (%08x)", what, i, len(got),
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

const canary = 0x7fc0ca7a // a NaN that no kernel makes

// canaries returns n floats with a tail of canaries, which check looks at.
func canaries(n int) (x []float32, check func(t *testing.T, what string)) {
	const tail = 40
	all := make([]float32, n+tail)
	for i := range all {
		all[i] = math.Float32frombits(canary)
	}
	return all[:n:n], func(t *testing.T, what string) {
		t.Helper()
		for i, v := range all[n:] {
			if math.Float32bits(v) != canary {
				t.Fatalf("%s: wrote %d behind the end", what, i)
			}
		}
	}
}

// aligned returns n zero bytes on a 64-byte address.
func aligned(n int) []byte {
	b := make([]byte, n+64)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & 63)
	return b[skip : skip+n : skip+n]
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 77)) }

// normals fills x with normally distributed values.
func normals(rng *rand.Rand, x []float32, scale float64) []float32 {
	for i := range x {
		x[i] = float32(rng.NormFloat64() * scale)
	}
	return x
}

// hard fills x with values of all kinds; special ones beyond finite only if odd.
func hard(rng *rand.Rand, x []float32, odd bool) []float32 {
	list := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 1e-40, -1e-45, 0x1p-126, 3e38, -3e38, 126.5, -126, 127, -127.5, 1e-20, 88, -88}
	if odd {
		list = append(list, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()))
	}
	for i := range x {
		switch rng.IntN(4) {
		case 0:
			x[i] = list[rng.IntN(len(list))]
		case 1:
			x[i] = float32(rng.NormFloat64())
		case 2:
			x[i] = float32(rng.NormFloat64() * 100)
		default:
			for {
				if x[i] = math.Float32frombits(rng.Uint32()); odd || x[i]-x[i] == 0 {
					break
				}
			}
		}
	}
	return x
}

// pack returns the matrix of raw GGUF rows, packed in uneven parts.
func pack(tb testing.TB, t graph.DType, rows, k int, raw []byte) *Matrix {
	tb.Helper()
	n, err := PackedBytes(t, rows, k)
	if err != nil {
		tb.Fatal(err)
	}
	m := &Matrix{Type: t, Rows: rows, K: k, Data: aligned(n)}
	for i := range m.Data {
		m.Data[i] = 0xa5
	}
	half := m.Groups() / 2
	Pack(m.Data, t, rows, k, raw, half, m.Groups())
	Pack(m.Data, t, rows, k, raw, 0, half)
	return m
}

// tileOf prepares m tokens for a matrix.
func tileOf(k *Kernels, w *Matrix, x []float32, stride, m int) []byte {
	if Int8Weights(w.Type) {
		tile := aligned(TileBytes(w.K, m))
		k.Quantize(tile, x, stride, w.K, m)
		return tile
	}
	tile := aligned(FloatTileBytes(w.K, m))
	k.FloatTile(tile, x, stride, w.K, m)
	return tile
}

func label(args ...any) string { return fmt.Sprint(args...) }
