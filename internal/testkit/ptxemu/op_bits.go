package ptxemu

import "math/bits"

// logic compiles and, or, xor of registers and of predicates.
func logic(f func(a, b uint64) uint64) func(c *comp) op {
	return func(c *comp) op {
		c.want(3)
		t := c.typ()
		if t.kind == kindPred {
			d, a, b := c.pdst(c.arg(0)), c.cond(1), c.cond(2)
			return func(w *warp, m uint32) {
				w.p[d] = w.p[d]&^m | uint32(f(uint64(a.mask(w)), uint64(b.mask(w))))&m
			}
		}
		d, a, b := c.dst(0, t), c.src(1, t), c.src(2, t)
		return fastLogic(c.in.op, d, a, b, lift2(d, a, b, t.mask(), f))
	}
}

func opNot(c *comp) op {
	c.want(2)
	t := c.typ()
	if t.kind == kindPred {
		d, a := c.pdst(c.arg(0)), c.cond(1)
		return func(w *warp, m uint32) { w.p[d] = w.p[d]&^m | ^a.mask(w)&m }
	}
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(a uint64) uint64 { return ^a })
}

func opCnot(c *comp) op {
	c.want(2)
	t := c.typ()
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(a uint64) uint64 {
		if a == 0 {
			return 1
		}
		return 0
	})
}

func opShl(c *comp) op {
	c.want(3)
	t := c.typ()
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, types["b32"]), t.mask(), func(a, n uint64) uint64 {
		return a << n // 0 for n of 64 and more, and masked for the narrower
	})
}

func opShr(c *comp) op {
	c.want(3)
	t := c.typ()
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, types["b32"]), t.mask(), func(a, n uint64) uint64 {
		if t.kind == kindS {
			return uint64(signed(a, t.bits) >> n)
		}
		return a >> n
	})
}

// opShf is the funnel shift of b:a.
func opShf(c *comp) op {
	c.want(4)
	left := c.oneOf("l", "r") == "l"
	wrap := c.oneOf("wrap", "clamp") == "wrap"
	t := c.typ()
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(a, b, n uint64) uint64 {
		if wrap {
			n &= 31
		} else {
			n = min(n, 32)
		}
		if left {
			return (b<<32 | a) << n >> 32
		}
		return (b<<32 | a) >> n
	})
}

func opLop3(c *comp) op {
	c.want(5)
	t := c.typ()
	table := c.arg(4)
	if table.kind != argImm {
		c.fail("the table is no constant")
	}
	lut := table.imm
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(x, y, z uint64) (r uint64) {
		for i := range uint64(8) {
			if lut>>i&1 == 0 {
				continue
			}
			term := ^uint64(0)
			for k, v := range [3]uint64{z, y, x} {
				if i>>k&1 != 0 {
					term &= v
				} else {
					term &^= v
				}
			}
			r |= term
		}
		return r
	})
}

// opPrmt picks bytes of b:a by nibbles, or by a mode.
func opPrmt(c *comp) op {
	c.want(4)
	t := c.typ()
	mode := c.oneOf("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(a, b, s uint64) (r uint64) {
		both := b<<32 | a
		for i := range uint64(4) {
			n := s >> (4 * i) & 0xf
			if mode != "" {
				n = prmtMode(mode, s&3, i)
			}
			x := both >> (8 * (n & 7)) & 0xff
			if n&8 != 0 { // replicate the sign
				x = uint64(int64(int8(x))>>7) & 0xff
			}
			r |= x << (8 * i)
		}
		return r
	})
}

// prmtMode is the source byte of result byte i.
func prmtMode(mode string, s, i uint64) uint64 {
	switch mode {
	case "f4e":
		return s + i
	case "b4e":
		return (s - i) & 7
	case "rc8":
		return s
	case "ecl":
		return max(s, i)
	case "ecr":
		return min(s, i)
	}
	return s&1*2 + i&1 // rc16
}

func opBfe(c *comp) op {
	c.want(4)
	t, n := c.typ(), types["b32"]
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, n), c.src(3, n), t.mask(), func(a, pos, length uint64) uint64 {
		pos, length = pos&0xff, length&0xff
		if length == 0 {
			return 0
		}
		x := t.value(a)
		if t.kind != kindS {
			return x >> pos & (1<<length - 1)
		}
		if pos+length >= uint64(t.bits) { // the sign fills what is past the end
			return uint64(int64(x) >> min(pos, 63))
		}
		return uint64(signed(x>>pos, int(length)))
	})
}

func opBfi(c *comp) op {
	c.want(5)
	t, n := c.typ(), types["b32"]
	d, a, b, pos, length := c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, n), c.src(4, n)
	return func(w *warp, m uint32) {
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			at := w.r[pos][l] & 0xff
			field := (uint64(1)<<(w.r[length][l]&0xff) - 1) << at
			w.r[d][l] = (w.r[b][l]&^field | w.r[a][l]<<at&field) & t.mask()
		}
	}
}

func opBrev(c *comp) op {
	c.want(2)
	t := c.typ()
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(a uint64) uint64 { return bits.Reverse64(a) >> (64 - t.bits) })
}

func opPopc(c *comp) op {
	c.want(2)
	t := c.typ()
	return lift1(c.dst(0, types["b32"]), c.src(1, t), t.mask(), func(a uint64) uint64 { return uint64(bits.OnesCount64(a)) })
}

func opClz(c *comp) op {
	c.want(2)
	t := c.typ()
	return lift1(c.dst(0, types["b32"]), c.src(1, t), t.mask(), func(a uint64) uint64 {
		return uint64(bits.LeadingZeros64(a) - (64 - t.bits))
	})
}

// opBfind finds the highest bit that is not the sign.
func opBfind(c *comp) op {
	c.want(2)
	amount := c.flag("shiftamt")
	t := c.typ()
	return lift1(c.dst(0, types["b32"]), c.src(1, t), 0xffffffff, func(a uint64) uint64 {
		x := t.value(a)
		if t.kind == kindS && int64(x) < 0 {
			x = ^x
		}
		n := bits.Len64(x) - 1
		if n >= 0 && amount {
			n = t.bits - 1 - n
		}
		return uint64(n)
	})
}

// opFns finds the n-th set bit from a base on, upwards or downwards.
func opFns(c *comp) op {
	c.want(4)
	t := c.typ()
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, t), t.mask(), func(mask, base, n uint64) uint64 {
		left, step, at := signed(n, 32), int64(1), int64(base)
		if left < 0 {
			left, step = -left, -1
		}
		if left == 0 {
			if mask>>at&1 != 0 {
				return uint64(at)
			}
			return 0xffffffff
		}
		for ; at >= 0 && at < 32; at += step {
			if mask>>at&1 == 0 {
				continue
			}
			if left--; left == 0 {
				return uint64(at)
			}
		}
		return 0xffffffff
	})
}

// opSzext extends the sign or zero from bit n on.
func opSzext(c *comp) op {
	c.want(3)
	wrap := c.oneOf("wrap", "clamp") == "wrap"
	t := c.typ()
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, types["b32"]), t.mask(), func(a, n uint64) uint64 {
		if wrap {
			n &= 31
		}
		if n >= 32 {
			return a
		}
		if n == 0 {
			return 0
		}
		if t.kind == kindS {
			return uint64(signed(a, int(n)))
		}
		return a & (1<<n - 1)
	})
}

// opBmsk makes b ones from bit a on.
func opBmsk(c *comp) op {
	c.want(3)
	wrap := c.oneOf("wrap", "clamp") == "wrap"
	t := types["b32"]
	c.typ()
	return lift2(c.dst(0, t), c.src(1, t), c.src(2, t), t.mask(), func(a, b uint64) uint64 {
		if wrap {
			a, b = a&31, b&31
		}
		return (1<<min(b, 32) - 1) << a
	})
}
