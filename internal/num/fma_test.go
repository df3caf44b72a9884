package num

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// fmaBig is a*b + c by exact arithmetic and one rounding, for finite arguments.
func fmaBig(a, b, c float32) float32 {
	x := new(big.Float).SetPrec(1100).SetFloat64(float64(a))
	x.Mul(x, new(big.Float).SetPrec(1100).SetFloat64(float64(b)))
	x.Add(x, new(big.Float).SetPrec(1100).SetFloat64(float64(c)))
	if x.Sign() == 0 { // big.Float's sign of zero is not IEEE's in sums
		return float32(float64(a)*float64(b) + float64(c))
	}
	r, _ := x.Float32()
	return r
}

func checkFMA(t *testing.T, a, b, c float32) {
	t.Helper()
	got, want := FMA32(a, b, c), fmaBig(a, b, c)
	if math.Float32bits(got) != math.Float32bits(want) {
		t.Errorf("FMA32(%x, %x, %x) = %x, want %x", a, b, c, got, want)
	}
}

func TestFMA32Random(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	bits := func() float32 {
		for {
			f := math.Float32frombits(rng.Uint32())
			if !math.IsInf(float64(f), 0) && f == f {
				return f
			}
		}
	}
	for range 100000 {
		checkFMA(t, bits(), bits(), bits())
	}
	// Exponents close to each other, and few bits set, so that sums are near ties.
	near := func(e int) float32 {
		m := 1 + float64(rng.Uint32()&0x7fffff&rng.Uint32()&rng.Uint32())/(1<<23)
		if rng.Uint32()&1 != 0 {
			m = -m
		}
		return float32(math.Ldexp(m, e+rng.IntN(60)-30))
	}
	for _, e := range []int{0, -30, 50, -74, -70, -60, 63, 40} {
		for range 30000 {
			checkFMA(t, near(e), near(e), near(2*e))
		}
	}
}

func TestFMA32Hard(t *testing.T) {
	var (
		ulp  = float32(0x1p-23)
		tiny = float32(math.SmallestNonzeroFloat32)
		huge = float32(math.MaxFloat32)
	)
	hard := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 1 + ulp, 1 - ulp/2, 1.5, 0x1p-24, -0x1p-24, 0x1p-25, 0x1p-60, -0x1p-60,
		tiny, -tiny, 3 * tiny, 0x1p-126, 0x1p-126 - tiny, 0x1p-75, -0x1p-75, 0x1.8p-75, 0x1.000002p-63, 0x1p-63, 0x1p-87,
		huge, -huge, 0x1p127, 0x1p103, 0x1.fffffep102, 0x1p64, 0x1p63, 0x1.fffffep63, 8388609, 16777217, 0x1.000002p0, 0x1.fffffep0}
	for _, a := range hard {
		for _, b := range hard {
			for _, c := range hard {
				checkFMA(t, a, b, c)
			}
		}
	}
	inf := float32(math.Inf(1))
	for _, c := range []struct{ a, b, c, want float32 }{
		{inf, 2, 1, inf}, {inf, -2, 1, -inf}, {1, 1, -inf, -inf}, {huge, huge, -inf, -inf}, {huge, huge, 0, inf},
	} {
		if got := FMA32(c.a, c.b, c.c); got != c.want {
			t.Errorf("FMA32(%v, %v, %v) = %v, want %v", c.a, c.b, c.c, got, c.want)
		}
	}
	for _, c := range [][3]float32{{inf, 0, 1}, {inf, 1, -inf}, {float32(math.NaN()), 1, 1}, {1, 1, float32(math.NaN())}} {
		if got := FMA32(c[0], c[1], c[2]); got == got {
			t.Errorf("FMA32(%v) = %v, want NaN", c, got)
		}
	}
}

// TestFMA32DoubleRounding holds a case in which rounding twice is wrong, so that
// the tests above could tell.
func TestFMA32DoubleRounding(t *testing.T) {
	// (1+2^-12)^2 = 1 + 2^-11 + 2^-24 is a tie, and c decides it.
	c := float32(0x1p-60)
	a, b := float32(1+0x1p-12), float32(1+0x1p-12)
	if twice := float32(math.FMA(float64(a), float64(b), float64(c))); twice == fmaBig(a, b, c) {
		t.Fatal("the case does not tell one rounding from two")
	}
	checkFMA(t, a, b, c)
	checkFMA(t, a, b, -c)
	checkFMA(t, -a, b, c)
	checkFMA(t, -a, b, -c)
}

func BenchmarkFMA32(b *testing.B) {
	x := float32(1)
	for b.Loop() {
		x = FMA32(x, 0.999, 0.001)
	}
}
