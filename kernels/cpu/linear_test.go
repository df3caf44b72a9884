package cpu

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/internal/num"
)

// floatModelRow is one output of float weights, from the raw row.
func floatModelRow(t graph.DType, row []byte, x []float32) float32 {
	y := float32(0)
	for i, v := range x {
		var w float32
		switch t {
		case graph.F32:
			w = math.Float32frombits(binary.LittleEndian.Uint32(row[4*i:]))
		case graph.F16:
			w = f16.ToFloat32(binary.LittleEndian.Uint16(row[2*i:]))
		case graph.BF16:
			w = math.Float32frombits(uint32(binary.LittleEndian.Uint16(row[2*i:])) << 16)
		}
		y = num.FMA32(v, w, y)
	}
	return y
}

// activations returns m tokens of k values that exercise the quantiser.
func activations(m, k, stride int, seed uint64) []float32 {
	rng := newRand(seed)
	x := normals(rng, make([]float32, (m-1)*stride+k), 1)
	for t := range m {
		for b := 0; b < k; b += 32 {
			p := x[t*stride+b:][:min(32, k-b)]
			switch rng.IntN(12) {
			case 0:
				clear(p)
			case 1: // subnormal, and below the least amax
				normals(rng, p, 1e-39)
			case 2:
				normals(rng, p, 0x1p-100)
			case 3:
				normals(rng, p, 1e20)
			case 4: // all ±127
				for i := range p {
					p[i] = float32(3 * (1 - 2*int(rng.Uint32()&1)))
				}
			case 5: // all 127
				for i := range p {
					p[i] = -0.7
				}
			case 6: // ties: q + 1/2
				for i := range p {
					p[i] = float32(rng.IntN(253)-126) / 2
				}
				p[0] = 127
			case 7: // within a rounding of q + 1/2, so that x·r differs from x/d
				for i := range p {
					p[i] = float32((float64(rng.IntN(253)-126) + 0.5) * 5.3 / 127)
				}
				p[len(p)-1] = 5.3
			}
		}
	}
	return x
}

// TestLinear compares every tier, type and tile with the model, in bits, and the
// model with the sum in float64.
func TestLinear(t *testing.T) {
	forTiers(t, func(t *testing.T, k *Kernels) {
		for _, typ := range append(append([]graph.DType{}, quantTypes...), floatTypes...) {
			shapes := [][2]int{{1, 32}, {16, 64}, {33, 96}, {100, 32}, {48, 576}}
			if typ.BlockElems() == 256 {
				shapes = [][2]int{{1, 256}, {33, 512}, {48, 256}}
			} else if !typ.Quantised() {
				shapes = append(shapes, [2]int{5, 1}, [2]int{17, 2}, [2]int{16, 3}, [2]int{20, 7}, [2]int{16, 37})
			}
			for i, s := range shapes {
				testLinear(t, k, typ, s[0], s[1], uint64(i))
			}
		}
	})
}

func testLinear(t *testing.T, k *Kernels, typ graph.DType, rows, kdim int, seed uint64) {
	raw := randomRows(newRand(seed), typ, rows, kdim)
	w := pack(t, typ, rows, kdim, raw)
	xStride, padded := kdim+3, w.Groups()*GroupRows
	x := activations(MaxTile, kdim, xStride, seed+100)
	want := make([]float32, MaxTile*rows)
	for r := range rows {
		row := raw[r*typ.RowBytes(kdim):][:typ.RowBytes(kdim)]
		var gs []group
		if typ.Quantised() {
			gs = groupsOf(typ, row, kdim)
		}
		for tok := range MaxTile {
			in := x[tok*xStride:][:kdim]
			if !typ.Quantised() {
				want[tok*rows+r] = floatModelRow(typ, row, in)
				continue
			}
			got := modelRow(gs, in)
			want[tok*rows+r] = got
			if exact, tol := exactRow(gs, in); math.Abs(float64(got)-exact) > tol {
				t.Fatalf("%v: row %d of token %d is %v, in float64 %v ± %v", typ, r, tok, got, exact, tol)
			}
		}
	}
	for m := 1; m <= MaxTile; m++ {
		for first := 0; first+m <= MaxTile; first += max(1, MaxTile-m) {
			tile := tileOf(k, w, x[first*xStride:], xStride, m)
			yStride := padded + 5
			y, check := canaries((m-1)*yStride + padded)
			cut := w.Groups() / 3
			k.Linear(y, yStride, tile, m, w, cut, w.Groups())
			k.Linear(y, yStride, tile, m, w, 0, cut)
			what := label(typ, " ", rows, "x", kdim, " m=", m, " first=", first)
			check(t, what)
			for tok := range m {
				equal(t, what, y[tok*yStride:][:rows], want[(first+tok)*rows:][:rows])
				if tok+1 < m {
					for _, v := range y[tok*yStride+padded:][:5] {
						if math.Float32bits(v) != canary {
							t.Fatalf("%s: wrote between the rows of y", what)
						}
					}
				}
			}
		}
	}
}

// TestLinearLong has more groups than one assembly call takes.
func TestLinearLong(t *testing.T) {
	const rows, kdim, m = 16 * 40, 2048, 8
	for _, typ := range []graph.DType{graph.Q4_1, graph.Q8_0, graph.F16} {
		w := pack(t, typ, rows, kdim, randomRows(newRand(1), typ, rows, kdim))
		x := activations(m, kdim, kdim, 2)
		want := make([]float32, m*rows)
		generic, _ := For(Generic)
		// The last groups and one in between are enough for the slow tier.
		tile := tileOf(generic, w, x, kdim, m)
		for _, g := range []int{0, 17, 39} {
			generic.Linear(want, rows, tile, m, w, g, g+1)
		}
		forTiers(t, func(t *testing.T, k *Kernels) {
			if k.Tier == Generic {
				return
			}
			y := make([]float32, m*rows)
			tile := tileOf(k, w, x, kdim, m)
			k.Linear(y, rows, tile, m, w, 0, w.Groups())
			for tok := range m {
				for _, g := range []int{0, 17, 39} {
					equal(t, typ.String(), y[tok*rows+16*g:][:16], want[tok*rows+16*g:][:16])
				}
			}
		})
	}
}

// TestQuantize compares the tiles of all tiers byte for byte. A token that is not
// finite must not disturb the others and gives NaN everywhere.
func TestQuantize(t *testing.T) {
	generic, _ := For(Generic)
	forTiers(t, func(t *testing.T, k *Kernels) {
		for seed := range uint64(60) {
			m, kdim := int(seed)%MaxTile+1, 32*(1+int(seed)%7)
			x := activations(m, kdim, kdim, seed)
			hardFrom := m
			if seed%3 == 0 {
				hardFrom = m / 2
				hard(newRand(seed), x[hardFrom*kdim:], seed%2 == 0)
			}
			got, want := aligned(TileBytes(kdim, m)+64), aligned(TileBytes(kdim, m)+64)
			for i := range got {
				got[i], want[i] = 0xa5, 0xa5
			}
			k.Quantize(got, x, kdim, kdim, m)
			generic.Quantize(want, x, kdim, kdim, m)
			if !bytes.Equal(got, want) {
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("seed %d, m %d, k %d: byte %d of a tile (block of %d) is %#x, want %#x", seed, m, kdim, i, 48*m, got[i], want[i])
					}
				}
			}
		}
	})
}

func TestLinearNotFinite(t *testing.T) {
	const rows, kdim, m = 16, 64, 3
	for _, bad := range []float32{float32(math.Inf(1)), float32(math.NaN())} {
		for _, typ := range quantTypes {
			if typ.BlockElems() != 32 {
				continue
			}
			w := pack(t, typ, rows, kdim, randomRows(newRand(3), typ, rows, kdim))
			x := normals(newRand(4), make([]float32, m*kdim), 1)
			forTiers(t, func(t *testing.T, k *Kernels) {
				clean, y := make([]float32, m*rows), make([]float32, m*rows)
				k.Linear(clean, rows, tileOf(k, w, x, kdim, m), m, w, 0, 1)
				old := x[kdim+40]
				x[kdim+40] = bad
				k.Linear(y, rows, tileOf(k, w, x, kdim, m), m, w, 0, 1)
				x[kdim+40] = old
				for r := range rows {
					if v := y[rows+r]; v == v {
						t.Errorf("%v: row %d of a token with %v is %v", typ, r, bad, v)
					}
				}
				equal(t, "token before", y[:rows], clean[:rows])
				equal(t, "token behind", y[2*rows:], clean[2*rows:])
			})
		}
	}
}

func TestPackedBytes(t *testing.T) {
	for _, c := range []struct {
		t       graph.DType
		rows, k int
		want    int // 0 for an error
	}{
		{graph.Q4_1, 16, 32, 320}, {graph.Q4_1, 17, 64, 1280}, {graph.Q4_0, 16, 32, 288}, {graph.Q4_0, 16, 64, 576},
		{graph.Q8_0, 32, 64, 2176}, {graph.Q4_K, 16, 256, 2368}, {graph.Q5_0, 16, 32, 352},
		{graph.Q5_1, 16, 32, 384}, {graph.Q5_K, 16, 256, 2880}, {graph.Q6_K, 1, 256, 3360}, {graph.F16, 16, 1, 64}, {graph.F32, 16, 3, 192},
		{graph.Q4_1, 16, 48, 0}, {graph.Q4_K, 16, 128, 0}, {graph.I32, 16, 32, 0}, {graph.Invalid, 1, 32, 0}, {graph.F32, 0, 32, 0},
		{graph.F32, 1, 0, 0}, {graph.DType(200), 1, 32, 0},
	} {
		got, err := PackedBytes(c.t, c.rows, c.k)
		if (err != nil) != (c.want == 0) || err == nil && got != c.want {
			t.Errorf("PackedBytes(%v, %d, %d) = %d, %v; want %d", c.t, c.rows, c.k, got, err, c.want)
		}
	}
}

// TestPackOverwrites: packing leaves nothing of what was there, in whole groups
// and in the last one.
func TestPackOverwrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for dt := graph.F32; dt < graph.I32; dt++ {
		for _, n := range []int{1, 15, 16, 17} {
			const k = 512
			in := make([]byte, n*dt.RowBytes(k))
			for i := range in {
				in[i] = byte(rng.Uint32())
			}
			size, err := PackedBytes(dt, n, k)
			if err != nil {
				t.Fatal(err)
			}
			clean, dirty := make([]byte, size), make([]byte, size)
			for i := range dirty {
				dirty[i] = 0xaa
			}
			groups := (n + GroupRows - 1) / GroupRows
			Pack(clean, dt, n, k, in, 0, groups)
			Pack(dirty, dt, n, k, in, 0, groups)
			if !bytes.Equal(clean, dirty) {
				t.Errorf("%v, %d rows: something is left", dt, n)
			}
		}
	}
}

// TestPackWords: the fast way of packing gives what the general one does.
func TestPackWords(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, dt := range []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q8_0} {
		const n, k = 15, 96
		f := formatOf(dt)
		in := make([]byte, n*dt.RowBytes(k))
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		fast, general := make([]byte, f.groupBytes(k)), make([]byte, f.groupBytes(k))
		packWords(fast, in, f, dt, n, k)
		packBlocks(general, in, f, dt, n, k)
		if !bytes.Equal(fast, general) {
			t.Errorf("%v: packed otherwise", dt)
		}
	}
}
