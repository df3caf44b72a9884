// Package num has the arithmetic of the numerics classes (docs/NUMERICS.md) that
// the language and its library leave open: float32 functions of class cpu-1, and
// float64 functions with the same bits on every architecture.
//
// The float64 functions use nothing but IEEE 754 binary64 operations in a written
// order. Products and quotients stand in float64(...), because Go may otherwise
// fuse a product with an addition where the CPU can (arm64, ppc64, s390x,
// riscv64), also across statements and inlined calls, and it compiles x/128 as a
// product and x*2 as a sum. math.FMA is one rounding everywhere. A change of any
// bit of any result is a new numerics class: TestGolden pins them.
package num

import "math"

const (
	// ln2/32 in two parts. The first has 36 bits, so that its product with any
	// n of 16 bits is exact.
	ln2By32Hi  = 0x1.62e42fefap-06
	ln2By32Lo  = 0x1.cf79abc9e3b3ap-45
	inv32ByLn2 = 0x1.71547652b82fep+05

	// Adding toInteger rounds a number of magnitude below 2^51 to an integer,
	// ties to even; subtracting it again is exact.
	toInteger = 0x1.8p52
)

// Exp returns e^x with an error below 0.54 ulp; 0.79 where the result is
// subnormal. Exp(+Inf) and anything above 709.79 is +Inf, Exp(-Inf) and anything
// below -745.14 is 0, Exp(NaN) is NaN.
//
// The method is that of P. T. P. Tang, "Table-driven implementation of the
// exponential function in IEEE floating-point arithmetic", ACM TOMS 15(2), 1989:
// x = (32m + j)·ln2/32 + r, e^x = 2^m · 2^(j/32) · (1 + p(r)), with p the Taylor
// polynomial of degree 6, whose remainder is below 0.02 ulp for |r| <= ln2/64.
func Exp(x float64) float64 { return expSum(x, 0) }

// expSum returns e^(x+lo) for a lo below an ulp or so of x.
func expSum(x, lo float64) float64 {
	if !(math.Abs(x) < 708) {
		return expEdge(x, lo)
	}
	n, r1, r2 := expReduce(x, lo)
	p := r1 + expTail(r1, r2, 1.0/720)
	s := &exp2By32[n&31]
	y := s.hi + (s.lo + float64(s.hi*p))
	return float64(y * math.Float64frombits(uint64(1023+n>>5)<<52))
}

// expReduce splits x + lo into n·ln2/32 + r1 + r2, where r1 is exact and r2 is
// below an ulp or so of x, for |x| < 746.
func expReduce(x, lo float64) (n int, r1, r2 float64) {
	nf := float64(x*inv32ByLn2) + toInteger - toInteger
	return int(nf), x - float64(nf*ln2By32Hi), lo - float64(nf*ln2By32Lo)
}

// expTail returns e^r - 1 - r1 for r = r1 + r2, given the factor of r^6.
func expTail(r1, r2, c6 float64) float64 {
	r := r1 + r2
	t := 1.0/120 + float64(r*c6)
	t = 1.0/24 + float64(r*t)
	t = 1.0/6 + float64(r*t)
	t = 0.5 + float64(r*t)
	return r2 + float64(float64(r*r)*t)
}

// expEdge is expSum where the result, or the power of two in it, may be outside
// the normal numbers.
func expEdge(x, lo float64) float64 {
	switch {
	case x > 709.79:
		return math.Inf(1)
	case x < -745.14:
		return 0
	case x != x:
		return x
	}
	n, r1, r2 := expReduce(x, lo)
	p := r1 + expTail(r1, r2, 1.0/720)
	s := &exp2By32[n&31]
	y := s.hi + (s.lo + float64(s.hi*p))
	// Two exact powers of two; only the last product can round.
	if x > 0 {
		return float64(float64(y*math.Float64frombits(uint64(1022+n>>5)<<52)) * 2)
	}
	return float64(float64(y*math.Float64frombits(uint64(1123+n>>5)<<52)) * 0x1p-100)
}

// expm1Parts returns e^x - 1 as an unevaluated sum with a relative error near
// 2^-58, for 2^-30 < |x| < 700.
func expm1Parts(x float64) (hi, lo float64) {
	n, r1, r2 := expReduce(x, 0)
	r := r1 + r2
	c6 := 1.0/5040 + float64(r*(1.0/40320))
	c6 = 1.0/720 + float64(r*c6)
	p, pl := twoSum(r1, expTail(r1, r2, c6))
	s := &exp2By32[n&31]
	scale := math.Float64frombits(uint64(1023+n>>5) << 52)
	sh, sl := float64(s.hi*scale), float64(s.lo*scale)
	// (sh - 1) + sh·p + what is left
	q := float64(sh * p)
	ql := math.FMA(sh, p, -q) + float64(sh*pl) + (sl + float64(sl*p))
	d, dl := twoSum(sh, -1)
	e, el := twoSum(d, q)
	return twoSum(e, el+dl+ql)
}

// twoSum returns the rounded sum of a and b and its exact error (Knuth).
func twoSum(a, b float64) (sum, err float64) {
	sum = a + b
	v := sum - a
	return sum, (a - (sum - v)) + (b - v)
}

// twoParts is a constant in about 106 bits: hi is the nearest float64, lo the
// nearest to what is left.
type twoParts struct{ hi, lo float64 }
