package num

import (
	"math"
	"math/big"
)

// The references of these tests: plain series in math/big, to 256 bits.

const bigPrec = 256

func bigFloat(x float64) *big.Float { return new(big.Float).SetPrec(bigPrec).SetFloat64(x) }

func bigInt(n int64) *big.Float { return new(big.Float).SetPrec(bigPrec).SetInt64(n) }

func bigNew() *big.Float { return new(big.Float).SetPrec(bigPrec) }

// series returns the sum of terms t0, t0·f(1), t0·f(1)·f(2), … until they vanish.
func series(t0 *big.Float, next func(t *big.Float, n int64)) *big.Float {
	sum, t := bigNew().Set(t0), bigNew().Set(t0)
	for n := int64(1); t.Sign() != 0 && t.MantExp(nil) > sum.MantExp(nil)-bigPrec; n++ {
		next(t, n)
		sum.Add(sum, t)
	}
	return sum
}

// bigExp returns e^x: the Taylor series of x/2^16, squared 16 times.
func bigExp(x *big.Float) *big.Float {
	const halvings = 16
	y := bigNew().SetMantExp(x, -halvings)
	e := series(bigInt(1), func(t *big.Float, n int64) { t.Mul(t, y).Quo(t, bigInt(n)) })
	for range halvings {
		e.Mul(e, e)
	}
	return e
}

// bigLog returns ln(x) by two steps of Halley's method from math.Log.
func bigLog(x *big.Float) *big.Float {
	mant := bigNew()
	exp := x.MantExp(mant)
	if mant.Cmp(bigFloat(math.Sqrt2/2)) < 0 { // so that ln(1) is 0
		mant.Mul(mant, bigInt(2))
		exp--
	}
	m, _ := mant.Float64()
	y := bigFloat(math.Log(m))
	for range 2 {
		e := bigExp(y)
		num, den := bigNew().Sub(mant, e), bigNew().Add(mant, e)
		y.Add(y, num.Quo(num, den).Mul(num, bigInt(2)))
	}
	return y.Add(y, bigNew().Mul(bigInt(int64(exp)), bigLn2))
}

var (
	bigLn2 = bigAtanInverse(3, 1) // set to 2·atanh(1/3) below
	bigPi  = bigNew()
)

func init() {
	bigLn2.Mul(bigLn2, bigInt(2))
	// Machin: pi = 16 atan(1/5) - 4 atan(1/239)
	a := bigAtanInverse(5, -1)
	b := bigAtanInverse(239, -1)
	bigPi.Sub(a.Mul(a, bigInt(16)), b.Mul(b, bigInt(4)))
}

// bigAtanInverse returns atan(1/n) for sign -1 and atanh(1/n) for sign 1.
func bigAtanInverse(n, sign int64) *big.Float {
	power := bigNew().Quo(bigInt(1), bigInt(n))
	sum := bigNew().Set(power)
	for k := int64(3); power.MantExp(nil) > -bigPrec; k += 2 {
		power.Quo(power, bigInt(sign*n*n))
		sum.Add(sum, bigNew().Quo(power, bigInt(k)))
	}
	return sum
}

// bigSinCos returns sin(x) and cos(x): x less the nearest multiple of 2·pi, then
// the Taylor series.
func bigSinCos(x *big.Float) (sin, cos *big.Float) {
	turn := bigNew().Mul(bigPi, bigInt(2))
	q := bigNew().Quo(x, turn)
	half := bigFloat(math.Copysign(0.5, float64(x.Sign())))
	n, _ := q.Add(q, half).Int(nil)
	r := bigNew().Sub(x, turn.Mul(turn, bigNew().SetInt(n)))
	z := bigNew().Mul(r, r)
	z.Neg(z)
	sin = series(r, func(t *big.Float, n int64) { t.Mul(t, z).Quo(t, bigInt(2*n*(2*n+1))) })
	cos = series(bigInt(1), func(t *big.Float, n int64) { t.Mul(t, z).Quo(t, bigInt((2*n-1)*2*n)) })
	return sin, cos
}

func bigTanh(x *big.Float) *big.Float {
	e := bigExp(bigNew().Mul(x, bigInt(2)))
	return bigNew().Quo(bigNew().Sub(e, bigInt(1)), bigNew().Add(e, bigInt(1)))
}

// ulps returns |got - want| in units of the last place of want.
func ulps(got float64, want *big.Float) float64 {
	if want.Sign() == 0 {
		if got == 0 {
			return 0
		}
		return math.Inf(1)
	}
	exp := max(want.MantExp(nil)-53, -1074)
	diff := bigNew().Sub(bigFloat(got), want)
	u, _ := diff.SetMantExp(diff, -exp).Float64()
	return math.Abs(u)
}
