package num

import (
	"math"
	"math/big"
	"testing"
)

// splitMix is the generator of G. L. Steele, D. Lea and C. H. Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014: integers only, so
// that every architecture draws the same inputs.
type splitMix uint64

func (s *splitMix) bits() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// between returns a number of [lo, hi), evenly spread.
func (s *splitMix) between(lo, hi float64) float64 {
	u := float64(s.bits()>>11) * 0x1p-53
	return lo + float64(u*(hi-lo))
}

// scaled returns a number of either sign with an evenly spread binary exponent
// of [lo, hi).
func (s *splitMix) scaled(lo, hi int) float64 {
	b := s.bits()
	exp := uint64(1023 + lo + int(s.bits()%uint64(hi-lo)))
	return math.Float64frombits(b&(1<<63|1<<52-1) | exp<<52)
}

// worst runs f on inputs, compares with want, and fails above limit ulp.
func worst(t *testing.T, name string, limit float64, inputs []float64, f func(float64) float64, want func(*big.Float) *big.Float) {
	t.Helper()
	var top, at float64
	for _, x := range inputs {
		if e := ulps(f(x), want(bigFloat(x))); !(e <= top) {
			top, at = e, x
		}
	}
	t.Logf("%s: at most %.4f ulp, at %v", name, top, at)
	if !(top <= limit) {
		t.Errorf("%s(%v) = %v is off by %.4f ulp, want at most %.2f", name, at, f(at), top, limit)
	}
}

// draw returns n inputs of gen, behind the given ones.
func draw(n int, gen func() float64, with ...float64) []float64 {
	for range n {
		with = append(with, gen())
	}
	return with
}

func TestExpError(t *testing.T) {
	var s splitMix = 1
	worst(t, "Exp", 0.54, draw(2000, func() float64 { return s.between(-700, 700) }, 709.78, -708.3, 1), Exp, bigExp)
	worst(t, "Exp near 0", 0.54, draw(2000, func() float64 { return s.scaled(-60, 1) }, 0), Exp, bigExp)
	worst(t, "Exp in the sampler's range", 0.54, draw(2000, func() float64 { return s.between(-30, 0) }), Exp, bigExp)
	worst(t, "Exp subnormal", 0.79, draw(2000, func() float64 { return s.between(-745, -708) }), Exp, bigExp)
}

func TestLogError(t *testing.T) {
	var s splitMix = 2
	worst(t, "Log", 0.51, draw(1500, func() float64 { return math.Abs(s.scaled(-1022, 1023)) }, 5e-324, 2.2e-310, math.MaxFloat64), Log, bigLog)
	worst(t, "Log near 1", 0.51, draw(3000, func() float64 { return 1 + s.scaled(-50, -1) }, 1, 1.0/256+1, 3.0/256+1), Log, bigLog)
	worst(t, "Log to 1e6", 0.51, draw(1500, func() float64 { return s.between(0, 1e6) }), Log, bigLog)
}

func TestPowError(t *testing.T) {
	var s splitMix = 3
	var top float64
	for i := range 3000 {
		x, y := math.Abs(s.scaled(-40, 40)), s.between(-17, 17)
		if i%2 == 0 { // a RoPE frequency: base^(-2i/d)
			x, y = s.between(1000, 5e6), -s.between(0, 1)
		}
		want := bigExp(bigNew().Mul(bigFloat(y), bigLog(bigFloat(x))))
		e := ulps(Pow(x, y), want)
		top = max(top, e)
		if !(e <= 0.54) {
			t.Fatalf("Pow(%v, %v) = %v is off by %.4f ulp", x, y, Pow(x, y), e)
		}
	}
	t.Logf("Pow: at most %.4f ulp", top)
	for n := -1074; n <= 1023; n++ {
		if got, want := Pow(2, float64(n)), math.Ldexp(1, n); got != want {
			t.Fatalf("Pow(2, %d) = %v, want %v", n, got, want)
		}
	}
	for n := range 23 {
		want, _ := new(big.Float).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)).Float64()
		if got := Pow(10, float64(n)); got != want {
			t.Fatalf("Pow(10, %d) = %v, want %v", n, got, want)
		}
	}
}

func TestSinCosError(t *testing.T) {
	sin := func(x *big.Float) *big.Float { s, _ := bigSinCos(x); return s }
	cos := func(x *big.Float) *big.Float { _, c := bigSinCos(x); return c }
	var s splitMix = 4
	sets := map[string][]float64{
		"in the first turn": draw(1000, func() float64 { return s.between(-6.3, 6.3) }, math.Pi/2, math.Pi, 3*math.Pi/2),
		"to 2^27":           draw(1000, func() float64 { return s.between(-MaxAngle, MaxAngle) }, MaxAngle, -MaxAngle),
		"small":             draw(1000, func() float64 { return s.scaled(-60, 0) }),
		// positions are integers, frequencies base^(-2i/d)
		"of RoPE angles": draw(1000, func() float64 {
			return float64(s.bits()>>40) * Pow(500000, -s.between(0, 1))
		}, 1<<24, 1<<24-1),
		// the float64 nearest to n·pi/2
		"near their zeros": draw(1000, func() float64 {
			x := bigNew().Mul(bigPi, bigInt(int64(s.bits()>>38)))
			f, _ := x.SetMantExp(x, -1).Float64()
			return f
		}, 6381956970095103*0x1p-27), // near 2^25.5
	}
	for name, inputs := range sets {
		worst(t, "Sin "+name, 0.8, inputs, Sin, sin)
		worst(t, "Cos "+name, 0.8, inputs, Cos, cos)
	}
}

func TestTanhError(t *testing.T) {
	var s splitMix = 5
	worst(t, "Tanh", 0.52, draw(2000, func() float64 { return s.between(-20, 20) }), Tanh, bigTanh)
	worst(t, "Tanh small", 0.52, draw(2000, func() float64 { return s.scaled(-40, 1) }), Tanh, bigTanh)
}

func TestSpecialValues(t *testing.T) {
	inf, nan, negZero := math.Inf(1), math.NaN(), math.Copysign(0, -1)
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"Exp(0)", Exp(0), 1}, {"Exp(-0)", Exp(negZero), 1},
		{"Exp(+Inf)", Exp(inf), inf}, {"Exp(-Inf)", Exp(-inf), 0}, {"Exp(NaN)", Exp(nan), nan},
		{"Exp(709.782712893384)", Exp(709.782712893384), 1.7976931348622732e308}, {"Exp(709.783)", Exp(709.783), inf},
		{"Exp(-745.1)", Exp(-745.1), 5e-324}, {"Exp(-745.14)", Exp(-745.14), 0}, {"Exp(-1e300)", Exp(-1e300), 0},
		{"Log(1)", Log(1), 0}, {"Log(0)", Log(0), -inf}, {"Log(-0)", Log(negZero), -inf},
		{"Log(-1)", Log(-1), nan}, {"Log(-Inf)", Log(-inf), nan}, {"Log(+Inf)", Log(inf), inf}, {"Log(NaN)", Log(nan), nan},
		{"Pow(NaN, 0)", Pow(nan, 0), 1}, {"Pow(1, NaN)", Pow(1, nan), 1}, {"Pow(-2, 2)", Pow(-2, 2), nan},
		{"Pow(NaN, 1)", Pow(nan, 1), nan}, {"Pow(2, NaN)", Pow(2, nan), nan}, {"Pow(3, 1)", Pow(3, 1), 3},
		{"Pow(0, 2)", Pow(0, 2), 0}, {"Pow(0, -2)", Pow(0, -2), inf}, {"Pow(Inf, 2)", Pow(inf, 2), inf}, {"Pow(Inf, -2)", Pow(inf, -2), 0},
		{"Pow(2, Inf)", Pow(2, inf), inf}, {"Pow(2, -Inf)", Pow(2, -inf), 0}, {"Pow(0.5, Inf)", Pow(0.5, inf), 0},
		{"Pow(10, 400)", Pow(10, 400), inf}, {"Pow(10, -400)", Pow(10, -400), 0}, {"Pow(5e-324, 1)", Pow(5e-324, 1), 5e-324},
		{"Sin(0)", Sin(0), 0}, {"Sin(-0)", Sin(negZero), negZero}, {"Sin(Inf)", Sin(inf), nan}, {"Sin(NaN)", Sin(nan), nan},
		{"Sin(2^28)", Sin(0x1p28), nan}, {"Cos(2^28)", Cos(0x1p28), nan}, {"Cos(-Inf)", Cos(-inf), nan}, {"Cos(0)", Cos(0), 1},
		{"Tanh(0)", Tanh(0), 0}, {"Tanh(-0)", Tanh(negZero), negZero}, {"Tanh(Inf)", Tanh(inf), 1}, {"Tanh(-Inf)", Tanh(-inf), -1},
		{"Tanh(NaN)", Tanh(nan), nan}, {"Tanh(19.2)", Tanh(19.2), 1},
	} {
		if c.want != c.want {
			if c.got == c.got {
				t.Errorf("%s = %v, want NaN", c.name, c.got)
			}
		} else if math.Float64bits(c.got) != math.Float64bits(c.want) {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
}

// TestTables computes every constant in two parts anew.
func TestTables(t *testing.T) {
	check := func(name string, i int, got twoParts, want *big.Float) {
		t.Helper()
		hi, _ := want.Float64()
		lo, _ := bigNew().Sub(want, bigFloat(hi)).Float64()
		if got != (twoParts{hi, lo}) {
			t.Errorf("%s[%d] = {%x, %x}, want {%x, %x}", name, i, got.hi, got.lo, hi, lo)
		}
	}
	for j, got := range exp2By32 {
		x := bigNew().Mul(bigLn2, bigFloat(float64(j)/32))
		check("exp2By32", j, got, bigExp(x))
	}
	for i, got := range logBy128 {
		check("logBy128", i, got, bigLog(bigFloat(float64(i+logBy128First)/128)))
	}
	near := func(name string, want *big.Float, bits int, parts ...float64) {
		t.Helper()
		rest := bigNew().Set(want)
		for _, p := range parts {
			rest.Sub(rest, bigFloat(p))
		}
		if rest.Sign() != 0 && rest.MantExp(nil) > -bits {
			t.Errorf("%s is off by %v", name, rest)
		}
	}
	near("ln2By32", bigNew().SetMantExp(bigLn2, -5), 95, ln2By32Hi, ln2By32Lo)
	near("ln2", bigLn2, 95, ln2Hi, ln2Lo)
	near("halfPi", bigNew().SetMantExp(bigPi, -1), 133, halfPi0, halfPi1, halfPi2, halfPi3)
}
