package ptxemu

import "math/bits"

func opAdd(c *comp) op { return c.addSub(false) }
func opSub(c *comp) op { return c.addSub(true) }

func (c *comp) addSub(sub bool) op {
	c.want(3)
	carry := c.flag("cc")
	sat := c.flag("sat")
	t := c.typ()
	if t.float() {
		return c.floatAdd(t, sub, sat)
	}
	d, a, b := c.dst(0, t), c.src(1, t), c.src(2, t)
	if carry {
		return c.withCarry(t, d, a, b, sub, false, true)
	}
	f := func(a, b uint64) uint64 { return a + b }
	if sub {
		f = func(a, b uint64) uint64 { return a - b }
	}
	switch {
	case sat:
		if t != types["s32"] {
			c.fail(".sat is for s32")
		}
		f = saturate(sub)
	case t.x2:
		f = halves2(f)
	case t.bits == 32 && !sub:
		return fastAdd32(d, a, b, lift2(d, a, b, t.mask(), f))
	case t.bits == 64 && !sub:
		return fastAdd64(d, a, b, lift2(d, a, b, t.mask(), f))
	}
	return lift2(d, a, b, t.mask(), f)
}

// saturate is addition or subtraction of s32 that stops at the ends.
func saturate(sub bool) func(a, b uint64) uint64 {
	return func(a, b uint64) uint64 {
		x, y := signed(a, 32), signed(b, 32)
		if sub {
			y = -y
		}
		return uint64(min(max(x+y, -1<<31), 1<<31-1))
	}
}

func opAddc(c *comp) op { return c.carryOp(false) }
func opSubc(c *comp) op { return c.carryOp(true) }

func (c *comp) carryOp(sub bool) op {
	c.want(3)
	out := c.flag("cc")
	t := c.typ()
	return c.withCarry(t, c.dst(0, t), c.src(1, t), c.src(2, t), sub, true, out)
}

// withCarry adds or subtracts, taking the warp's condition code in, setting it,
// or both. A borrow is kept as the carry of a + ^b + 1 inverted.
func (c *comp) withCarry(t typ, d, a, b int, sub, in, out bool) op {
	if t.bits < 32 {
		c.fail("carry of %d bits", t.bits)
	}
	return func(w *warp, m uint32) {
		x, y, z := &w.r[d], &w.r[a], &w.r[b]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			var cin uint64
			if in {
				cin = uint64(w.carry >> l & 1)
			}
			var sum, cout uint64
			if sub {
				sum, cout = bits.Sub64(y[l], z[l], cin)
				if t.bits == 32 {
					cout = sum >> 63
				}
			} else {
				sum, cout = bits.Add64(y[l], z[l], cin)
				if t.bits == 32 {
					cout = sum >> 32
				}
			}
			x[l] = sum & t.mask()
			if out {
				w.carry = w.carry&^(1<<l) | uint32(cout)<<l
			}
		}
	}
}

// product returns the function of mul and mad before the addition, and the type
// of the result.
func (c *comp) product(t typ) (func(a, b uint64) uint64, typ) {
	switch c.oneOf("lo", "hi", "wide") {
	case "lo":
		return func(a, b uint64) uint64 { return a * b }, t
	case "wide":
		if t.bits > 32 || t.kind == kindB {
			c.fail(".wide of %d bits", t.bits)
		}
		return func(a, b uint64) uint64 { return t.value(a) * t.value(b) }, typ{kind: t.kind, bits: 2 * t.bits}
	case "hi":
		if t.bits < 64 {
			return func(a, b uint64) uint64 { return t.value(a) * t.value(b) >> t.bits }, t
		}
		return func(a, b uint64) uint64 {
			hi, _ := bits.Mul64(a, b)
			if t.kind == kindS {
				hi -= a&uint64(int64(b)>>63) + b&uint64(int64(a)>>63)
			}
			return hi
		}, t
	}
	c.fail("no .lo, .hi or .wide")
	return nil, t
}

func opMul(c *comp) op {
	c.want(3)
	sat := c.flag("sat")
	t := c.typ()
	if t.float() {
		return c.floatMul(t, sat)
	}
	f, wide := c.product(t)
	d := c.dst(0, wide)
	return lift2(d, c.src(1, t), c.src(2, t), wide.mask(), f)
}

func opMad(c *comp) op { return c.mad(false) }

func opMadc(c *comp) op { return c.mad(true) }

func (c *comp) mad(carryIn bool) op {
	c.want(4)
	carryOut := c.flag("cc")
	t := c.typ()
	if t.float() {
		return c.floatFMA(t)
	}
	sat := c.flag("sat")
	lo := len(c.mods) > 0 && c.mods[0] == "lo"
	f, wide := c.product(t)
	d, a, b, x := c.dst(0, wide), c.src(1, t), c.src(2, t), c.src(3, wide)
	if carryIn || carryOut {
		tmp := c.newRow()
		mul := lift2(tmp, a, b, wide.mask(), f)
		add := c.withCarry(wide, d, tmp, x, false, carryIn, carryOut)
		return func(w *warp, m uint32) { mul(w, m); add(w, m) }
	}
	g := func(a, b, c uint64) uint64 { return f(a, b) + c }
	if sat {
		sum := saturate(false)
		g = func(a, b, c uint64) uint64 { return sum(f(a, b), c) }
	}
	slow := lift3(d, a, b, x, wide.mask(), g)
	if lo && t.bits == 32 && !sat {
		return fastMad32(d, a, b, x, slow)
	}
	return slow
}

func opMul24(c *comp) op {
	c.want(3)
	t := c.typ()
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, t), t.mask(), c.product24(t))
}

func opMad24(c *comp) op {
	c.want(4)
	t := c.typ()
	f := c.product24(t)
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(a, b, c uint64) uint64 { return f(a, b) + c })
}

// product24 multiplies the low 24 bits: .lo is the low 32 bits, .hi bits 16 to 47.
func (c *comp) product24(t typ) func(a, b uint64) uint64 {
	short := typ{kind: t.kind, bits: 24}
	shift := 0
	if c.oneOf("lo", "hi") == "hi" {
		shift = 16
	}
	return func(a, b uint64) uint64 { return short.value(a) * short.value(b) >> shift }
}

func opDiv(c *comp) op {
	c.want(3)
	how := c.oneOf("approx", "full")
	ftz := c.flag("ftz")
	r, _ := c.rounding()
	t := c.typ()
	if t.float() {
		return c.floatDiv(t, r, how, ftz)
	}
	return c.quotient(t, func(a, b uint64) uint64 {
		if t.kind == kindS {
			return uint64(int64(a) / int64(b)) // Go defines the one overflow as the hardware does
		}
		return a / b
	})
}

func opRem(c *comp) op {
	c.want(3)
	t := c.typ()
	return c.quotient(t, func(a, b uint64) uint64 {
		if t.kind == kindS {
			return uint64(int64(a) % int64(b))
		}
		return a % b
	})
}

func (c *comp) quotient(t typ, f func(a, b uint64) uint64) op {
	d, a, b := c.dst(0, t), c.src(1, t), c.src(2, t)
	return func(w *warp, m uint32) {
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			y := t.value(w.r[b][l])
			if y == 0 {
				w.fault(&Fault{Kind: Undefined, Detail: "integer division by zero"}, 1<<l)
			}
			w.r[d][l] = f(t.value(w.r[a][l]), y) & t.mask()
		}
	}
}

func opAbs(c *comp) op {
	c.want(2)
	ftz := c.flag("ftz")
	t := c.typ()
	if t.float() {
		return c.floatSign(t, ftz, func(sign, x uint64) uint64 { return x &^ sign })
	}
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(a uint64) uint64 {
		x := signed(a, t.bits)
		return uint64(max(x, -x))
	})
}

func opNeg(c *comp) op {
	c.want(2)
	ftz := c.flag("ftz")
	t := c.typ()
	if t.float() {
		return c.floatSign(t, ftz, func(sign, x uint64) uint64 { return x ^ sign })
	}
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(a uint64) uint64 { return -a })
}

func opMin(c *comp) op { return c.minMax(false) }
func opMax(c *comp) op { return c.minMax(true) }

func (c *comp) minMax(largest bool) op {
	f, t := c.minMaxOf(largest)
	c.want(3)
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, t), t.mask(), f)
}

// minMaxOf returns the function of min and max, and of atom.min and atom.max.
func (c *comp) minMaxOf(largest bool) (func(a, b uint64) uint64, typ) {
	relu := c.flag("relu")
	ftz, nan, xor := c.flag("ftz"), c.flag("NaN"), c.flag("xorsign")
	if xor && !c.flag("abs") {
		c.fail(".xorsign without .abs")
	}
	t := c.typ()
	if t.float() {
		return floatMinMax(t, largest, ftz, nan, xor), t
	}
	el := t
	if t.x2 {
		el = t.half()
	}
	f := func(a, b uint64) uint64 {
		less := el.value(a) < el.value(b)
		if el.kind == kindS {
			less = int64(el.value(a)) < int64(el.value(b))
		}
		if less != largest {
			return a
		}
		return b
	}
	if relu {
		g := f
		f = func(a, b uint64) uint64 { return uint64(max(0, signed(g(a, b), el.bits))) }
	}
	if t.x2 {
		f = halves2(f)
	}
	return f, t
}

func opSad(c *comp) op {
	c.want(4)
	t := c.typ()
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(a, b, s uint64) uint64 {
		x, y := t.value(a), t.value(b)
		less := x < y
		if t.kind == kindS {
			less = int64(x) < int64(y)
		}
		if less {
			return s + y - x
		}
		return s + x - y
	})
}

func opDp4a(c *comp) op { return c.dot(4, 8, 0) }

func opDp2a(c *comp) op {
	shift := 0
	if c.oneOf("lo", "hi") == "hi" {
		shift = 16
	}
	return c.dot(2, 16, shift)
}

// dot sums the products of n fields of a, of the given width, and n bytes of b
// from shift on.
func (c *comp) dot(n, width, shift int) op {
	c.want(4)
	ta, tb := c.typ(), c.typ()
	fa, fb := typ{kind: ta.kind, bits: width}, typ{kind: tb.kind, bits: 8}
	t := types["b32"]
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(a, b, s uint64) uint64 {
		for i := range n {
			s += fa.value(a>>(i*width)) * fb.value(b>>(shift+8*i))
		}
		return s
	})
}
