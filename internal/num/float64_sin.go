package num

import "math"

const (
	twoByPi = 0x1.45f306dc9c883p-01

	// pi/2 in four parts. The first three have 26 bits, so that their products
	// with an n below 2^27 are exact; together they are good to 2^-134.
	halfPi0 = 0x1.921fb58p+00
	halfPi1 = -0x1.dde974p-27
	halfPi2 = 0x1.1a6263p-54
	halfPi3 = 0x1.8a2e03707344ap-81
)

// MaxAngle bounds the arguments of Sin and Cos, in radians: a position of 2^27
// times a frequency of 1.
const MaxAngle = 0x1p27

// Sin returns the sine of x radians with an error below 0.8 ulp for |x| <=
// MaxAngle. Sin(±0) is ±0. Beyond MaxAngle, for infinities and for NaN it is
// NaN: never a wrong number.
func Sin(x float64) float64 {
	if math.Abs(x) < 0x1p-27 { // x - x³/6 rounds to x; keeps the sign of zero
		return x
	}
	quadrant, r, lo := reduceAngle(x)
	var y float64
	if quadrant&1 == 0 {
		y = sinKernel(r, lo)
	} else {
		y = cosKernel(r, lo)
	}
	if quadrant&2 != 0 {
		return -y
	}
	return y
}

// Cos returns the cosine of x radians with an error below 0.8 ulp for |x| <=
// MaxAngle. Beyond it, for infinities and for NaN it is NaN.
func Cos(x float64) float64 {
	quadrant, r, lo := reduceAngle(x)
	var y float64
	if quadrant&1 == 0 {
		y = cosKernel(r, lo)
	} else {
		y = sinKernel(r, lo)
	}
	if (quadrant+1)&2 != 0 {
		return -y
	}
	return y
}

// reduceAngle returns x - n·pi/2 as an unevaluated sum of magnitude up to pi/4,
// and n mod 4. It is the method of W. J. Cody and W. Waite, "Software manual for
// the elementary functions", 1980, with every subtraction's error kept, so that
// an x very near a multiple of pi/2 loses nothing.
func reduceAngle(x float64) (quadrant int, hi, lo float64) {
	if !(math.Abs(x) <= MaxAngle) {
		return 0, math.NaN(), 0
	}
	n := float64(x*twoByPi) + toInteger - toInteger
	a, e0 := twoSum(x, -float64(n*halfPi0))
	b, e1 := twoSum(a, -float64(n*halfPi1))
	c, e2 := twoSum(b, -float64(n*halfPi2))
	hi, lo = twoSum(c, e0+e1+e2-float64(n*halfPi3))
	return int(n) & 3, hi, lo
}

// sinKernel returns sin(r + lo), |r| <= pi/4, by the Taylor polynomial of degree
// 17, whose remainder is below 2^-62.
func sinKernel(r, lo float64) float64 {
	z := float64(r * r)
	t := -1.0/1307674368000 + float64(z*(1.0/355687428096000))
	t = 1.0/6227020800 + float64(z*t)
	t = -1.0/39916800 + float64(z*t)
	t = 1.0/362880 + float64(z*t)
	t = -1.0/5040 + float64(z*t)
	t = 1.0/120 + float64(z*t)
	t = -1.0/6 + float64(z*t)
	// sin(r + lo) = sin r + lo·cos r
	return r + (float64(float64(r*z)*t) + float64(lo*(1-float64(0.5*z))))
}

// cosKernel returns cos(r + lo), |r| <= pi/4, by the Taylor polynomial of degree
// 16, whose remainder is below 2^-58.
func cosKernel(r, lo float64) float64 {
	z := float64(r * r)
	zl := math.FMA(r, r, -z)
	t := -1.0/87178291200 + float64(z*(1.0/20922789888000))
	t = 1.0/479001600 + float64(z*t)
	t = -1.0/3628800 + float64(z*t)
	t = 1.0/40320 + float64(z*t)
	t = -1.0/720 + float64(z*t)
	t = 1.0/24 + float64(z*t)
	// 1 - z/2 in two parts; cos(r + lo) = cos r - lo·sin r
	w, wl := twoSum(1, -float64(0.5*z))
	wl -= float64(0.5 * zl)
	return w + (wl + (float64(float64(z*z)*t) - float64(lo*r)))
}
