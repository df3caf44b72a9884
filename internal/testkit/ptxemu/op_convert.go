package ptxemu

import (
	"math"
	"math/bits"
)

func opCvt(c *comp) op {
	if c.flag("pack") {
		return c.convertPack()
	}
	r, given := c.rounding()
	ftz, sat, relu, finite := c.flag("ftz"), c.flag("sat"), c.flag("relu"), c.flag("satfinite")
	to, from := c.typ(), c.typ()
	cv := converter{to: to, from: from, mode: r, given: given, ftz: ftz, sat: sat, relu: relu, finite: finite}
	switch {
	case to.x2 && !from.x2:
		return c.convertTwo(cv)
	case from.x2:
		return c.convertSmall(cv)
	}
	c.want(2)
	var d, width int
	if to.kind == kindTF32 {
		d, width = c.dst(0, types["b32"]), 32
	} else {
		d, width = c.dstWide(0, to)
	}
	f := cv.function(c)
	mask := typ{bits: width}.mask()
	return lift1(d, c.srcWide(1, from), mask, func(x uint64) uint64 { return to.value(f(x)) })
}

// converter is a conversion of one element.
type converter struct {
	to, from               typ
	mode                   rounding
	given                  bool
	ftz, sat, relu, finite bool
}

func (cv converter) function(c *comp) func(uint64) uint64 {
	toFloat := cv.to.float() || cv.to.kind > kindBF
	switch {
	case toFloat && cv.from.float():
		return cv.floatToFloat
	case toFloat:
		if !cv.given {
			c.fail("integer to float needs a rounding mode")
		}
		return cv.intToFloat
	case cv.from.float():
		if !cv.given {
			c.fail("float to integer needs a rounding mode")
		}
		return cv.floatToInt
	}
	return cv.intToInt
}

func (cv converter) floatToFloat(x uint64) uint64 {
	if cv.ftz && cv.from.bits == 32 {
		x = flush(x)
	}
	v := decode(cv.from, x)
	// Between equal types a rounding mode is to a whole number.
	if cv.to == cv.from && cv.given {
		v = cv.mode.integral(v)
	}
	return cv.narrow(v)
}

// narrow rounds v to the target with the modifiers of results.
func (cv converter) narrow(v float64) uint64 {
	if cv.sat {
		v = clamp01(v)
	}
	if cv.relu && math.Signbit(v) && v == v {
		v = 0
	}
	var b uint64
	switch cv.to.kind {
	case kindE4M3:
		return uint64(encodeE4M3(v, cv.mode))
	case kindE5M2:
		return uint64(encodeE5M2(v, cv.mode))
	default:
		b = encode(cv.to, v, cv.mode)
	}
	if cv.finite && v == v {
		b = cv.clampFinite(v, b)
	}
	if cv.ftz && cv.to.bits == 32 {
		b = flush(b)
	}
	return b
}

// clampFinite replaces infinity by the largest finite number.
func (cv converter) clampFinite(v float64, b uint64) uint64 {
	if cv.to.kind == kindTF32 {
		if math.IsInf(float64(f32(b)), 0) {
			return bits32(float32(math.Copysign(formatTF32.largest, v)))
		}
		return b
	}
	if math.IsInf(decode(cv.to, b), 0) {
		f := formatF16
		if cv.to.kind == kindBF {
			f = formatBF16
		} else if cv.to.bits == 32 {
			f = formatF32
		}
		return encode(cv.to, math.Copysign(f.largest, v), roundZero)
	}
	return b
}

func (cv converter) intToFloat(x uint64) uint64 {
	x = cv.from.value(x)
	var hi, lo float64
	if cv.from.kind == kindS {
		hi = float64(int64(x))
		if math.Abs(hi) < 0x1p63 {
			lo = float64(int64(x) - int64(hi))
		} else {
			lo = -float64(uint64(hi) - x)
		}
		if hi == -0x1p63 {
			lo = float64(int64(x) - math.MinInt64)
		}
	} else {
		hi = float64(x)
		if hi < 0x1p64 {
			lo = float64(int64(x - uint64(hi)))
		} else {
			lo = -float64(-x)
		}
	}
	if cv.to.bits == 64 {
		return math.Float64bits(cv.directed64(hi, lo))
	}
	return cv.narrow(odd(hi, lo))
}

// directed64 is the exact hi + lo, hi to nearest, rounded to float64 in the
// mode.
func (cv converter) directed64(hi, lo float64) float64 {
	up := lo > 0 && (cv.mode == roundUp || cv.mode == roundZero && hi < 0)
	down := lo < 0 && (cv.mode == roundDown || cv.mode == roundZero && hi > 0)
	switch {
	case up:
		return math.Nextafter(hi, math.Inf(1))
	case down:
		return math.Nextafter(hi, math.Inf(-1))
	}
	return hi
}

// floatToInt clamps to the target's range. NaN is 0, or the sign bit where f64
// or a target of 64 bits is concerned.
func (cv converter) floatToInt(x uint64) uint64 {
	if cv.ftz && cv.from.bits == 32 {
		x = flush(x)
	}
	v := decode(cv.from, x)
	if v != v {
		if cv.from.bits == 64 || cv.to.bits == 64 {
			return 1 << (cv.to.bits - 1)
		}
		return 0
	}
	v = cv.mode.integral(v)
	if cv.to.kind == kindS {
		limit := math.Ldexp(1, cv.to.bits-1)
		switch {
		case v >= limit:
			return 1<<(cv.to.bits-1) - 1
		case v < -limit:
			return 1 << (cv.to.bits - 1)
		}
		return uint64(int64(v))
	}
	switch {
	case v <= 0:
		return 0
	case v >= math.Ldexp(1, cv.to.bits):
		return cv.to.mask()
	}
	return uint64(v)
}

func (cv converter) intToInt(x uint64) uint64 {
	x = cv.from.value(x)
	if cv.sat {
		x = cv.clampInt(x)
	}
	return x
}

// clampInt limits x, an extended value of the source type, to the target.
func (cv converter) clampInt(x uint64) uint64 {
	low, high := int64(0), cv.to.mask()
	if cv.to.kind == kindS {
		low, high = -1<<(cv.to.bits-1), cv.to.mask()>>1
	}
	if cv.from.kind == kindS && int64(x) < 0 {
		return uint64(max(int64(x), low))
	}
	return min(x, high)
}

// convertTwo makes a packed value of two f32: the first operand is the upper
// half.
func (c *comp) convertTwo(cv converter) op {
	c.want(3)
	t := cv.to
	el := t.half()
	cv.to = el
	if cv.from.bits != 32 || !cv.from.float() {
		c.fail("only from f32")
	}
	return lift2(c.dst(0, t), c.src(1, cv.from), c.src(2, cv.from), t.mask(), func(a, b uint64) uint64 {
		return cv.floatToFloat(a)<<el.bits | cv.floatToFloat(b)
	})
}

// convertSmall widens two 8-bit floats to halves, or narrows two halves.
func (c *comp) convertSmall(cv converter) op {
	c.want(2)
	wide := types["f16x2"]
	switch {
	case cv.to == wide && cv.from.kind == kindE4M3:
		return lift1(c.dst(0, wide), c.src(1, cv.from), wide.mask(), func(x uint64) uint64 {
			return encode(types["f16"], decodeE4M3(uint8(x)), roundNearest) | encode(types["f16"], decodeE4M3(uint8(x>>8)), roundNearest)<<16
		})
	case cv.to == wide && cv.from.kind == kindE5M2:
		return lift1(c.dst(0, wide), c.src(1, cv.from), wide.mask(), func(x uint64) uint64 { return x&0xff<<8 | x>>8<<24 })
	case cv.from == wide && (cv.to.kind == kindE4M3 || cv.to.kind == kindE5M2):
		to := cv.to
		return lift1(c.dst(0, to), c.src(1, wide), to.mask(), func(x uint64) uint64 {
			return cv.narrow(decode(types["f16"], x&0xffff)) | cv.narrow(decode(types["f16"], x>>16))<<8
		})
	}
	c.fail("conversion is not supported")
	return nil
}

// convertPack is cvt.pack.sat: two s32 saturated to narrow integers, the first
// operand higher, over the bits of a third moved up.
func (c *comp) convertPack() op {
	if !c.flag("sat") {
		c.fail("no .sat")
	}
	to, from := c.typ(), c.typ()
	cv := converter{to: to, from: from, sat: true}
	t := types["b32"]
	third := c.constant(0)
	if to.bits == 8 {
		c.typ()
		c.want(4)
		third = c.src(3, t)
	} else {
		c.want(3)
	}
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), third, t.mask(), func(a, b, x uint64) uint64 {
		hi, lo := cv.intToInt(a)&to.mask(), cv.intToInt(b)&to.mask()
		return x<<(2*to.bits) | hi<<to.bits | lo
	})
}

// The 8-bit floats saturate to the largest finite number, as cvt requires.

func encodeE4M3(v float64, r rounding) uint8 {
	return encodeSmall(v, r, formatE4M3, 3, 7, 0x7f)
}

func encodeE5M2(v float64, r rounding) uint8 {
	return encodeSmall(v, r, formatE5M2, 2, 15, 0x7f)
}

func encodeSmall(v float64, r rounding, f format, mantissa, bias int, nan uint8) uint8 {
	if v != v {
		return nan
	}
	sign := uint8(math.Float64bits(v) >> 63 << 7)
	v = min(math.Abs(v), f.largest)
	v = min(f.round(v, r), f.largest)
	if v == 0 {
		return sign
	}
	_, e := math.Frexp(v)
	e = max(e-1, f.minimum)
	m := uint64(math.Ldexp(v, mantissa-e)) // with the hidden bit, if normal
	exp := uint64(0)
	if bits.Len64(m) > mantissa {
		exp = uint64(e + bias)
		m &= 1<<mantissa - 1
	}
	return sign | uint8(exp<<mantissa|m)
}

func decodeE4M3(b uint8) float64 {
	e, m := int(b>>3&15), float64(b&7)
	v := math.Ldexp(m, -9)
	switch {
	case b&0x7f == 0x7f:
		return math.NaN()
	case e > 0:
		v = math.Ldexp(8+m, e-10)
	}
	if b&0x80 != 0 {
		return -v
	}
	return v
}
