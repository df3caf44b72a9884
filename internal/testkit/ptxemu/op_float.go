package ptxemu

import "math"

// arith is what the float instructions share: the type, one lane's or half's
// rounding, and the modifiers.
type arith struct {
	t              typ // of an element
	packed         bool
	mode           rounding
	ftz, sat, relu bool
}

func (c *comp) arith(t typ, sat bool) arith {
	a := arith{t: t, packed: t.x2, ftz: c.flag("ftz"), sat: sat || c.flag("sat"), relu: c.flag("relu")}
	a.mode, _ = c.rounding()
	if t.x2 {
		a.t = t.half()
	}
	if t.bits == 64 && (a.mode != roundNearest || a.ftz || a.sat) {
		c.fail("modifiers of f64 but .rn are not supported")
	}
	return a
}

// plain reports f32 arithmetic without modifiers, which Go does alike.
func (a arith) plain() bool {
	return a.t.bits == 32 && a.mode == roundNearest && !a.ftz && !a.sat && !a.relu
}

// in decodes an operand.
func (a arith) in(b uint64) float64 {
	if a.ftz {
		b = a.flush(b)
	}
	return decode(a.t, b)
}

// out rounds a result that is exact, or rounded to odd.
func (a arith) out(x float64) uint64 {
	if a.sat {
		x = clamp01(x)
	}
	if a.relu && math.Signbit(x) && x == x {
		x = 0
	}
	b := encode(a.t, x, a.mode)
	if a.ftz {
		b = a.flush(b)
	}
	return b
}

// sum is the exact x + y rounded to odd. Numbers that cancel make -0 when
// rounding down.
func (a arith) sum(x, y float64) float64 {
	s := addOdd(x, y)
	if s == 0 && a.mode == roundDown && (math.Signbit(x) || math.Signbit(y)) {
		return math.Copysign(0, -1)
	}
	return s
}

func clamp01(x float64) float64 {
	if !(x > 0) { // NaN too
		return 0
	}
	return min(x, 1)
}

// flush turns subnormals into zeros.
func (a arith) flush(b uint64) uint64 {
	if a.t.bits == 16 {
		if b&0x7c00 == 0 {
			return b & 0x8000
		}
		return b
	}
	return flush(b)
}

func (c *comp) float1(t typ, a arith, f func(x float64) float64) op {
	g := func(x uint64) uint64 { return a.out(f(a.in(x))) }
	if a.packed {
		g = halves1(g)
	}
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), g)
}

func (c *comp) float2(t typ, a arith, f func(x, y float64) float64) op {
	g := func(x, y uint64) uint64 { return a.out(f(a.in(x), a.in(y))) }
	if a.packed {
		g = halves2(g)
	}
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, t), t.mask(), g)
}

func (c *comp) floatAdd(t typ, sub, sat bool) op {
	a := c.arith(t, sat)
	f := a.sum
	if t.bits == 64 {
		f = func(x, y float64) float64 { return x + y }
	}
	if sub {
		add := f
		f = func(x, y float64) float64 { return add(x, -y) }
	}
	slow := c.float2(t, a, f)
	if a.plain() && !a.packed && !sub {
		return fastAddF32(c.dst(0, t), c.src(1, t), c.src(2, t), slow)
	}
	return slow
}

func (c *comp) floatMul(t typ, sat bool) op {
	a := c.arith(t, sat)
	slow := c.float2(t, a, mulOdd) // exact up to f32, rounded once for f64
	if a.plain() && !a.packed {
		return fastMulF32(c.dst(0, t), c.src(1, t), c.src(2, t), slow)
	}
	return slow
}

func opFma(c *comp) op {
	c.want(4)
	return c.floatFMA(c.typ())
}

func (c *comp) floatFMA(t typ) op {
	a := c.arith(t, false)
	d, x, y, z := c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t)
	if a.plain() && !a.packed {
		return fastFMA(d, x, y, z)
	}
	f := func(x, y, z float64) float64 { return a.sum(mulOdd(x, y), z) }
	if t.bits == 64 {
		f = math.FMA
	}
	g := func(x, y, z uint64) uint64 { return a.out(f(a.in(x), a.in(y), a.in(z))) }
	if a.packed {
		g = halves3(g)
	}
	return lift3(d, x, y, z, t.mask(), g)
}

// floatDiv divides: .approx and .full within float64 and one rounding, which is
// closer than the hardware; without them exactly rounded.
func (c *comp) floatDiv(t typ, r rounding, how string, ftz bool) op {
	a := arith{t: t, mode: r, ftz: ftz}
	f := divOdd
	if t.bits == 64 {
		if r != roundNearest {
			c.fail("only .rn of f64 is supported")
		}
		f = func(x, y float64) float64 { return x / y }
	}
	if how == "approx" {
		f = func(x, y float64) float64 {
			if m := math.Abs(y); m > 0x1p126 && m < 0x1p128 {
				if math.IsInf(x, 0) {
					return math.NaN() // as documented for this range
				}
				return math.Copysign(0, x) * math.Copysign(1, y)
			}
			return divOdd(x, y)
		}
	}
	return c.float2(t, a, f)
}

// floatSign changes sign bits only.
func (c *comp) floatSign(t typ, ftz bool, f func(sign, x uint64) uint64) op {
	sign := uint64(1) << (t.bits - 1)
	if t.x2 {
		sign = 0x80008000
	}
	a := arith{t: t, ftz: ftz}
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(x uint64) uint64 {
		if ftz && !t.x2 {
			x = a.flush(x)
		}
		return f(sign, x)
	})
}

// floatMinMax prefers a number to a NaN, unless nan; -0 is less than +0.
func floatMinMax(t typ, largest, ftz, nan, xor bool) func(x, y uint64) uint64 {
	a := arith{t: t, ftz: ftz}
	if t.x2 {
		a.t = t.half()
	}
	f := func(x, y uint64) uint64 {
		u, v := a.in(x), a.in(y)
		flip := xor && math.Signbit(u) != math.Signbit(v)
		if xor {
			u, v = math.Abs(u), math.Abs(v)
		}
		var z float64
		switch {
		case u != u && v != v || nan && (u != u || v != v):
			z = math.NaN()
		case u != u:
			z = v
		case v != v:
			z = u
		case largest:
			z = math.Max(u, v)
		default:
			z = math.Min(u, v)
		}
		if flip {
			z = -z
		}
		return a.out(z)
	}
	if t.x2 {
		f = halves2(f)
	}
	return f
}

// function1 compiles rcp, sqrt, ex2 and their like. exact, if not nil, is used
// where the instruction is to round as IEEE 754 says.
func function1(approx, exact func(float64) float64) func(c *comp) op {
	return func(c *comp) op {
		c.want(2)
		isApprox := c.flag("approx")
		t := c.typ()
		a := c.arith(t, false)
		f := approx
		if !isApprox {
			if f = exact; f == nil {
				c.fail("only .approx is defined")
			}
		}
		if t.bits == 64 && !isApprox {
			switch c.in.op {
			case "sqrt":
				f = math.Sqrt
			case "rcp":
				f = func(x float64) float64 { return 1 / x }
			}
		}
		return c.float1(t, a, f)
	}
}

func reciprocal(x float64) float64 { return divOdd(1, x) }

// rsqrt takes subnormal operands as they are: only .ftz flushes.
func rsqrt(x float64) float64 { return 1 / math.Sqrt(x) }

func opCopysign(c *comp) op {
	c.want(3)
	t := c.typ()
	sign := uint64(1) << (t.bits - 1)
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, t), t.mask(), func(a, b uint64) uint64 { return a&sign | b&^sign })
}

func opTestp(c *comp) op {
	c.want(2)
	test := map[string]func(typ, float64) bool{
		"finite":     func(_ typ, x float64) bool { return !math.IsInf(x, 0) && x == x },
		"infinite":   func(_ typ, x float64) bool { return math.IsInf(x, 0) },
		"number":     func(_ typ, x float64) bool { return x == x },
		"notanumber": func(_ typ, x float64) bool { return x != x },
		"normal":     func(t typ, x float64) bool { return !math.IsInf(x, 0) && math.Abs(x) >= smallest(t) },
		"subnormal":  func(t typ, x float64) bool { return x != 0 && math.Abs(x) < smallest(t) },
	}[c.oneOf("finite", "infinite", "number", "notanumber", "normal", "subnormal")]
	if test == nil {
		c.fail("unknown test")
	}
	t := c.typ()
	a := c.src(1, t)
	return liftPred(c.pdst(c.arg(0)), a, a, func(x, _ uint64) bool { return test(t, decode(t, x)) })
}

// smallest is the smallest normal number of f32 or f64.
func smallest(t typ) float64 {
	if t.bits == 64 {
		return 0x1p-1022
	}
	return 0x1p-126
}
