package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vector emits the elementwise kernels and the norm. They are bound by memory or
// latency, so that one width serves both tiers, except for exponentials.
func vector(a asm) {
	k := a.constantTable()
	a.hadamard()
	y := vectors(256)
	dst, p, q, n := reg.RDI, reg.RSI, reg.RDX, reg.RCX

	// elementwise emits a loop over n values, a multiple of lanes, with one or two
	// inputs; body computes Y0 (and Y1) into Y0.
	elementwise := func(name, params, doc string, lanes int, two bool, prologue, body func()) {
		a.function(name, params, doc)
		a.load("dst", dst, "x", p, "n", n)
		if two {
			a.load("y", q)
		}
		if prologue != nil {
			prologue()
		}
		a.align()
		a.Label("loop")
		body()
		for _, r := range []reg.Register{dst, p, q} {
			if two || r != q {
				a.add(4*lanes, r)
			}
		}
		a.SUBQ(operand.U32(lanes), n)
		a.JNZ(operand.LabelRef("loop"))
		a.ret()
	}
	broadcast := func(param string, x, to reg.VecPhysical) {
		a.Load(a.Param(param), x)
		a.VBROADCASTSS(x, to)
	}
	elementwise("addAVX2", "dst, x, y *float32, n uintptr", "adds n values, a multiple of 8.", 8, true, nil, func() {
		a.VMOVUPS(at(p, 0), y[0])
		a.VADDPS(at(q, 0), y[0], y[0])
		a.VMOVUPS(y[0], at(dst, 0))
	})
	elementwise("mulAVX2", "dst, x, y *float32, n uintptr", "multiplies n values, a multiple of 8.", 8, true, nil, func() {
		a.VMOVUPS(at(p, 0), y[0])
		a.VMULPS(at(q, 0), y[0], y[0])
		a.VMOVUPS(y[0], at(dst, 0))
	})
	elementwise("scaleAVX2", "dst, x *float32, c float32, n uintptr", "multiplies n values, a multiple of 8, by c.", 8, false,
		func() { broadcast("c", reg.X2, y[2]) }, func() {
			a.VMULPS(at(p, 0), y[2], y[0])
			a.VMOVUPS(y[0], at(dst, 0))
		})
	elementwise("mergeAVX2", "dst, x *float32, u, v float32, n uintptr", "sets dst to fma(x, v, round(dst·u)) for n values, a multiple of 8.", 8, false,
		func() { broadcast("u", reg.X2, y[2]); broadcast("v", reg.X3, y[3]) }, func() {
			a.VMULPS(at(dst, 0), y[2], y[0])
			a.VFMADD231PS(at(p, 0), y[3], y[0])
			a.VMOVUPS(y[0], at(dst, 0))
		})
	elementwise("siluMulAVX2", "dst, x, y *float32, n uintptr", "is silu(x)·y for n values, a multiple of 8.", 8, true, nil, func() {
		a.VMOVUPS(at(p, 0), y[0])
		a.VMULPS(k("-log2e"), y[0], y[1])
		a.exp2AVX2(k, y[1], y[2], y[3], y[4])
		a.VADDPS(k("c0"), y[1], y[1])
		a.VDIVPS(y[1], y[0], y[0])
		a.VMULPS(at(q, 0), y[0], y[0])
		a.VMOVUPS(y[0], at(dst, 0))
	})
	z := vectors(512)
	elementwise("siluMulAVX512", "dst, x, y *float32, n uintptr", "is silu(x)·y for n values, a multiple of 16.", 16, true,
		func() {
			a.VBROADCASTSS(k("max"), z[5])
			a.KXNORW(reg.K1, reg.K1, reg.K1)
		}, func() {
			a.VMOVUPS(at(p, 0), z[0])
			a.VMULPS_BCST(k("-log2e"), z[0], z[1])
			a.exp2AVX512(k, z[1], z[5], z[2], z[3], reg.K1, reg.K2)
			a.VADDPS_BCST(k("c0"), z[1], z[1])
			a.VDIVPS(z[1], z[0], z[0])
			a.VMULPS(at(q, 0), z[0], z[0])
			a.VMOVUPS(z[0], at(dst, 0))
		})

	a.function("exp2AVX2", "x *float32, n uintptr", "replaces n values, a multiple of 8, by their powers of 2.")
	a.load("x", p, "n", n)
	a.Label("loop")
	a.VMOVUPS(at(p, 0), y[0])
	a.exp2AVX2(k, y[0], y[2], y[3], y[4])
	a.VMOVUPS(y[0], at(p, 0))
	a.add(32, p)
	a.SUBQ(operand.U32(8), n)
	a.JNZ(operand.LabelRef("loop"))
	a.ret()

	a.toF16()
	a.rmsNorm()
	a.rope()
	a.argMax(k)
}

func (a asm) toF16() {
	dst, src, n := reg.RDI, reg.RSI, reg.RCX
	a.function("toF16AVX2", "dst *byte, src *float32, n uintptr", "rounds n values, a multiple of 8, to f16.")
	a.load("dst", dst, "src", src, "n", n)
	a.Label("loop")
	a.VMOVUPS(at(src, 0), reg.Y0)
	a.VCVTPS2PH(operand.Imm(0), reg.Y0, at(dst, 0))
	a.add(32, src)
	a.add(16, dst)
	a.SUBQ(operand.U32(8), n)
	a.JNZ(operand.LabelRef("loop"))
	a.ret()
}

// fold adds the 16 lanes of two vectors in the order of docs/NUMERICS.md, into
// the low lane of X0. tmp is clobbered.
func (a asm) fold(low, high, tmp reg.VecPhysical) {
	if low != reg.Y0 || tmp != reg.Y1 {
		panic("fold: fixed registers")
	}
	a.VADDPS(high, low, reg.Y0)
	a.VEXTRACTF128(operand.Imm(1), reg.Y0, reg.X1)
	a.VADDPS(reg.X1, reg.X0, reg.X0)
	a.VMOVHLPS(reg.X0, reg.X0, reg.X1)
	a.VADDPS(reg.X1, reg.X0, reg.X0)
	a.VMOVSHDUP(reg.X0, reg.X1)
	a.VADDSS(reg.X1, reg.X0, reg.X0)
}

func (a asm) rmsNorm() {
	dst, x, w, n, cur, count := reg.RDI, reg.RSI, reg.RDX, reg.RCX, reg.RBX, reg.RAX
	a.function("rmsNormAVX2", "dst, x, w *float32, n uintptr, nf, eps float32", "is RMSNorm over n values, a multiple of 16; nf is n.")
	a.load("dst", dst, "x", x, "w", w, "n", n)
	a.VXORPS(reg.Y0, reg.Y0, reg.Y0)
	a.VXORPS(reg.Y2, reg.Y2, reg.Y2)
	a.MOVQ(x, cur)
	a.MOVQ(n, count)
	a.Label("squares")
	a.VMOVUPS(at(cur, 0), reg.Y3)
	a.VMOVUPS(at(cur, 32), reg.Y4)
	a.VFMADD231PS(reg.Y3, reg.Y3, reg.Y0)
	a.VFMADD231PS(reg.Y4, reg.Y4, reg.Y2)
	a.add(64, cur)
	a.SUBQ(operand.U32(16), count)
	a.JNZ(operand.LabelRef("squares"))
	a.fold(reg.Y0, reg.Y2, reg.Y1)
	a.Load(a.Param("nf"), reg.X2)
	a.Load(a.Param("eps"), reg.X3)
	a.VDIVSS(reg.X2, reg.X0, reg.X0)
	a.VADDSS(reg.X3, reg.X0, reg.X0)
	a.VSQRTSS(reg.X0, reg.X0, reg.X0)
	a.MOVL(operand.U32(0x3f800000), reg.EAX)
	a.VMOVD(reg.EAX, reg.X2)
	a.VDIVSS(reg.X0, reg.X2, reg.X0)
	a.VBROADCASTSS(reg.X0, reg.Y0)
	a.Label("scale")
	for i, r := range []reg.VecPhysical{reg.Y2, reg.Y3} {
		a.VMULPS(at(x, 32*i), reg.Y0, r)
		a.VMULPS(at(w, 32*i), r, r)
		a.VMOVUPS(r, at(dst, 32*i))
	}
	a.add(64, x)
	a.add(64, w)
	a.add(64, dst)
	a.SUBQ(operand.U32(16), n)
	a.JNZ(operand.LabelRef("scale"))
	a.ret()
}

func (a asm) rope() {
	x, heads, stride, pairs, cos, sin := reg.RDI, reg.RSI, reg.RDX, reg.RCX, reg.R8, reg.R9
	cur, count, i := reg.RBX, reg.RAX, reg.R10
	const signature = "x *float32, heads, headStride, pairs uintptr, cos, sin *float32"
	begin := func(name, doc string) {
		a.function(name, signature, doc)
		a.load("x", x, "heads", heads, "headStride", stride, "pairs", pairs, "cos", cos, "sin", sin)
		a.Label("head")
		a.MOVQ(x, cur)
		a.MOVQ(pairs, count)
		a.XORQ(i, i)
		a.Label("loop")
	}
	end := func(lanes int) {
		a.add(4*lanes, i)
		a.SUBQ(operand.U32(lanes), count)
		a.JNZ(operand.LabelRef("loop"))
		a.ADDQ(stride, x)
		a.DECQ(heads)
		a.JNZ(operand.LabelRef("head"))
		a.ret()
	}
	indexed := func(base reg.Register) operand.Mem { return operand.Mem{Base: base, Index: i, Scale: 1} }
	aa, b, c, s, t, u := reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5

	begin("ropeHalvesAVX2", "turns pairs (i, i+pairs) of each head; pairs is a multiple of 8.")
	second := operand.Mem{Base: cur, Index: pairs, Scale: 4}
	a.VMOVUPS(at(cur, 0), aa)
	a.VMOVUPS(second, b)
	a.VMOVUPS(indexed(cos), c)
	a.VMOVUPS(indexed(sin), s)
	a.VMULPS(s, b, t)
	a.VMULPS(s, aa, u)
	a.VFMSUB231PS(c, aa, t)
	a.VFMADD231PS(c, b, u)
	a.VMOVUPS(t, at(cur, 0))
	a.VMOVUPS(u, second)
	a.add(32, cur)
	end(8)

	begin("ropePairsAVX2", "turns pairs (2i, 2i+1) of each head; pairs is a multiple of 4.")
	a.VMOVUPS(at(cur, 0), aa)
	for _, v := range []struct {
		p     reg.Register
		x, to reg.VecPhysical
	}{{cos, reg.X2, c}, {sin, reg.X3, s}} {
		// Four values, each twice: 0 0 1 1 | 2 2 3 3.
		a.VMOVUPS(indexed(v.p), v.x)
		a.VPERMPD(operand.Imm(0x50), v.to, v.to)
		a.VPERMILPS(operand.Imm(0x50), v.to, v.to)
	}
	a.VPERMILPS(operand.Imm(0xb1), aa, b) // the other of the pair
	a.VMULPS(s, b, t)
	a.VFMADDSUB213PS(t, c, aa) // even: a·cos - b·sin, odd: b·cos + a·sin
	a.VMOVUPS(aa, at(cur, 0))
	a.add(32, cur)
	end(4)
}

// argMax emits the two passes of ArgMax.
func (a asm) argMax(k func(string) operand.Mem) {
	x, n, i := reg.RSI, reg.RCX, reg.RAX
	v := vectors(256)
	acc := v[:4]
	a.function("maxAVX2", "x *float32, n uintptr, max *float32", "finds the largest of n values, a multiple of 32, that are not NaN; -Inf for none.")
	a.load("x", x, "n", n)
	for _, r := range acc {
		a.VMOVUPS(k("-inf"), r)
	}
	a.align()
	a.Label("loop")
	for j, r := range acc {
		a.VMOVUPS(at(x, 32*j), v[4+j])
		a.VMAXPS(r, v[4+j], r) // the order of the operands keeps r where x is NaN
	}
	a.add(128, x)
	a.SUBQ(operand.U32(32), n)
	a.JNZ(operand.LabelRef("loop"))
	a.VMAXPS(acc[0], acc[1], acc[0])
	a.VMAXPS(acc[2], acc[3], acc[2])
	a.VMAXPS(acc[0], acc[2], acc[0])
	a.VEXTRACTF128(operand.Imm(1), reg.Y0, reg.X1)
	a.VMAXPS(reg.X0, reg.X1, reg.X0)
	a.VPSHUFD(operand.Imm(0x4e), reg.X0, reg.X1)
	a.VMAXPS(reg.X0, reg.X1, reg.X0)
	a.VPSHUFD(operand.Imm(0xb1), reg.X0, reg.X1)
	a.VMAXPS(reg.X0, reg.X1, reg.X0)
	a.load("max", x)
	a.VMOVSS(reg.X0, at(x, 0))
	a.ret()

	a.function("findAVX2", "x *float32, n uintptr, value float32, index *uintptr", "finds the first of n values, a multiple of 8, that equals value; n for none.")
	a.load("x", x, "n", n)
	a.Load(a.Param("value"), reg.X0)
	a.VBROADCASTSS(reg.X0, reg.Y0)
	a.XORQ(i, i)
	a.Label("loop")
	a.VCMPPS(operand.Imm(0), operand.Mem{Base: x, Index: i, Scale: 4}, reg.Y0, reg.Y1)
	a.VMOVMSKPS(reg.Y1, reg.EDX)
	a.TESTL(reg.EDX, reg.EDX)
	a.JNZ(operand.LabelRef("found"))
	a.add(8, i)
	a.CMPQ(i, n)
	a.JNE(operand.LabelRef("loop"))
	a.JMP(operand.LabelRef("done"))
	a.Label("found")
	a.BSFL(reg.EDX, reg.EDX)
	a.ADDQ(reg.RDX, i)
	a.Label("done")
	a.load("index", x)
	a.MOVQ(i, at(x, 0))
	a.ret()
}
