package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantize emits the kernels that make one token's part of a quantised tile, as
// package cpu's tile.go lays it out. Magnitudes are compared as integers, so
// that a NaN wins; a block that is not finite gets q = 0, because its q would be
// the conversion's 0x80000000, which VPMOVDB cuts to 0 and AVX2 masks away.
func quantize(a asm) {
	const signature = "q, d *byte, x *float32, blocks, tokens uintptr"
	const doc = "quantises one token of a tile of some number of tokens; q and d\nare where its quants and scales begin."
	f := func(v float32) operand.Constant { return operand.U32(math.Float32bits(v)) }
	q, d, x, blocks, tokens4, stride := reg.RDI, reg.RSI, reg.R8, reg.R9, reg.R10, reg.R11
	begin := func(name string) {
		a.function(name, signature, doc)
		a.load("q", q, "d", d, "x", x, "blocks", blocks, "tokens", tokens4)
		a.SHLQ(operand.Imm(2), tokens4)
		a.LEAQ(operand.Mem{Base: tokens4, Index: tokens4, Scale: 2}, stride)
		a.SHLQ(operand.Imm(2), stride) // 48 bytes a token
	}
	// scalar puts a constant into the low lane of an XMM register.
	scalar := func(c operand.Constant, to reg.VecPhysical) {
		a.MOVL(c, reg.EAX)
		a.VMOVD(reg.EAX, to)
	}
	end := func() {
		a.ADDQ(stride, q)
		a.ADDQ(stride, d)
		a.add(128, x)
		a.DECQ(blocks)
		a.JNZ(operand.LabelRef("block"))
		a.ret()
	}
	// scales computes, from the largest magnitude in X0, d in X1 and r in X2, both
	// 0 for a block of zeros. X8 holds 127, X9 the least magnitude.
	scales := func() {
		a.VDIVSS(reg.X8, reg.X0, reg.X1)
		a.VDIVSS(reg.X0, reg.X8, reg.X2)
		a.VCMPSS(operand.Imm(notLessThan), reg.X9, reg.X0, reg.X3)
		a.VPAND(reg.X3, reg.X1, reg.X1)
		a.VPAND(reg.X3, reg.X2, reg.X2)
	}
	// sums stores d, s and the two negative sums. X4 holds the sums of the low and
	// the high 16 quants in its first two lanes.
	sums := func() {
		a.VPSHUFD(operand.Imm(1), reg.X4, reg.X5)
		a.VPADDD(reg.X4, reg.X5, reg.X5)
		a.VCVTDQ2PS(reg.X5, reg.X6)
		a.VMULSS(reg.X1, reg.X6, reg.X6)
		a.VPXOR(reg.X7, reg.X7, reg.X7)
		a.VPSUBD(reg.X5, reg.X7, reg.X5)
		a.VPSUBD(reg.X4, reg.X7, reg.X4)
		a.LEAQ(row(d, tokens4, 1, 0), reg.RBX)
		a.VMOVSS(reg.X1, at(d, 0))
		a.VMOVSS(reg.X6, at(reg.RBX, 0))
		a.VMOVD(reg.X5, row(d, tokens4, 2, 0))
		a.VMOVD(reg.X4, row(reg.RBX, tokens4, 2, 0))
	}

	begin("quantizeAVX512")
	scalar(f(127), reg.X8)
	scalar(f(0x1p-100), reg.X9)
	a.MOVL(operand.U32(0x7fffffff), reg.EAX)
	a.VPBROADCASTD(reg.EAX, reg.Z20)
	a.MOVL(operand.U32(0x01010101), reg.EAX)
	a.VMOVD(reg.EAX, reg.X11)
	a.VPBROADCASTD(reg.X11, reg.X11)
	a.align()
	a.Label("block")
	a.VMOVUPS(at(x, 0), reg.Z16)
	a.VMOVUPS(at(x, 64), reg.Z17)
	a.VPANDD(reg.Z16, reg.Z20, reg.Z0)
	a.VPANDD(reg.Z17, reg.Z20, reg.Z1)
	a.VPMAXUD(reg.Z0, reg.Z1, reg.Z0)
	a.VEXTRACTI64X4(operand.Imm(1), reg.Z0, reg.Y1)
	a.VPMAXUD(reg.Y0, reg.Y1, reg.Y0)
	a.maxLanes()
	scales()
	a.VBROADCASTSS(reg.X2, reg.Z18)
	a.VMULPS(reg.Z16, reg.Z18, reg.Z16)
	a.VMULPS(reg.Z17, reg.Z18, reg.Z17)
	a.VCVTPS2DQ(reg.Z16, reg.Z16)
	a.VCVTPS2DQ(reg.Z17, reg.Z17)
	a.VPMOVDB(reg.Z16, reg.X5)
	a.VPMOVDB(reg.Z17, reg.X6)
	a.VMOVDQU(reg.X5, at(q, 0))
	a.VMOVDQU(reg.X6, at(q, 16))
	a.VPMADDUBSW(reg.X5, reg.X11, reg.X5)
	a.VPMADDUBSW(reg.X6, reg.X11, reg.X6)
	a.VPHADDW(reg.X6, reg.X5, reg.X4) // 4 sums of 4 for each 16, in int16
	a.VPHADDW(reg.X4, reg.X4, reg.X4) // 2 sums of 8
	a.VPHADDW(reg.X4, reg.X4, reg.X4) // low, high
	a.VPMOVSXWD(reg.X4, reg.X4)
	sums()
	end()

	begin("quantizeAVX2")
	scalar(f(127), reg.X8)
	scalar(f(0x1p-100), reg.X9)
	for _, c := range []struct {
		bits  uint32
		x, to reg.VecPhysical
	}{{0x7fffffff, reg.X10, reg.Y10}, {0x7f800000, reg.X11, reg.Y11}} {
		scalar(operand.U32(c.bits), c.x)
		a.VPBROADCASTD(c.x, c.to)
	}
	// The order of the four-byte units after two packs within 128-bit lanes.
	order := a.StaticGlobal("unpack")
	a.DataAttributes(8 | 16)
	for _, i := range []uint32{0, 4, 1, 5, 2, 6, 3, 7} {
		a.AppendDatum(operand.U32(i))
	}
	a.align()
	a.Label("block")
	in := []reg.VecPhysical{reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	for i, r := range in {
		a.VMOVUPS(at(x, 32*i), r)
	}
	a.VPAND(in[0], reg.Y10, reg.Y0)
	for _, r := range in[1:] {
		a.VPAND(r, reg.Y10, reg.Y1)
		a.VPMAXUD(reg.Y1, reg.Y0, reg.Y0)
	}
	a.maxLanes()
	scales()
	a.VBROADCASTSS(reg.X2, reg.Y2)
	a.VPBROADCASTD(reg.X0, reg.Y3)
	a.VPCMPGTD(reg.Y3, reg.Y11, reg.Y3) // finite
	for _, r := range in {
		a.VMULPS(r, reg.Y2, r)
		a.VCVTPS2DQ(r, r)
		a.VPAND(reg.Y3, r, r)
	}
	a.VPADDD(in[0], in[1], reg.Y4)
	a.VPADDD(in[2], in[3], reg.Y5)
	a.VPHADDD(reg.Y5, reg.Y4, reg.Y4)
	a.VPHADDD(reg.Y4, reg.Y4, reg.Y4)
	a.VEXTRACTI128(operand.Imm(1), reg.Y4, reg.X5)
	a.VPADDD(reg.X4, reg.X5, reg.X4)
	a.VPACKSSDW(in[1], in[0], in[0])
	a.VPACKSSDW(in[3], in[2], in[2])
	a.VPACKSSWB(in[2], in[0], in[0])
	a.VMOVDQU(order, reg.Y5)
	a.VPERMD(in[0], reg.Y5, in[0])
	a.VMOVDQU(in[0], at(q, 0))
	sums()
	end()
	a.transpose8()
}

// transpose8 emits the float tile of 8 tokens: 8 x 8 values at a time.
func (a asm) transpose8() {
	tile, x, stride, k, x3, x6 := reg.RDI, reg.RSI, reg.RDX, reg.RCX, reg.R8, reg.R9
	a.function("transpose8AVX2", "tile *byte, x *float32, stride, k uintptr",
		"writes 8 rows of k values, a multiple of 8, as k rows of 8. stride is in\nbytes.")
	a.load("tile", tile, "x", x, "stride", stride, "k", k)
	a.LEAQ(operand.Mem{Base: stride, Index: stride, Scale: 2}, x3)
	a.LEAQ(operand.Mem{Base: x, Index: x3, Scale: 2}, x6)
	a.ADDQ(x, x3)
	v := vectors(256)
	in, mixed := v[:8], v[8:]
	a.align()
	a.Label("loop")
	for i, r := range in {
		a.VMOVUPS(row([]reg.Register{x, x3, x6}[i/3], stride, i%3, 0), r)
	}
	for i := 0; i < 8; i += 2 { // pairs of rows
		a.VUNPCKLPS(in[i+1], in[i], mixed[i])
		a.VUNPCKHPS(in[i+1], in[i], mixed[i+1])
	}
	for i := 0; i < 8; i += 4 { // in[i+j]: column j, and 4+j, of the rows i … i+3
		for j := range 2 {
			a.VSHUFPS(operand.Imm(0x44), mixed[i+2+j], mixed[i+j], in[i+2*j])
			a.VSHUFPS(operand.Imm(0xee), mixed[i+2+j], mixed[i+j], in[i+2*j+1])
		}
	}
	for j := range 4 {
		a.VPERM2F128(operand.Imm(0x20), in[4+j], in[j], mixed[0])
		a.VPERM2F128(operand.Imm(0x31), in[4+j], in[j], mixed[1])
		a.VMOVUPS(mixed[0], at(tile, 32*j))
		a.VMOVUPS(mixed[1], at(tile, 32*(4+j)))
	}
	for _, r := range []reg.Register{x, x3, x6} {
		a.add(32, r)
	}
	a.add(256, tile)
	a.SUBQ(operand.U32(8), k)
	a.JNZ(operand.LabelRef("loop"))
	a.ret()
}

// maxLanes sets the low lane of X0 to the largest of Y0's unsigned lanes. X1 is
// clobbered.
func (a asm) maxLanes() {
	a.VEXTRACTI128(operand.Imm(1), reg.Y0, reg.X1)
	a.VPMAXUD(reg.X0, reg.X1, reg.X0)
	a.VPSHUFD(operand.Imm(0x4e), reg.X0, reg.X1)
	a.VPMAXUD(reg.X0, reg.X1, reg.X0)
	a.VPSHUFD(operand.Imm(0xb1), reg.X0, reg.X1)
	a.VPMAXUD(reg.X0, reg.X1, reg.X0)
}
