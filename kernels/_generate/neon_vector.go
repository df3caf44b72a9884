package main

import "math"

// Registers of exp2's constants, where a kernel has called exp2Constants.
const (
	expTop, expMin = 16, 17
	expC           = 18 // c0 … c6
)

func (n *neon) exp2Constants() {
	n.constant(math.Float32bits(127), expTop)
	n.constant(math.Float32bits(-126), expMin)
	for i := range 7 {
		n.constant(constants[i].bits, expC+v(i)) // they begin with c0 … c6
	}
}

// exp2 replaces x by 2^x as num.Exp2f32 does. m, p and t are clobbered.
func (n *neon) exp2(x, m, p, t v) {
	n.fmin(x, x, expTop) // a NaN stays
	n.fcmgt(t, expMin, x)
	n.frintn(m, x)
	n.fsub(x, x, m)
	n.fcvtns(m, m)
	n.shl(m, m, 23)
	// p = fma(p, x, c), by turns in p and in the vector 25, which is otherwise free.
	a, b := v(expC+6), p
	for i := 5; i >= 0; i-- {
		n.mov(b, expC+v(i))
		n.fmla(b, a, x)
		if a == expC+6 {
			a = 25
		}
		a, b = b, a
	}
	n.addi(x, a, m)
	n.bic(x, x, t)
}

func (n *neon) vector() {
	const dst, x, y, length = 0, 1, 2, 3
	// elementwise emits a loop over length values, a multiple of lanes.
	elementwise := func(name, doc string, lanes int, params []param, prologue, body func()) {
		n.function(name, doc, params...)
		if prologue != nil {
			prologue()
		}
		n.label("loop")
		body()
		for _, p := range params {
			if p.kind == "*float32" {
				n.add(4*lanes, p.to)
			}
		}
		n.loop("loop", length, lanes)
		n.ret()
	}
	three := []param{pointer("dst", dst), pointer("x", x), pointer("y", y), count("n", length)}
	elementwise("addNEON", "adds n values, a multiple of 4.", 4, three, nil, func() {
		n.ldr(0, x, 0)
		n.ldr(1, y, 0)
		n.fadd(0, 0, 1)
		n.str(0, dst, 0)
	})
	elementwise("mulNEON", "multiplies n values, a multiple of 4.", 4, three, nil, func() {
		n.ldr(0, x, 0)
		n.ldr(1, y, 0)
		n.fmul(0, 0, 1)
		n.str(0, dst, 0)
	})
	elementwise("scaleNEON", "multiplies n values, a multiple of 4, by c.", 4,
		[]param{pointer("dst", dst), pointer("x", x), scalar("c", 2), count("n", length)}, func() { n.dup(2, 2) }, func() {
			n.ldr(0, x, 0)
			n.fmul(0, 0, 2)
			n.str(0, dst, 0)
		})
	elementwise("mergeNEON", "sets dst to fma(x, v, round(dst·u)) for n values, a multiple of 4.", 4,
		[]param{pointer("dst", dst), pointer("x", x), scalar("u", 2), scalar("v", 3), count("n", length)},
		func() { n.dup(2, 2); n.dup(3, 3) }, func() {
			n.ldr(0, dst, 0)
			n.ldr(1, x, 0)
			n.fmul(0, 0, 2)
			n.fmla(0, 1, 3)
			n.str(0, dst, 0)
		})
	elementwise("siluMulNEON", "is silu(x)·y for n values, a multiple of 4.", 4, three, func() {
		n.exp2Constants()
		n.constant(math.Float32bits(-0x1.715476p+00), 30) // -log2 e
	}, func() {
		n.ldr(0, x, 0)
		n.fmul(1, 0, 30)
		n.exp2(1, 2, 3, 4)
		n.fadd(1, 1, expC)
		n.fdiv(0, 0, 1)
		n.ldr(1, y, 0)
		n.fmul(0, 0, 1)
		n.str(0, dst, 0)
	})
	elementwise("exp2NEON", "replaces n values, a multiple of 4, by their powers of 2.", 4,
		[]param{pointer("x", x), count("n", length)}, n.exp2Constants, func() {
			n.ldr(0, x, 0)
			n.exp2(0, 2, 3, 4)
			n.str(0, x, 0)
		})

	n.hadamard()
	n.function("toF16NEON", "rounds n values, a multiple of 8, to f16.", bytesAt("dst", dst), pointer("src", x), count("n", length))
	n.label("loop")
	for i := range 2 {
		n.ldr(1, x, 16*i)
		n.fcvtn(0, 1, i)
	}
	n.str(0, dst, 0)
	n.add(16, dst)
	n.add(32, x)
	n.loop("loop", length, 8)
	n.ret()

	n.rmsNorm()
	n.rope()
	n.quantize()
}

func (n *neon) rmsNorm() {
	const dst, x, w, length, cur, count0 = 0, 1, 2, 3, 4, 5
	n.function("rmsNormNEON", "is RMSNorm over n values, a multiple of 16; nf is n.",
		pointer("dst", dst), pointer("x", x), pointer("w", w), count("n", length), scalar("nf", 30), scalar("eps", 31))
	for i := range 4 {
		n.zero(v(i))
	}
	n.movr(x, cur)
	n.movr(length, count0)
	n.label("squares")
	for i := range 4 {
		n.ldr(4, cur, 16*i)
		n.fmla(v(i), 4, 4)
	}
	n.add(64, cur)
	n.loop("squares", count0, 16)
	n.fold(0, 4)
	n.fdiv(0, 0, 30)
	n.fadd(0, 0, 31)
	n.fsqrt(0, 0)
	n.constant(math.Float32bits(1), 1)
	n.fdiv(0, 1, 0)
	n.dup(0, 0)
	n.label("scale")
	n.ldr(1, x, 0)
	n.fmul(1, 1, 0)
	n.ldr(2, w, 0)
	n.fmul(1, 1, 2)
	n.str(1, dst, 0)
	n.add(16, x)
	n.add(16, w)
	n.add(16, dst)
	n.loop("scale", length, 4)
	n.ret()
}

func (n *neon) rope() {
	const x, heads, stride, pairs, cos, sin, first, second, c, s, i = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
	turn := func() { // V0, V1 by the cosines V2 and the sines V3, into V4, V5
		n.fmul(4, 1, 3)
		n.word(0x6ea0f800|4<<5|4, "fneg v4.4s, v4.4s")
		n.fmla(4, 0, 2)
		n.fmul(5, 0, 3)
		n.fmla(5, 1, 2)
	}
	for _, interleaved := range []bool{false, true} {
		name, doc := "ropeHalvesNEON", "turns pairs (i, i+pairs) of each head; pairs is a multiple of 4."
		if interleaved {
			name, doc = "ropePairsNEON", "turns pairs (2i, 2i+1) of each head; pairs is a multiple of 4."
		}
		n.function(name, doc, pointer("x", x), count("heads", heads), count("headStride", stride), count("pairs", pairs),
			pointer("cos", cos), pointer("sin", sin))
		n.label("head")
		n.movr(x, first)
		n.line("ADD R%d<<2, R%d, R%d", pairs, x, second)
		n.movr(cos, c)
		n.movr(sin, s)
		n.movr(pairs, i)
		n.label("loop")
		n.ldr(2, c, 0)
		n.ldr(3, s, 0)
		if interleaved {
			n.ld2(0, first)
			turn()
			n.st2(4, first)
			n.add(32, first)
		} else {
			n.ldr(0, first, 0)
			n.ldr(1, second, 0)
			turn()
			n.str(4, first, 0)
			n.str(5, second, 0)
			n.add(16, first)
			n.add(16, second)
		}
		n.add(16, c)
		n.add(16, s)
		n.loop("loop", i, 4)
		n.addr(stride, x, x)
		n.loop("head", heads, 1)
		n.ret()
	}
}

// quantize emits the kernel that makes one token's part of a quantised tile (see
// quantize.go). A block that is not finite gets q = 0.
func (n *neon) quantize() {
	const q, d, x, blocks, tokens4, stride, tmp = 0, 1, 2, 3, 4, 5, 6
	const top, scale, inverse, keep, sign, big, least, infinite = 8, 9, 10, 11, 28, 29, 30, 31
	n.function("quantizeNEON", "quantises one token of a tile of some number of tokens; q and d\nare where its quants and scales begin.",
		bytesAt("q", q), bytesAt("d", d), pointer("x", x), count("blocks", blocks), count("tokens", tokens4))
	n.shifted(tokens4, tokens4, 2)
	n.line("ADD R%d<<1, R%d, R%d", tokens4, tokens4, stride)
	n.shifted(stride, stride, 2) // 48 bytes a token
	n.constant(0x7fffffff, sign)
	n.constant(math.Float32bits(127), big)
	n.constant(math.Float32bits(0x1p-100), least)
	n.constant(0x7f800000, infinite)
	n.label("block")
	for i := range v(8) {
		n.ldr(i, x, 16*int(i))
		n.and(12, i, sign)
		if i == 0 {
			n.mov(top, 12)
		} else {
			n.umax(top, top, 12) // magnitudes order like their bits, NaN above all
		}
	}
	n.umaxv(top, top)
	n.dup(top, top)
	n.fdiv(scale, top, big)
	n.fdiv(inverse, big, top)
	n.fcmgt(keep, least, top) // a block of zeros: neither d nor q
	n.bic(scale, scale, keep)
	n.bic(inverse, inverse, keep)
	n.cmgt(keep, infinite, top) // finite
	for i := range v(8) {
		n.fmul(i, i, inverse)
		n.fcvtns(i, i)
		n.and(i, i, keep)
	}
	for half := range v(2) { // sums of 16, in V12 and V13
		n.addi(12+half, 4*half, 4*half+1)
		n.addi(14, 4*half+2, 4*half+3)
		n.addi(12+half, 12+half, 14)
		n.addv(12+half, 12+half)
	}
	for half := range v(2) {
		for i := range v(4) {
			n.xtn(14+i/2, 4*half+i, int(i%2))
		}
		n.xtnBytes(16, 14, 0)
		n.xtnBytes(16, 15, 1)
		n.str(16, q, 16*int(half))
	}
	n.addi(13, 12, 13)
	n.scvtf(14, 13)
	n.fmul(14, 14, scale)
	n.neg(12, 12)
	n.neg(13, 13)
	n.movr(d, tmp)
	for i, field := range []v{scale, 14, 13, 12} {
		if i > 0 {
			n.addr(tokens4, tmp, tmp)
		}
		n.strs(field, tmp, 0)
	}
	n.addr(stride, q, q)
	n.addr(stride, d, d)
	n.add(128, x)
	n.loop("block", blocks, 1)
	n.ret()
}
