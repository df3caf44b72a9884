package num

import "math"

const (
	// ln2 in two parts; the first has 41 bits, so that its product with a binary
	// exponent is exact.
	ln2Hi = 0x1.62e42fefa4p-01
	ln2Lo = -0x1.8432a1b0e2634p-43
)

// Log returns the natural logarithm of x with an error below 0.51 ulp. Log(+0)
// and Log(-0) are -Inf, Log(+Inf) is +Inf; below zero and for NaN it is NaN.
func Log(x float64) float64 {
	switch {
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case !(x <= math.MaxFloat64): // NaN or +Inf
		return x
	}
	hi, _ := logParts(x)
	return hi
}

// Pow returns x^y for x >= 0 with an error below 0.54 ulp; 0.79 where the result
// is subnormal. Pow(x, 0) and Pow(1, y) are 1 for any x and y; otherwise a
// negative or NaN x and a NaN y give NaN. Zeros and infinities are the limits:
// Pow(0, y) is 0 or +Inf as y is above or below zero, Pow(+Inf, y) the reverse.
func Pow(x, y float64) float64 {
	switch {
	case y == 0 || x == 1:
		return 1
	case !(x >= 0) || y != y:
		return math.NaN()
	case x == 0 || x > math.MaxFloat64:
		if (x == 0) == (y > 0) {
			return 0
		}
		return math.Inf(1)
	}
	hi, lo := logParts(x)
	p := float64(y * hi)
	switch {
	case p > 710:
		return math.Inf(1)
	case p < -746:
		return 0
	}
	return expSum(p, math.FMA(y, hi, -p)+float64(y*lo))
}

// logParts returns ln(x) as an unevaluated sum, hi being its rounding, with a
// relative error near 2^-67, for 0 < x < +Inf.
//
// It follows P. T. P. Tang, "Table-driven implementation of the logarithm
// function in IEEE floating-point arithmetic", ACM TOMS 16(4), 1990, with the
// division and the leading terms carried in two parts: x = 2^k·(F + f), F = j/128
// nearest, ln(x) = k·ln2 + ln(F) + ln(1 + f/F).
func logParts(x float64) (hi, lo float64) {
	k := 0
	if x < 0x1p-1022 {
		x = float64(x * 0x1p54)
		k = -54
	}
	const sqrtHalf = 0x3fe6a09e667f3bcd // z below lies in [sqrt(1/2), sqrt(2))
	bits := math.Float64bits(x)
	e := int64(bits-sqrtHalf) >> 52
	k += int(e)
	z := math.Float64frombits(bits - uint64(e)<<52)

	j := int(float64(z*128) + 0.5)
	center := float64(float64(j) / 128) // may be compiled as a product
	f := z - center                     // exact
	q := float64(f / center)
	ql := float64(math.FMA(-q, center, f) / center)

	// ln(1+q) = q - q²/2 + q³·(1/3 - q/4 + …), |q| < 0.0056
	s := float64(q * q)
	sl := math.FMA(q, q, -s) + float64(2*float64(q*ql))
	t := 1.0/9 - float64(q*(1.0/10))
	t = 1.0/8 - float64(q*t)
	t = 1.0/7 - float64(q*t)
	t = 1.0/6 - float64(q*t)
	t = 1.0/5 - float64(q*t)
	t = 1.0/4 - float64(q*t)
	t = 1.0/3 - float64(q*t)
	a, b := twoSum(q, -float64(0.5*s))
	b += ql - float64(0.5*sl) + float64(float64(s*q)*t)

	c := &logBy128[j-logBy128First]
	kf := float64(k)
	d, dl := twoSum(float64(kf*ln2Hi), c.hi)
	hi, lo = twoSum(d, a)
	return twoSum(hi, lo+dl+b+c.lo+float64(kf*ln2Lo))
}
