package cuda

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/weights"
)

// matrix is weights as a file has them, as numbers, and as the device has them.
type matrix struct {
	kind   string // in kernels' names
	n, k   int
	values []float32
	device Ptr
}

var kinds = map[string]graph.DType{"bf16": graph.BF16, "q8_0": graph.Q8_0, "q4_0": graph.Q4_0, "q4_k": graph.Q4_K}

// newMatrix makes random blocks, whose scales are f16 of either sign.
func newMatrix(g *gpu, rng *rand.Rand, kind string, n, k int) *matrix {
	g.t.Helper()
	t := kinds[kind]
	raw := make([]byte, n*t.RowBytes(k))
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	scale := func(b []byte, size float64) {
		v := f16.FromFloat32(float32(rng.NormFloat64() * size))
		b[0], b[1] = byte(v), byte(v>>8)
	}
	for b := raw; len(b) > 0; b = b[t.BlockBytes():] {
		switch t {
		case graph.BF16:
			v := f16.FromFloat32BF16(float32(rng.NormFloat64()))
			b[0], b[1] = byte(v), byte(v>>8)
		case graph.Q4_K:
			scale(b, 0.01)
			scale(b[2:], 0.01)
		default:
			scale(b, 0.1)
		}
	}
	m := &matrix{kind: kind, n: n, k: k, values: make([]float32, n*k)}
	if err := weights.Dequantize(t, m.values, raw); err != nil {
		g.t.Fatal(err)
	}
	bytes, err := PackedBytes(t, n, k)
	if err != nil {
		g.t.Fatal(err)
	}
	packed := make([]byte, 0, bytes)
	for tile := range (n + TileRows - 1) / TileRows { // as a loader would stream it
		part, err := PackedBytes(t, min(TileRows, n-tile*TileRows), k)
		if err != nil {
			g.t.Fatal(err)
		}
		b := make([]byte, part)
		for i := range b {
			b[i] = 0xcd
		}
		Pack(b, t, n, k, raw, tile, tile+1)
		packed = append(packed, b...)
	}
	if len(packed) != bytes {
		g.t.Fatalf("%s %dx%d: packed parts have %d bytes, the whole %d", kind, n, k, len(packed), bytes)
	}
	m.device = put(g, packed)
	return m
}

func TestPackedBytesRefuses(t *testing.T) {
	for _, c := range []struct {
		t    graph.DType
		n, k int
	}{{graph.F32, 1, 32}, {graph.I32, 1, 32}, {graph.Q4_0, 0, 32}, {graph.Q4_0, 1, 0}, {graph.Q4_0, 1, 48}, {graph.Q4_K, 1, 128}, {graph.BF16, 1, 12}} {
		if n, err := PackedBytes(c.t, c.n, c.k); err == nil {
			t.Errorf("%v %dx%d: %d bytes, want an error", c.t, c.n, c.k, n)
		}
	}
}

// TestUnpack shows that the packed layout loses nothing: exactly the numbers of
// weights.Dequantize come back.
func TestUnpack(t *testing.T) {
	for _, kind := range []string{"q8_0", "q4_0", "q4_k"} {
		for i, c := range [][2]int{{16, 256}, {37, 1280}} {
			g := newGPU(t)
			g.arch = Archs[i]
			m := newMatrix(g, newRand(3), kind, c[0], c[1])
			p := &UnpackParams{W: m.device, Out: room[uint16](g, m.n*m.k), N: uint32(m.n), K: uint32(m.k)}
			g.run("unpack_"+kind, p)
			same(t, kind, get[uint16](g, p.Out, m.n*m.k), asBF16.round(m.values))
		}
	}
}

func TestEmbed(t *testing.T) {
	for kind := range kinds {
		g := newGPU(t)
		m := newMatrix(g, newRand(4), kind, 50, 1280)
		p := &EmbedParams{
			ID: put(g, []int32{7, -1, 49, 50, -1, -2}), Rows: put(g, []int32{0, 3, 2, 1, -1, 0}), Sampled: put(g, []int32{99, 99, 99, 33}),
			Table: m.device, Out: room[float32](g, 6*m.k), Tokens: 6, Vocab: 50, Dim: uint32(m.k), Scale: 0.5,
		}
		g.run("embed_"+kind, p)
		want := make([]float32, 6*m.k)
		for i, id := range []int{7, 33, 49} {
			for k, v := range m.values[id*m.k:][:m.k] {
				want[i*m.k+k] = v * 0.5
			}
		}
		same(t, kind, get[float32](g, p.Out, 6*m.k), want)
	}
}

// linear runs a kernel over the first rows of x and returns y.
func (m *matrix) linear(g *gpu, kernel string, x []uint16, xStride, rows int, bias []float32, store Store, y []float32) []float32 {
	g.t.Helper()
	p := &LinearParams{
		W: m.device, X: put(g, x), Rows: uint32(rows), N: uint32(m.n), K: uint32(m.k), XStride: uint32(xStride), YStride: uint32(m.n + 3), Store: store,
	}
	if bias != nil {
		p.Bias = put(g, bias)
	}
	out := make([]float32, rows*m.n)
	if store == StoreBF16 {
		p.Y = room[uint16](g, rows*(m.n+3))
	} else {
		p.Y = put(g, y)
	}
	g.run(kernel, p)
	for r := range rows {
		if store == StoreBF16 {
			copy(out[r*m.n:], asBF16.values(get[uint16](g, p.Y+Ptr(2*r*(m.n+3)), m.n)))
		} else {
			copy(out[r*m.n:], get[float32](g, p.Y+Ptr(4*r*(m.n+3)), m.n))
		}
	}
	return out
}

// reference is x · Wᵀ in float64, and the sum of the products' sizes, which is
// what errors are measured by.
func (m *matrix) reference(x []float32, xStride, rows int) (y, size []float64) {
	y, size = make([]float64, rows*m.n), make([]float64, rows*m.n)
	for r := range rows {
		for n := range m.n {
			for k := range m.k {
				v := float64(x[r*xStride+k]) * float64(m.values[n*m.k+k])
				y[r*m.n+n] += v
				size[r*m.n+n] += math.Abs(v)
			}
		}
	}
	return y, size
}

// within fails unless each got is within limit·size of want.
func within(t *testing.T, what string, got []float32, want, size []float64, limit float64) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= limit*size[i]) {
			t.Fatalf("%s: value %d of %d is %v, want %v", what, i, len(want), got[i], want[i])
		}
	}
}

// TestLinear compares every kernel with float64, and shows that a row's bits
// depend neither on the kernel nor on the other rows.
func TestLinear(t *testing.T) {
	for _, c := range []struct {
		kind string
		n, k int
		rows int
	}{
		{"bf16", 40, 584, 70}, {"bf16", 16, 64, 1}, {"bf16", 33, 1032, 9},
		{"q8_0", 40, 608, 70}, {"q8_0", 17, 32, 3}, {"q8_0", 32, 2048, 16},
		{"q4_0", 40, 608, 70}, {"q4_0", 17, 32, 3}, {"q4_0", 32, 2048, 16},
		{"q4_k", 40, 768, 70}, {"q4_k", 17, 256, 3}, {"q4_k", 24, 4352, 16},
	} {
		t.Run(name(c.kind, "/", c.n, "x", c.k, "/", c.rows), func(t *testing.T) {
			g, rng := newGPU(t), newRand(uint64(c.n*c.k))
			m := newMatrix(g, rng, c.kind, c.n, c.k)
			xStride := c.k + 8
			x := normals(rng, c.rows*xStride, 1)
			bits := asBF16.round(x)
			for r := range c.rows { // what stands between rows is no number
				for i := c.k; i < xStride; i++ {
					bits[r*xStride+i] = 0x7fc0
				}
			}
			y, bias := normals(rng, c.rows*(c.n+3), 1), normals(rng, c.n, 1)
			want, size := m.reference(x, xStride, c.rows)

			zero := make([]float32, len(y))
			got := m.linear(g, "linear_"+c.kind+"_64", bits, xStride, c.rows, nil, StoreF32, zero)
			within(t, "f32", got, want, size, 1e-6)
			for i := range want {
				want[i] += float64(bias[i%c.n]) + float64(y[i/c.n*(c.n+3)+i%c.n])
				size[i] += 10
			}
			sum := m.linear(g, "linear_"+c.kind+"_64", bits, xStride, c.rows, bias, AddF32, y)
			within(t, "residual", sum, want, size, 1e-6)

			for _, shape := range []struct {
				suffix string
				rows   int
			}{{"_8", 1}, {"_8", 8}, {"_16", 11}, {"_16", 16}, {"_64", 2}, {"_16", 33}, {"_8", 9}} {
				n := min(shape.rows, c.rows)
				kernel := "linear_" + c.kind + shape.suffix
				few := m.linear(g, kernel, bits, xStride, n, nil, StoreF32, zero)
				same(t, name(kernel, " of ", n), few, got[:n*c.n])
				few = m.linear(g, kernel, bits, xStride, n, nil, StoreBF16, nil)
				rounded := append([]float32(nil), got[:n*c.n]...)
				asBF16.round(rounded)
				same(t, name(kernel, " of ", n, ", bf16"), few, rounded)
			}
		})
	}
}

func TestGEMM(t *testing.T) {
	for _, c := range []struct{ n, k, rows int }{{66, 200, 65}, {300, 72, 140}, {2, 8, 1}, {64, 320, 700}} {
		g, rng := newGPU(t), newRand(uint64(c.n))
		m := newMatrix(g, rng, "bf16", c.n, c.k)
		x := normals(rng, c.rows*(c.k+8), 1)
		bits := asBF16.round(x)
		want, size := m.reference(x, c.k+8, c.rows)
		bias, y := normals(rng, c.n, 1), normals(rng, c.rows*(c.n+2), 1)
		p := &GEMMParams{
			W: m.device, X: put(g, bits), Rows: uint32(c.rows), N: uint32(c.n), K: uint32(c.k), XStride: uint32(c.k + 8), YStride: uint32(c.n + 2),
		}
		var first []float32
		for i, kernel := range []string{"gemm_64x64", "gemm_128x256"} {
			if kernel == "gemm_128x256" && c.rows == 700 {
				continue // the bands of tiles are what this case is for
			}
			g.arch = Archs[i]
			p.Y, p.Store, p.Bias = put(g, make([]float32, len(y))), StoreF32, 0
			g.run(kernel, p)
			got := get[float32](g, p.Y, len(y))
			for r := range c.rows {
				within(t, kernel, got[r*(c.n+2):][:c.n], want[r*c.n:][:c.n], size[r*c.n:], 1e-6)
			}
			if first == nil {
				first = got
			}
			same(t, kernel+" of another tile", got, first)

			p.Y, p.Store, p.Bias = put(g, y), AddF32, put(g, bias)
			g.run(kernel, p)
			sum := get[float32](g, p.Y, len(y))
			b := room[uint16](g, len(y))
			p.Y, p.Store, p.Bias = b, StoreBF16, 0
			g.run(kernel, p)
			rounded := get[uint16](g, b, len(y))
			for i := range got {
				if r, n := i/(c.n+2), i%(c.n+2); n < c.n {
					if sum[i] != y[i]+(got[i]+bias[n]) || rounded[i] != f16.FromFloat32BF16(got[i]) {
						t.Fatalf("%s: row %d output %d: sum %v, rounded %x, of %v", kernel, r, n, sum[i], rounded[i], got[i])
					}
				}
			}
		}
	}
}
