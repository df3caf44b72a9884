package ptxemu

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// The references of this file are exact: operands become big.Floats, the
// operation is done without rounding (or, for quotients and roots, to 300
// bits), and one routine rounds to a format bit by bit.

// floatFormat is a format by its definition: mantissa bits and exponent bits.
type floatFormat struct{ mantissa, exponent int }

var (
	refF16  = floatFormat{10, 5}
	refBF16 = floatFormat{7, 8}
	refTF32 = floatFormat{10, 8}
	refF32  = floatFormat{23, 8}
	refF64  = floatFormat{52, 11}
)

func (f floatFormat) bias() int { return 1<<(f.exponent-1) - 1 }

func (f floatFormat) inf() uint64 { return (1<<f.exponent - 1) << f.mantissa }

// isNaN tells of the bits of a number.
func (f floatFormat) isNaN(b uint64) bool { return b&(1<<(f.mantissa+f.exponent)-1) > f.inf() }

// value returns the number; NaN and infinities are for the caller.
func (f floatFormat) value(b uint64) *big.Float {
	e := int(b >> f.mantissa & (1<<f.exponent - 1))
	m := b & (1<<f.mantissa - 1)
	if e > 0 {
		m |= 1 << f.mantissa
	} else {
		e = 1
	}
	x := new(big.Float).SetPrec(4000).SetUint64(m)
	x.SetMantExp(x, e-f.bias()-f.mantissa)
	if b>>(f.mantissa+f.exponent)&1 != 0 {
		x.Neg(x)
	}
	return x
}

// bits rounds x to the format, in the mode named as in PTX.
func (f floatFormat) bits(x *big.Float, mode string) uint64 {
	var sign uint64
	if x.Signbit() {
		sign = 1 << (f.mantissa + f.exponent)
	}
	if x.Sign() == 0 {
		return sign
	}
	a := new(big.Float).Abs(x)
	e := max(a.MantExp(nil)-1, 1-f.bias()) // exponent of the leading bit
	a.SetMantExp(a, f.mantissa-e)          // in units of the last place
	n, _ := a.Uint64()
	rest := new(big.Float).Sub(a, new(big.Float).SetPrec(4000).SetUint64(n))
	half := rest.Cmp(big.NewFloat(0.5))
	up := false
	switch mode {
	case "rn":
		up = half > 0 || half == 0 && n&1 != 0
	case "rna":
		up = half >= 0
	case "rp":
		up = rest.Sign() > 0 && sign == 0
	case "rm":
		up = rest.Sign() > 0 && sign != 0
	}
	if up {
		n++
	}
	if n>>(f.mantissa+1) != 0 { // carried into a new bit
		n >>= 1
		e++
	}
	if e > f.bias() {
		if mode == "rz" || mode == "rp" && sign != 0 || mode == "rm" && sign == 0 {
			return sign | f.inf() - 1
		}
		return sign | f.inf()
	}
	if n>>f.mantissa == 0 {
		return sign | n // subnormal
	}
	return sign | uint64(e+f.bias())<<f.mantissa | n&(1<<f.mantissa-1)
}

// canonical is the NaN that instructions return.
func (f floatFormat) canonical() uint64 { return 1<<(f.mantissa+f.exponent) - 1 }

// apply does op on the operands in mode: NaNs and infinities by float64, which
// has them too, the rest exactly.
func (f floatFormat) apply(op, mode string, args ...uint64) uint64 {
	var x [3]float64
	special := false
	for i, b := range args {
		if f.isNaN(b) {
			return f.canonical()
		}
		x[i], _ = f.value(b).Float64()
		if b&f.inf() == f.inf() {
			x[i] = math.Inf(int(1 - 2*int(b>>(f.mantissa+f.exponent)&1)))
			special = true
		}
	}
	if op == "div" && x[1] == 0 || op == "sqrt" && x[0] < 0 {
		special = true
	}
	if special {
		y := map[string]func() float64{
			"add": func() float64 { return x[0] + x[1] }, "sub": func() float64 { return x[0] - x[1] },
			"mul": func() float64 { return x[0] * x[1] }, "div": func() float64 { return x[0] / x[1] },
			"fma": func() float64 { return x[0]*x[1] + x[2] }, "sqrt": func() float64 { return math.Sqrt(x[0]) },
		}[op]()
		switch {
		case y != y:
			return f.canonical()
		case math.IsInf(y, 0):
			return f.inf() | b2u(y < 0)<<(f.mantissa+f.exponent)
		case y == 0:
			return b2u(math.Signbit(y)) << (f.mantissa + f.exponent)
		}
		// an infinity and a finite result: none of these operations
		panic("infinite operand, finite result")
	}
	return f.bits(f.exact(op, mode, args), mode)
}

func (f floatFormat) exact(op, mode string, args []uint64) *big.Float {
	v := func(i int) *big.Float { return f.value(args[i]) }
	wide := func() *big.Float { return new(big.Float).SetPrec(4000) }
	// The sign of an exact zero sum: minus only when rounding down.
	sum := func(a, b *big.Float) *big.Float {
		z := wide()
		if mode == "rm" {
			z.SetMode(big.ToNegativeInf)
			if a.Sign() == 0 && b.Sign() == 0 && a.Signbit() != b.Signbit() {
				return z.Neg(z) // big.Float's sum of zeros ignores the mode
			}
		}
		return z.Add(a, b)
	}
	switch op {
	case "add":
		return sum(v(0), v(1))
	case "sub":
		return sum(v(0), new(big.Float).Neg(v(1)))
	case "mul":
		return wide().Mul(v(0), v(1))
	case "fma":
		return sum(wide().Mul(v(0), v(1)), v(2))
	case "div":
		return new(big.Float).SetPrec(300).Quo(v(0), v(1))
	}
	if v(0).Sign() == 0 {
		return v(0)
	}
	return new(big.Float).SetPrec(300).Sqrt(v(0))
}

// ftz flushes a subnormal f32.
func ftz(b uint64) uint64 {
	if b&0x7f800000 == 0 {
		return b & 0x80000000
	}
	return b
}

func TestFloatArithmetic(t *testing.T) {
	var tests []instrTest
	for _, mode := range []string{"rn", "rz", "rm", "rp"} {
		for _, op := range []string{"add", "sub", "mul", "div"} {
			tests = append(tests, instrTest{op + "." + mode + ".f32 %d, %a, %b;", w32, anyF32,
				func(a, b, _ uint64) uint64 { return refF32.apply(op, mode, a, b) }})
		}
		tests = append(tests,
			instrTest{"fma." + mode + ".f32 %d, %a, %b, %c;", w32, anyF32, func(a, b, c uint64) uint64 { return refF32.apply("fma", mode, a, b, c) }},
			instrTest{"sqrt." + mode + ".f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 { return refF32.apply("sqrt", mode, a) }},
			instrTest{"rcp." + mode + ".f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 { return refF32.apply("div", mode, 0x3f800000, a) }})
	}
	for _, op := range []string{"add", "sub", "mul"} {
		tests = append(tests,
			instrTest{op + ".f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.apply(op, "rn", a, b) }},
			instrTest{op + ".rn.ftz.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return ftz(refF32.apply(op, "rn", ftz(a), ftz(b))) }},
			instrTest{op + ".sat.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return saturateF32(refF32.apply(op, "rn", a, b)) }},
			instrTest{op + ".rn.f16 %d, %a, %b;", w16, anyHalf, func(a, b, _ uint64) uint64 { return refF16.apply(op, "rn", a, b) }},
			instrTest{op + ".rn.bf16 %d, %a, %b;", w16, anyHalf, func(a, b, _ uint64) uint64 { return refBF16.apply(op, "rn", a, b) }},
			instrTest{op + ".f16x2 %d, %a, %b;", w32, anyHalf, func(a, b, _ uint64) uint64 {
				return refF16.apply(op, "rn", a&0xffff, b&0xffff) | refF16.apply(op, "rn", a>>16, b>>16)<<16
			}},
			instrTest{op + ".rn.bf16x2 %d, %a, %b;", w32, anyHalf, func(a, b, _ uint64) uint64 {
				return refBF16.apply(op, "rn", a&0xffff, b&0xffff) | refBF16.apply(op, "rn", a>>16, b>>16)<<16
			}},
			instrTest{op + ".rn.f64 %d, %a, %b;", w64, finiteF64, func(a, b, _ uint64) uint64 { return refF64.apply(op, "rn", a, b) }})
	}
	tests = append(tests,
		instrTest{"fma.rn.ftz.f32 %d, %a, %b, %c;", w32, anyF32, func(a, b, c uint64) uint64 { return ftz(refF32.apply("fma", "rn", ftz(a), ftz(b), ftz(c))) }},
		instrTest{"fma.rn.sat.f32 %d, %a, %b, %c;", w32, anyF32, func(a, b, c uint64) uint64 { return saturateF32(refF32.apply("fma", "rn", a, b, c)) }},
		instrTest{"fma.rn.f16 %d, %a, %b, %c;", w16, anyHalf, func(a, b, c uint64) uint64 { return refF16.apply("fma", "rn", a, b, c) }},
		instrTest{"fma.rn.bf16 %d, %a, %b, %c;", w16, anyHalf, func(a, b, c uint64) uint64 { return refBF16.apply("fma", "rn", a, b, c) }},
		instrTest{"fma.rn.f16x2 %d, %a, %b, %c;", w32, anyHalf, func(a, b, c uint64) uint64 {
			return refF16.apply("fma", "rn", a&0xffff, b&0xffff, c&0xffff) | refF16.apply("fma", "rn", a>>16, b>>16, c>>16)<<16
		}},
		instrTest{"fma.rn.bf16x2 %d, %a, %b, %c;", w32, anyHalf, func(a, b, c uint64) uint64 {
			return refBF16.apply("fma", "rn", a&0xffff, b&0xffff, c&0xffff) | refBF16.apply("fma", "rn", a>>16, b>>16, c>>16)<<16
		}},
		instrTest{"fma.rn.relu.bf16 %d, %a, %b, %c;", w16, anyHalf, func(a, b, c uint64) uint64 {
			if x := refBF16.apply("fma", "rn", a, b, c); x>>15 == 0 || refBF16.isNaN(x) {
				return x
			}
			return 0
		}},
		instrTest{"fma.rn.f64 %d, %a, %b, %c;", w64, finiteF64, func(a, b, c uint64) uint64 { return refF64.apply("fma", "rn", a, b, c) }},
		instrTest{"div.rn.f64 %d, %a, %b;", w64, finiteF64, func(a, b, _ uint64) uint64 { return refF64.apply("div", "rn", a, b) }},
		instrTest{"sqrt.rn.f64 %d, %a;", w64, positiveF64, func(a, _, _ uint64) uint64 { return refF64.apply("sqrt", "rn", a) }},
		instrTest{"div.full.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.apply("div", "rn", a, b) }},
		instrTest{"mad.rn.f32 %d, %a, %b, 0f3FC00000;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.apply("fma", "rn", a, b, 0x3fc00000) }},
		instrTest{"abs.f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 { return a &^ (1 << 31) }},
		instrTest{"neg.f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 { return a ^ 1<<31 }},
		instrTest{"abs.bf16x2 %d, %a;", w32, anyHalf, func(a, _, _ uint64) uint64 { return a & 0x7fff7fff }},
		instrTest{"neg.f16 %d, %a;", w16, anyHalf, func(a, _, _ uint64) uint64 { return a ^ 0x8000 }},
		instrTest{"neg.f64 %d, %a;", w64, anyF64, func(a, _, _ uint64) uint64 { return a ^ 1<<63 }},
		instrTest{"copysign.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return a&(1<<31) | b&^(1<<31) }},
	)
	runInstr(t, tests)
}

// finiteF64 leaves out NaNs, whose payloads f64 instructions keep.
func finiteF64(r *rand.Rand) uint64 {
	for {
		if x := anyF64(r); x&refF64.inf() != refF64.inf() {
			return x
		}
	}
}

// positiveF64 leaves out the roots that are NaN too, and what makes infinity
// over infinity.
func positiveF64(r *rand.Rand) uint64 { return finiteF64(r) &^ (1 << 63) }

// saturateF32 clamps to [0, 1]; NaN is 0.
func saturateF32(b uint64) uint64 {
	switch {
	case refF32.isNaN(b) || b>>31 != 0:
		return 0
	case b > 0x3f800000:
		return 0x3f800000
	}
	return b
}

// minMaxF is min or max by the manual: a number before NaN unless nan, -0 below +0.
func (f floatFormat) minMax(a, b uint64, largest, nan bool) uint64 {
	switch {
	case f.isNaN(a) && f.isNaN(b) || nan && (f.isNaN(a) || f.isNaN(b)):
		return f.canonical()
	case f.isNaN(a):
		return b
	case f.isNaN(b):
		return a
	}
	order := func(x uint64) int64 { // of bits as of numbers
		sign := uint64(1) << (f.mantissa + f.exponent)
		if x&sign != 0 {
			return -int64(x&^sign) - 1
		}
		return int64(x)
	}
	if order(a) < order(b) != largest {
		return a
	}
	return b
}

func TestFloatMinMaxCompare(t *testing.T) {
	tests := []instrTest{
		{"min.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.minMax(a, b, false, false) }},
		{"max.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.minMax(a, b, true, false) }},
		{"max.NaN.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.minMax(a, b, true, true) }},
		{"max.ftz.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.minMax(ftz(a), ftz(b), true, false) }},
		{"max.f16 %d, %a, %b;", w16, anyHalf, func(a, b, _ uint64) uint64 { return refF16.minMax(a, b, true, false) }},
		{"min.NaN.bf16 %d, %a, %b;", w16, anyHalf, func(a, b, _ uint64) uint64 { return refBF16.minMax(a, b, false, true) }},
		{"max.bf16x2 %d, %a, %b;", w32, anyHalf, func(a, b, _ uint64) uint64 {
			return refBF16.minMax(a&0xffff, b&0xffff, true, false) | refBF16.minMax(a>>16, b>>16, true, false)<<16
		}},
		{"setp.gt.bf16x2 %p|%q, %a, %b; selp.b32 %t, 1, 0, %p; selp.b32 %d, 2, 0, %q; add.u32 %d, %d, %t;", w32, anyHalf, func(a, b, _ uint64) uint64 {
			gt := func(a, b uint64) bool {
				return !refBF16.isNaN(a) && !refBF16.isNaN(b) && refBF16.value(a).Cmp(refBF16.value(b)) > 0
			}
			return b2u(gt(a&0xffff, b&0xffff)) + 2*b2u(gt(a>>16, b>>16))
		}},
		{"set.le.f16x2.f16x2 %d, %a, %b;", w32, anyHalf, func(a, b, _ uint64) uint64 {
			le := func(a, b uint64) uint64 {
				if refF16.isNaN(a) || refF16.isNaN(b) || refF16.value(a).Cmp(refF16.value(b)) > 0 {
					return 0
				}
				return 0x3c00
			}
			return le(a&0xffff, b&0xffff) | le(a>>16, b>>16)<<16
		}},
		{"testp.subnormal.f32 %p, %a; selp.b32 %d, 1, 0, %p;", w32, anyF32, func(a, _, _ uint64) uint64 { return b2u(a&0x7f800000 == 0 && a&0x7fffff != 0) }},
		{"testp.finite.f64 %p, %a; selp.b32 %d, 1, 0, %p;", [4]int{32, 64}, anyF64, func(a, _, _ uint64) uint64 { return b2u(a&refF64.inf() != refF64.inf()) }},
	}
	for name, f := range map[string]func(c int) bool{
		"eq": func(c int) bool { return c == 0 }, "ne": func(c int) bool { return c != 0 },
		"lt": func(c int) bool { return c < 0 }, "le": func(c int) bool { return c <= 0 },
		"gt": func(c int) bool { return c > 0 }, "ge": func(c int) bool { return c >= 0 },
	} {
		for _, u := range []string{"", "u"} {
			tests = append(tests, instrTest{"setp." + name + u + ".f32 %p, %a, %b; selp.b32 %d, 1, 0, %p;", w32, anyF32, func(a, b, _ uint64) uint64 {
				if refF32.isNaN(a) || refF32.isNaN(b) {
					return b2u(u == "u")
				}
				return b2u(f(refF32.value(a).Cmp(refF32.value(b))))
			}})
		}
	}
	tests = append(tests,
		instrTest{"setp.num.f32 %p, %a, %b; selp.b32 %d, 1, 0, %p;", w32, anyF32, func(a, b, _ uint64) uint64 { return b2u(!refF32.isNaN(a) && !refF32.isNaN(b)) }},
		instrTest{"setp.nan.f32 %p, %a, %b; selp.b32 %d, 1, 0, %p;", w32, anyF32, func(a, b, _ uint64) uint64 { return b2u(refF32.isNaN(a) || refF32.isNaN(b)) }})
	runInstr(t, tests)
}

// TestApproximate: the emulator rounds the float64 result once.
func TestApproximate(t *testing.T) {
	single := func(f func(x float64) float64) func(a, _, _ uint64) uint64 {
		return func(a, _, _ uint64) uint64 {
			y := float32(f(float64(math.Float32frombits(uint32(a)))))
			if y != y {
				return refF32.canonical()
			}
			return uint64(math.Float32bits(y))
		}
	}
	flushed := func(f func(x float64) float64) func(a, _, _ uint64) uint64 {
		g := single(f)
		return func(a, _, _ uint64) uint64 { return ftz(g(ftz(a), 0, 0)) }
	}
	runInstr(t, []instrTest{
		{"ex2.approx.f32 %d, %a;", w32, anyF32, single(math.Exp2)},
		{"ex2.approx.ftz.f32 %d, %a;", w32, anyF32, flushed(math.Exp2)},
		{"lg2.approx.f32 %d, %a;", w32, anyF32, single(math.Log2)},
		{"rsqrt.approx.ftz.f32 %d, %a;", w32, anyF32, flushed(func(x float64) float64 { return 1 / math.Sqrt(x) })},
		{"rcp.approx.ftz.f32 %d, %a;", w32, anyF32, flushed(func(x float64) float64 { return 1 / x })},
		{"sqrt.approx.f32 %d, %a;", w32, anyF32, single(math.Sqrt)},
		{"sin.approx.f32 %d, %a;", w32, anyF32, single(math.Sin)},
		{"cos.approx.f32 %d, %a;", w32, anyF32, single(math.Cos)},
		{"tanh.approx.f32 %d, %a;", w32, anyF32, single(math.Tanh)},
	})
}
