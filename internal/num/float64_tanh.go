package num

import "math"

// Tanh returns the hyperbolic tangent of x with an error below 0.52 ulp. Tanh(±0)
// is ±0, Tanh(±Inf) is ±1, Tanh(NaN) is NaN.
func Tanh(x float64) float64 {
	ax := math.Abs(x)
	switch {
	case !(ax >= 0x1p-28): // x - x³/3 rounds to x; or NaN
		return x
	case ax > 19.1: // 1 - tanh is below 2^-54
		return math.Copysign(1, x)
	}
	// tanh x = E / (E + 2), E = e^2x - 1, with one step of correction.
	e, el := expm1Parts(float64(2 * ax))
	d, dl := twoSum(e, 2)
	dl += el
	q := float64(e / d)
	rest := math.FMA(-q, d, e) + (el - float64(q*dl))
	return math.Copysign(q+float64(rest/d), x)
}
