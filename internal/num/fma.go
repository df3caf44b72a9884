package num

import "math"

// FMA32 returns a*b + c with a single rounding to nearest even, as the FMA
// instructions of CPUs do. Unlike float32(math.FMA(…)) it never rounds twice.
//
// The product of two float32 is exact in float64 (48 bits of 53), so only the
// sum s = a*b + c is rounded. Rounding s once more to float32 differs from
// rounding the exact sum only where s is a tie, or where the result is
// subnormal and ties lie elsewhere; there s is replaced by the exact sum
// rounded to odd, which has two bits more than any float32 and never makes a
// tie that was none.
func FMA32(a, b, c float32) float32 {
	p := float64(a) * float64(b)
	s := p + float64(c)
	u := math.Float64bits(s)
	const tie = 1 << 28 // the first bit that a normal float32 does not hold
	if u&(tie<<1-1) != tie && math.Abs(s) >= 0x1p-126 {
		return float32(s)
	}
	return float32(roundToOdd(p, float64(c), s))
}

// roundToOdd returns the exact p + c rounded to odd: s itself where s is exact,
// else that neighbour of the exact sum whose last bit is set. s is p + c rounded
// to nearest.
func roundToOdd(p, c, s float64) float64 {
	// The error of a sum is a float64, and these six operations find it (Knuth).
	z := s - p
	e := (p - (s - z)) + (c - z)
	u := math.Float64bits(s)
	if e == 0 || u&1 != 0 || s != s || math.IsInf(s, 0) {
		return s
	}
	if (e > 0) == (s > 0) {
		return math.Float64frombits(u + 1)
	}
	return math.Float64frombits(u - 1)
}
