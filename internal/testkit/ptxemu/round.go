package ptxemu

import (
	"math"

	"github.com/holdfast-run/holdfast/internal/f16"
)

// A rounding is a PTX rounding mode. The integer modes (rni, rzi, rmi, rpi)
// round in the same directions.
type rounding uint8

const (
	roundNearest rounding = iota // to nearest even
	roundZero
	roundDown
	roundUp
	roundAway // to nearest, ties away from zero
)

var roundings = map[string]rounding{
	"rn": roundNearest, "rz": roundZero, "rm": roundDown, "rp": roundUp, "rna": roundAway,
	"rni": roundNearest, "rzi": roundZero, "rmi": roundDown, "rpi": roundUp,
}

// integral rounds x to a whole number.
func (r rounding) integral(x float64) float64 {
	switch r {
	case roundZero:
		return math.Trunc(x)
	case roundDown:
		return math.Floor(x)
	case roundUp:
		return math.Ceil(x)
	case roundAway:
		return math.Round(x)
	}
	return math.RoundToEven(x)
}

// format is a binary floating point format: bits of the stored mantissa,
// exponent of the smallest normal number, largest finite number.
type format struct {
	mantissa int
	minimum  int
	largest  float64
}

var (
	formatF32  = format{23, -126, math.MaxFloat32}
	formatF16  = format{10, -14, 65504}
	formatBF16 = format{7, -126, 0x1.FEp127}
	formatTF32 = format{10, -126, 0x1.FFCp127}
	formatE4M3 = format{3, -6, 448}
	formatE5M2 = format{2, -14, 57344}
)

// round returns x in format f, as a float64. x is exact, or rounded to odd in
// float64's 53 bits; as every format has at most 24, the result is the exact
// value rounded once.
func (f format) round(x float64, r rounding) float64 {
	if x == 0 || math.IsInf(x, 0) || x != x {
		return x
	}
	_, e := math.Frexp(x) // x in [2^(e-1), 2^e)
	e = max(e-1, f.minimum) - f.mantissa
	y := math.Ldexp(r.integral(math.Ldexp(x, -e)), e)
	if math.Abs(y) <= f.largest {
		if y == 0 {
			return math.Copysign(0, x)
		}
		return y
	}
	toFinite := r == roundZero || r == roundDown && x > 0 || r == roundUp && x < 0
	if toFinite {
		return math.Copysign(f.largest, x)
	}
	return math.Inf(int(math.Copysign(1, x)))
}

// NaNs are canonical, as the hardware makes them.
const (
	nan32 = 0x7fffffff
	nan16 = 0x7fff
)

// decode returns the value of a floating point register or half of one.
func decode(t typ, b uint64) float64 {
	switch {
	case t.bits == 64:
		return math.Float64frombits(b)
	case t.bits == 32:
		return float64(math.Float32frombits(uint32(b)))
	case t.kind == kindBF:
		return float64(f16.BF16ToFloat32(uint16(b)))
	}
	return float64(f16.ToFloat32(uint16(b)))
}

// encode rounds x (see format.round) to t and returns its bits.
func encode(t typ, x float64, r rounding) uint64 {
	switch {
	case t.bits == 64:
		return math.Float64bits(x)
	case t.kind == kindTF32:
		return bits32(float32(formatTF32.round(x, r)))
	case t.bits == 32:
		if r == roundNearest {
			return bits32(float32(x))
		}
		return bits32(float32(formatF32.round(x, r)))
	case x != x:
		return nan16
	case r == roundNearest && float64(float32(x)) == x: // as most are, and quicker
		if t.kind == kindBF {
			return uint64(f16.FromFloat32BF16(float32(x)))
		}
		return uint64(f16.FromFloat32(float32(x)))
	case t.kind == kindBF:
		return uint64(math.Float32bits(float32(formatBF16.round(x, r))) >> 16)
	}
	return uint64(f16.FromFloat32(float32(formatF16.round(x, r))))
}

// bits32 returns f's bits, NaNs made canonical.
func bits32(f float32) uint64 {
	if f != f {
		return nan32
	}
	return uint64(math.Float32bits(f))
}

func f32(b uint64) float32 { return math.Float32frombits(uint32(b)) }

// flush turns a subnormal float32 into a zero of its sign: the .ftz modifier.
func flush(b uint64) uint64 {
	if b&0x7f800000 == 0 {
		return b & 0x80000000
	}
	return b
}

// addOdd returns the exact a + b rounded to odd.
func addOdd(a, b float64) float64 {
	s := float64(a + b)
	z := float64(s - a)
	e := float64(float64(a-float64(s-z)) + float64(b-z)) // the error of s (Knuth)
	return odd(s, e)
}

// odd returns the exact s + e rounded to odd, where s is that sum rounded to
// nearest.
func odd(s, e float64) float64 {
	u := math.Float64bits(s)
	if e == 0 || u&1 != 0 || s != s || math.IsInf(s, 0) || e != e {
		return s
	}
	if (e > 0) == (s > 0) {
		return math.Float64frombits(u + 1)
	}
	return math.Float64frombits(u - 1)
}

// mulOdd returns a*b, which is exact for a and b of at most 26 bits.
func mulOdd(a, b float64) float64 { return float64(a * b) }

// divOdd returns a/b rounded to odd.
func divOdd(a, b float64) float64 {
	q := float64(a / b)
	if q == 0 || math.IsInf(q, 0) || q != q || b == 0 || math.IsInf(b, 0) {
		return q
	}
	rest := math.FMA(-q, b, a) // exact
	if (b > 0) != (rest > 0) {
		return odd(q, -math.Abs(rest))
	}
	return odd(q, math.Abs(rest))
}

// sqrtOdd returns the root of a rounded to odd.
func sqrtOdd(a float64) float64 {
	q := math.Sqrt(a)
	if q == 0 || math.IsInf(q, 0) || q != q {
		return q
	}
	return odd(q, -math.FMA(q, q, -a))
}
