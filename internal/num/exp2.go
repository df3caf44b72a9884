package num

import "math"

// Exp2Coefficients are c0 … c6 of the polynomial that approximates 2^f for f in
// [-1/2, 1/2]. c0 is 1, so that p(f) is on the same side of 1 as f and p·2^n
// never leaves the range of float32. The others minimise the largest relative
// error: Remez for c1 … c6, then c1 rounded to float32, Remez for c2 … c6, and
// so on. The test TestExp2Coefficients does just that.
var Exp2Coefficients = [7]float32{
	1,
	0x1.62e432p-01,
	0x1.ebfbe6p-03,
	0x1.c6ada8p-05,
	0x1.3b2176p-07,
	0x1.5fc786p-10,
	0x1.4c62cp-13,
}

// Log2E is log2 e rounded to float32.
const Log2E float32 = 0x1.715476p+00

// Exp2f32 returns 2^x as the numerics class cpu-1 defines it (docs/NUMERICS.md):
// the same bits on every architecture, with a relative error below 6.8e-8
// (1.14 · 2^-24). Arguments above 127 count as 127; below -126 the result is
// +0; NaN gives NaN.
func Exp2f32(x float32) float32 {
	switch {
	case x != x:
		return x
	case x < -126:
		return 0
	case x > 127:
		x = 127
	}
	n := float32(math.RoundToEven(float64(x)))
	f := x - n
	c := &Exp2Coefficients
	p := FMA32(c[6], f, c[5])
	p = FMA32(p, f, c[4])
	p = FMA32(p, f, c[3])
	p = FMA32(p, f, c[2])
	p = FMA32(p, f, c[1])
	p = FMA32(p, f, c[0])
	return math.Float32frombits(math.Float32bits(p) + uint32(int32(n))<<23)
}
