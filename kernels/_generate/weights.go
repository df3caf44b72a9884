package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const weightsSignature = "p *float32, from, to uintptr, max, sum *float32"
const weightsDoc = "turns the scores of the slots [from, to) of one query into weights,\nand gives their maximum and the sum of the weights."

// weightsAVX512 works on 16 slots at a time, masks at the ends.
func (a asm) weightsAVX512(k func(string) operand.Mem) {
	z := vectors(512)
	p, from, to, cur, i := reg.RDI, reg.RSI, reg.RDX, reg.RBX, reg.RAX
	first, last, index, step, top := z[16], z[17], z[18], z[19], z[20]
	a.function("weightsAVX512", weightsSignature, weightsDoc)
	a.load("p", p, "from", from, "to", to)
	a.VPBROADCASTD(from.As32(), first)
	a.VPBROADCASTD(to.As32(), last)
	a.VPBROADCASTD(k("16"), step)
	a.VBROADCASTSS(k("max"), top)
	// begin sets the cursor and index to the first 16 slots.
	begin := func() {
		a.MOVQ(from, i)
		a.ANDQ(operand.Imm(0xf0), i)
		a.LEAQ(operand.Mem{Base: p, Index: i, Scale: 4}, cur)
		a.VPBROADCASTD(i.As32(), index)
		a.VPADDD(k("iota"), index, index)
	}
	// visible sets K1 to the visible ones of the 16 slots, and moves index on.
	visible := func() {
		a.VPCMPD(operand.Imm(5), first, index, reg.K1)        // index >= from
		a.VPCMPD(operand.Imm(1), last, index, reg.K1, reg.K1) // index < to
		a.VPADDD(step, index, index)
	}
	next := func(label string) {
		a.add(64, cur)
		a.add(16, i)
		a.CMPQ(i, to)
		a.JCS(operand.LabelRef(label))
	}
	max, sum := z[4], z[0]
	begin()
	a.VBROADCASTSS(k("-inf"), max)
	a.Label("max")
	visible()
	a.VMOVUPS(at(cur, 0), z[1])
	a.VMAXPS(z[1], max, reg.K1, max)
	next("max")
	a.VSHUFF64X2(operand.Imm(0x4e), max, max, z[1])
	a.VMAXPS(z[1], max, max)
	a.VSHUFF64X2(operand.Imm(0xb1), max, max, z[1])
	a.VMAXPS(z[1], max, max)
	a.VPSHUFD(operand.Imm(0x4e), max, z[1])
	a.VMAXPS(z[1], max, max)
	a.VPSHUFD(operand.Imm(0xb1), max, z[1])
	a.VMAXPS(z[1], max, max)
	a.VPXORD(z[1], z[1], z[1])
	a.VADDPS(z[1], max, max) // -0 is +0
	a.load("max", reg.RCX)
	a.VMOVSS(reg.X4, at(reg.RCX, 0))

	begin()
	a.VPXORD(sum, sum, sum)
	a.Label("exp")
	visible()
	a.VMOVUPS(at(cur, 0), z[1])
	a.VSUBPS(max, z[1], z[1])
	a.exp2AVX512(k, z[1], top, z[2], z[3], reg.K1, reg.K2)
	a.VMOVUPS(z[1], at(cur, 0))
	a.VADDPS(z[1], sum, sum)
	next("exp")
	a.VEXTRACTF64X4(operand.Imm(1), sum, reg.Y2)
	a.fold(reg.Y0, reg.Y2, reg.Y1)
	a.load("sum", reg.RCX)
	a.VMOVSS(reg.X0, at(reg.RCX, 0))
	a.ret()
}

// weightsAVX2 works on 16 slots at a time as two vectors, masks at the ends.
func (a asm) weightsAVX2(k func(string) operand.Mem) {
	y := vectors(256)
	p, from, to, cur, i := reg.RDI, reg.RSI, reg.RDX, reg.RBX, reg.RAX
	sum, first, last, index, max := [2]reg.VecPhysical{y[0], y[2]}, y[8], y[9], y[10], y[11]
	a.function("weightsAVX2", weightsSignature, weightsDoc)
	a.load("p", p, "from", from, "to", to)
	a.VMOVD(from.As32(), reg.X8)
	a.VPBROADCASTD(reg.X8, first)
	a.VMOVD(to.As32(), reg.X9)
	a.VPBROADCASTD(reg.X9, last)
	begin := func() {
		a.MOVQ(from, i)
		a.ANDQ(operand.Imm(0xf0), i)
		a.LEAQ(operand.Mem{Base: p, Index: i, Scale: 4}, cur)
		a.VMOVD(i.As32(), reg.X10)
		a.VPBROADCASTD(reg.X10, index)
	}
	// visible sets to to all ones in the visible ones of the half's 8 slots.
	visible := func(half int, to, tmp reg.VecPhysical) {
		iota := k("iota")
		iota.Disp += 32 * half
		a.VPADDD(iota, index, tmp)
		a.VPCMPGTD(tmp, first, to) // from > index
		a.VPCMPGTD(tmp, last, tmp) // to > index
		a.VPANDN(tmp, to, to)
	}
	next := func(label string) {
		a.VPADDD(k("16"), index, index)
		a.add(64, cur)
		a.add(16, i)
		a.CMPQ(i, to)
		a.JCS(operand.LabelRef(label))
	}
	begin()
	a.VMOVUPS(k("-inf"), max)
	a.Label("max")
	for half := range 2 {
		visible(half, y[3], y[4])
		a.VMAXPS(at(cur, 32*half), max, y[5])
		a.VBLENDVPS(y[3], y[5], max, max)
	}
	next("max")
	a.VPERMPD(operand.Imm(0x4e), max, y[1])
	a.VMAXPS(y[1], max, max)
	a.VPSHUFD(operand.Imm(0x4e), max, y[1])
	a.VMAXPS(y[1], max, max)
	a.VPSHUFD(operand.Imm(0xb1), max, y[1])
	a.VMAXPS(y[1], max, max)
	a.VXORPS(y[1], y[1], y[1])
	a.VADDPS(y[1], max, max) // -0 is +0
	a.load("max", reg.RCX)
	a.VMOVSS(reg.X11, at(reg.RCX, 0))

	begin()
	a.VXORPS(sum[0], sum[0], sum[0])
	a.VXORPS(sum[1], sum[1], sum[1])
	a.Label("exp")
	for half, s := range sum {
		visible(half, y[3], y[4])
		a.VMOVUPS(at(cur, 32*half), y[1])
		a.VSUBPS(max, y[1], y[1])
		a.exp2AVX2(k, y[1], y[4], y[5], y[6])
		a.VANDPS(y[3], y[1], y[1])
		a.VMOVUPS(y[1], at(cur, 32*half))
		a.VADDPS(y[1], s, s)
	}
	next("exp")
	a.fold(sum[0], sum[1], y[1])
	a.load("sum", reg.RCX)
	a.VMOVSS(reg.X0, at(reg.RCX, 0))
	a.ret()
}

const (
	wholeSignature = "p *float32, rows uintptr, max, sum *float32"
	wholeDoc       = "does the same for rows of 256 slots, all of them visible."
)

// weightsWholeAVX512 keeps a row of 256 scores in Z0-Z15. Scores are at most
// their maximum, so that nothing is above 127 but NaN.
func (a asm) weightsWholeAVX512(k func(string) operand.Mem) {
	z := vectors(512)
	p, rows, max, sum := reg.RDI, reg.RSI, reg.RDX, reg.RCX
	a.function("weightsWholeAVX512", wholeSignature, wholeDoc)
	a.load("p", p, "rows", rows, "max", max, "sum", sum)
	coefficients := []string{"c6", "c5", "c4", "c3", "c2", "c1", "c0"}
	for i, c := range append(coefficients, "min") {
		a.VBROADCASTSS(k(c), z[24+i])
	}
	a.align()
	a.Label("row")
	scores, t, n, top := z[:16], z[16:20], z[20], z[21]
	for i, r := range scores {
		a.VMOVUPS(at(p, 64*i), r)
	}
	for i, r := range t {
		a.VMAXPS(scores[i], scores[i+4], r)
	}
	for i := 8; i < 16; i++ {
		a.VMAXPS(scores[i], t[i%4], t[i%4])
	}
	a.VMAXPS(t[0], t[1], t[0])
	a.VMAXPS(t[2], t[3], t[2])
	a.VMAXPS(t[0], t[2], top)
	for _, shuffle := range []uint64{0x4e, 0xb1} {
		a.VSHUFF64X2(operand.Imm(shuffle), top, top, t[0])
		a.VMAXPS(t[0], top, top)
	}
	for _, shuffle := range []uint64{0x4e, 0xb1} {
		a.VPERMILPS(operand.Imm(shuffle), top, t[0])
		a.VMAXPS(t[0], top, top)
	}
	a.VPXORD(t[0], t[0], t[0])
	a.VADDPS(t[0], top, top) // -0 is +0
	a.VMOVSS(reg.X21, at(max, 0))
	total := z[22]
	a.VPXORD(total, total, total)
	for i, x := range scores {
		poly := t[i%4]
		a.VSUBPS(top, x, x)
		a.VCMPPS(operand.Imm(notLessThan), z[31], x, reg.K1)
		a.VRNDSCALEPS(operand.Imm(roundToNearest), x, n)
		a.VSUBPS(n, x, x)
		a.VMOVAPS(z[24], poly)
		for j := range coefficients[1:] {
			a.VFMADD213PS(z[25+j], x, poly)
		}
		a.VSCALEFPS_Z(n, poly, reg.K1, poly)
		a.VMOVUPS(poly, at(p, 64*i))
		a.VADDPS(poly, total, total)
	}
	a.VMOVAPS(total, z[0])
	a.VEXTRACTF64X4(operand.Imm(1), total, reg.Y2)
	a.fold(reg.Y0, reg.Y2, reg.Y1)
	a.VMOVSS(reg.X0, at(sum, 0))
	a.add(chunkBytes, p)
	a.add(4, max)
	a.add(4, sum)
	a.DECQ(rows)
	a.JNZ(operand.LabelRef("row"))
	a.ret()
}

// weightsWholeAVX2 passes twice over a row.
func (a asm) weightsWholeAVX2(k func(string) operand.Mem) {
	y := vectors(256)
	p, rows, maxs, sums, count := reg.RDI, reg.RSI, reg.RDX, reg.RCX, reg.RAX
	a.function("weightsWholeAVX2", wholeSignature, wholeDoc)
	a.load("p", p, "rows", rows, "max", maxs, "sum", sums)
	a.align()
	a.Label("row")
	t, top, sum := y[4:8], y[11], [2]reg.VecPhysical{y[0], y[2]}
	for i := range 32 {
		if i < 4 {
			a.VMOVUPS(at(p, 32*i), t[i])
		} else {
			a.VMAXPS(at(p, 32*i), t[i%4], t[i%4])
		}
	}
	a.VMAXPS(t[0], t[1], t[0])
	a.VMAXPS(t[2], t[3], t[2])
	a.VMAXPS(t[0], t[2], top)
	a.VPERMPD(operand.Imm(0x4e), top, t[0])
	a.VMAXPS(t[0], top, top)
	for _, shuffle := range []uint64{0x4e, 0xb1} {
		a.VPERMILPS(operand.Imm(shuffle), top, t[0])
		a.VMAXPS(t[0], top, top)
	}
	a.VXORPS(t[0], t[0], t[0])
	a.VADDPS(t[0], top, top) // -0 is +0
	a.VMOVSS(reg.X11, at(maxs, 0))
	for _, s := range sum {
		a.VXORPS(s, s, s)
	}
	a.MOVQ(operand.U32(chunkBytes/64), count)
	a.align()
	a.Label("exp")
	for half, s := range sum {
		x := y[12+half]
		a.VMOVUPS(at(p, 32*half), x)
		a.VSUBPS(top, x, x)
		a.exp2AVX2(k, x, y[4+4*half], y[5+4*half], y[6+4*half])
		a.VMOVUPS(x, at(p, 32*half))
		a.VADDPS(x, s, s)
	}
	a.add(64, p)
	a.DECQ(count)
	a.JNZ(operand.LabelRef("exp"))
	a.fold(sum[0], sum[1], y[1])
	a.VMOVSS(reg.X0, at(sums, 0))
	a.add(4, maxs)
	a.add(4, sums)
	a.DECQ(rows)
	a.JNZ(operand.LabelRef("row"))
	a.ret()
}
