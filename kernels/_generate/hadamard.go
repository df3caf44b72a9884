package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const hadamardDoc = "replaces each 32 of n values by their Walsh-Hadamard transform."

// hadamard emits the transform of 32 values at a time. A pair within a vector becomes
// sum and difference by adding the vector, with the sign of each second value changed,
// to itself with the values exchanged.
func (a asm) hadamard() {
	x, n := reg.RDI, reg.RCX
	y := vectors(256)
	v, tmp, signs := y[:4], y[4], y[5:8]
	a.function("hadamardAVX2", "x *float32, n uintptr", hadamardDoc)
	a.load("x", x, "n", n)
	a.MOVQ(operand.U64(0x8000000000000000), reg.RAX)
	a.VMOVQ(reg.RAX, reg.X5)
	a.VPBROADCASTQ(reg.X5, signs[0]) // 1, 3, 5, 7
	a.MOVQ(operand.U64(0x8000000080000000), reg.RAX)
	a.VMOVQ(reg.RAX, reg.X6)
	a.VPBROADCASTQ(reg.X6, signs[1])
	a.VPXOR(signs[2], signs[2], signs[2])
	a.VINSERTI128(operand.Imm(1), reg.X6, signs[2], signs[2]) // 4, 5, 6, 7
	a.VPSLLDQ(operand.Imm(8), signs[1], signs[1])             // 2, 3, 6, 7
	a.align()
	a.Label("loop")
	for i, r := range v {
		a.VMOVUPS(at(x, 32*i), r)
	}
	for h, exchange := range []func(r reg.VecPhysical){
		func(r reg.VecPhysical) { a.VPERMILPS(operand.Imm(0xb1), r, tmp) },
		func(r reg.VecPhysical) { a.VPERMILPS(operand.Imm(0x4e), r, tmp) },
		func(r reg.VecPhysical) { a.VPERM2F128(operand.Imm(1), r, r, tmp) },
	} {
		for _, r := range v {
			exchange(r)
			a.VXORPS(signs[h], r, r)
			a.VADDPS(r, tmp, r)
		}
	}
	for _, p := range [][2]int{{0, 1}, {2, 3}, {0, 2}, {1, 3}} {
		a.VADDPS(v[p[1]], v[p[0]], tmp)
		a.VSUBPS(v[p[1]], v[p[0]], v[p[1]])
		a.VMOVAPS(tmp, v[p[0]])
	}
	for i, r := range v {
		a.VMOVUPS(r, at(x, 32*i))
	}
	a.add(128, x)
	a.SUBQ(operand.U32(32), n)
	a.JNZ(operand.LabelRef("loop"))
	a.ret()
}

// hadamard is the same with vectors of four.
func (n *neon) hadamard() {
	const x, length = 0, 1
	const tmp, odd, high = 8, 9, 10 // signs of the values 1, 3 and 2, 3
	n.function("hadamardNEON", hadamardDoc, pointer("x", x), count("n", length))
	n.line("MOVD $0x8000000000000000, R17")
	n.word(0x4e080c00|17<<5|odd, "dup v%d.2d, x17", odd)
	n.constant(0x80000000, tmp)
	n.zero(high)
	n.zip1d(high, high, tmp)
	n.label("loop")
	for i := range 8 {
		n.ldr(v(i), x, 16*i)
	}
	for i := range v(8) {
		n.two(0x4ea00800, "rev64", ".4s", ".4s", tmp, i)
		n.eor(i, i, odd)
		n.fadd(i, tmp, i)
		n.word(0x6e004000|i<<16|8<<11|i<<5|tmp, "ext v%d.16b, v%d.16b, v%d.16b, #8", tmp, i, i)
		n.eor(i, i, high)
		n.fadd(i, tmp, i)
	}
	for h := v(1); h < 8; h *= 2 {
		for i := range v(8) {
			if i&h == 0 {
				n.fadd(tmp, i, i+h)
				n.fsub(i+h, i, i+h)
				n.mov(i, tmp)
			}
		}
	}
	for i := range 8 {
		n.str(v(i), x, 16*i)
	}
	n.add(128, x)
	n.loop("loop", length, 32)
	n.ret()
}
