package cpu

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/internal/f16"
)

var lengths = []int{1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 576, 1000, 1536}

// TestElementwise compares the kernels that work value by value.
func TestElementwise(t *testing.T) {
	generic, _ := For(Generic)
	kernels := []struct {
		name string
		run  func(k *Kernels, dst, a, b []float32)
	}{
		{"Add", (*Kernels).Add},
		{"Mul", (*Kernels).Mul},
		{"SiLUMul", (*Kernels).SiLUMul},
		{"ScaleTo", func(k *Kernels, dst, a, b []float32) { k.ScaleTo(dst, a, b[0]) }},
		{"Finish", func(k *Kernels, dst, a, b []float32) { k.Finish(dst, a, b[0]) }},
		{"merge", func(k *Kernels, dst, a, b []float32) { copy(dst, b); k.merge(dst, a, 0.3, 0.7) }},
		{"toF16", func(k *Kernels, dst, a, b []float32) {
			h := make([]byte, 2*len(a))
			k.toF16(h, a)
			for i := range dst {
				dst[i] = f16.ToFloat32(uint16(h[2*i]) | uint16(h[2*i+1])<<8)
			}
		}},
	}
	forTiers(t, func(t *testing.T, k *Kernels) {
		for _, c := range kernels {
			for i, n := range append(lengths, maxElementsTest+40) {
				rng := newRand(uint64(i))
				a, b := hard(rng, make([]float32, n), true), hard(rng, make([]float32, n), true)
				got, check := canaries(n)
				want := make([]float32, n)
				c.run(k, got, a, b)
				c.run(generic, want, a, b)
				check(t, c.name)
				equal(t, c.name, got, want)
				if c.name != "merge" {
					in := append([]float32(nil), a...)
					c.run(k, in, in, b)
					equal(t, c.name+" in place", in, want)
				}
			}
		}
	})
}

// maxElementsTest is as many values as one assembly call takes.
const maxElementsTest = 1 << 16

// TestExp2 compares every kernel's exponential through SiLUMul on a dense grid.
func TestExp2(t *testing.T) {
	generic, _ := For(Generic)
	const n = 1 << 16
	gate, up, want, got := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range gate {
		gate[i], up[i] = float32(i-n/2)*0x1.3p-8, 1
	}
	generic.SiLUMul(want, gate, up)
	forTiers(t, func(t *testing.T, k *Kernels) {
		k.SiLUMul(got, gate, up)
		equal(t, "SiLUMul", got, want)
	})
	for i, x := range gate {
		exact := float64(x) / (1 + math.Exp(-float64(x)))
		// Below -88 the clamp of exp2 keeps the quotient from vanishing.
		if math.Abs(float64(want[i])-exact) > 1e-5*math.Abs(exact)+2e-36 {
			t.Fatalf("silu(%v) = %v, want %v", x, want[i], exact)
		}
	}
}

func TestRMSNorm(t *testing.T) {
	generic, _ := For(Generic)
	forTiers(t, func(t *testing.T, k *Kernels) {
		for i, n := range lengths {
			for mode := range 4 {
				rng := newRand(uint64(i))
				x, w := normals(rng, make([]float32, n), 2), normals(rng, make([]float32, n), 1)
				switch mode {
				case 1:
					clear(x)
				case 2:
					normals(rng, x, 1e-25)
				case 3:
					hard(rng, x, true)
				}
				got, check := canaries(n)
				want := make([]float32, n)
				k.RMSNorm(got, x, w, 1e-5)
				generic.RMSNorm(want, x, w, 1e-5)
				check(t, "RMSNorm")
				equal(t, "RMSNorm", got, want)
				if mode == 0 {
					ss := 0.0
					for _, v := range x {
						ss += float64(v) * float64(v)
					}
					for j, v := range want {
						exact := float64(x[j]) / math.Sqrt(ss/float64(n)+1e-5) * float64(w[j])
						if math.Abs(float64(v)-exact) > 1e-6*math.Abs(exact) {
							t.Fatalf("RMSNorm: value %d of %d is %v, want %v", j, n, v, exact)
						}
					}
				}
				k.RMSNorm(x, x, w, 1e-5)
				equal(t, "RMSNorm in place", x, want)
			}
		}
	})
	// Many sums, for the order of the additions to show.
	forTiers(t, func(t *testing.T, k *Kernels) {
		for seed := range uint64(200) {
			x := normals(newRand(seed), make([]float32, 64), 1)
			got, want := make([]float32, 64), make([]float32, 64)
			k.RMSNorm(got, x, x, 1e-5)
			generic.RMSNorm(want, x, x, 1e-5)
			equal(t, "RMSNorm", got, want)
		}
	})
	// The lanes and their folding, written out once more.
	x := normals(newRand(9), make([]float32, 40), 1)
	var l [16]float32
	for i, v := range x {
		l[i%16] = float32(math.FMA(float64(v), float64(v), float64(l[i%16])))
	}
	s8 := func(i int) float32 { return l[i] + l[i+8] }
	s4 := func(i int) float32 { return s8(i) + s8(i+4) }
	ss := (s4(0) + s4(2)) + (s4(1) + s4(3))
	r := 1 / float32(math.Sqrt(float64(float32(ss/40)+1e-6)))
	one, got := make([]float32, 40), make([]float32, 40)
	for i := range one {
		one[i] = 1
	}
	generic.RMSNorm(got, x, one, 1e-6)
	for i, v := range got {
		if v != float32(x[i]*r) {
			t.Fatalf("RMSNorm by hand: value %d is %v, want %v", i, v, x[i]*r)
		}
	}
}

func TestRoPE(t *testing.T) {
	generic, _ := For(Generic)
	forTiers(t, func(t *testing.T, k *Kernels) {
		for _, s := range [][3]int{{1, 64, 32}, {3, 64, 32}, {9, 128, 64}, {2, 80, 40}, {2, 80, 16}, {3, 96, 24}, {1, 16, 8}, {2, 10, 5}, {2, 6, 1}, {4, 256, 128}, {2, 8, 4}} {
			heads, dim, pairs := s[0], s[1], s[2]
			for _, interleaved := range []bool{false, true} {
				for _, odd := range []bool{false, true} {
					rng := newRand(uint64(dim))
					x, check := canaries(heads * dim)
					normals(rng, x, 1)
					if odd {
						hard(rng, x, true)
					}
					cos, sin := make([]float32, pairs), make([]float32, pairs)
					for i := range cos {
						s, c := math.Sincos(rng.Float64() * 100)
						sin[i], cos[i] = float32(s), float32(c)
					}
					want := append([]float32(nil), x...)
					before := append([]float32(nil), x...)
					k.RoPE(x, heads, dim, cos, sin, interleaved)
					generic.RoPE(want, heads, dim, cos, sin, interleaved)
					what := label("RoPE ", heads, "x", dim, " pairs ", pairs, " interleaved ", interleaved)
					check(t, what)
					equal(t, what, x, want)
					for h := range heads {
						equal(t, what+": rest of the head", want[h*dim+2*pairs:(h+1)*dim], before[h*dim+2*pairs:(h+1)*dim])
						for i := 0; i < pairs && !odd; i++ {
							p, q := h*dim+i, h*dim+i+pairs
							if interleaved {
								p, q = h*dim+2*i, h*dim+2*i+1
							}
							a, b, c, s := float64(before[p]), float64(before[q]), float64(cos[i]), float64(sin[i])
							if math.Abs(float64(want[p])-(a*c-b*s)) > 1e-6 || math.Abs(float64(want[q])-(b*c+a*s)) > 1e-6 {
								t.Fatalf("%s: pair %d of head %d is wrong", what, i, h)
							}
						}
					}
				}
			}
		}
	})
}

func TestArgMax(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	forTiers(t, func(t *testing.T, k *Kernels) {
		for _, n := range append([]int{200, 65536, 65536*2 + 77}, lengths...) {
			for seed := range uint64(12) {
				rng := newRand(seed)
				x := normals(rng, make([]float32, n), 1)
				switch seed {
				case 0, 1:
					hard(rng, x, true)
				case 2: // many ties
					for i := range x {
						x[i] = float32(rng.IntN(3))
					}
				case 3, 4, 5, 6: // nothing but NaN, -Inf and zeros
					for i := range x {
						x[i] = []float32{nan, -inf, float32(math.Copysign(0, -1)), 0}[rng.IntN(int(seed)-2)]
					}
				case 7:
					for i := range x {
						x[i] = nan
					}
					x[n-1] = -inf
				case 8:
					for i := range x {
						x[i] = -inf
					}
				case 9, 10, 11: // one NaN in ten, or nearly all
					for i := range x {
						if (rng.IntN(10) == 0) != (seed == 11) {
							x[i] = nan
						}
					}
				}
				if got, want := k.ArgMax(x), genericArgMax(x); got != want {
					t.Fatalf("n %d, seed %d: ArgMax = %d, want %d", n, seed, got, want)
				}
			}
		}
		for _, c := range []struct {
			x    []float32
			want int
		}{{nil, 0}, {[]float32{nan, nan}, 0}, {[]float32{nan, -inf, nan}, 1}, {[]float32{1, 3, 3, 2}, 1}, {[]float32{nan, 1, inf, nan, inf}, 2}} {
			if got := k.ArgMax(c.x); got != c.want {
				t.Errorf("ArgMax(%v) = %d, want %d", c.x, got, c.want)
			}
		}
	})
}
