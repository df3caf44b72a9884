package main

import (
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func alignment() *ir.Instruction {
	return &ir.Instruction{Opcode: "PCALIGN", Operands: []operand.Op{operand.Imm(64)}}
}

// kind is a packed quantised format (see package cpu, Matrix).
type kind struct {
	name  string // graph's constant
	bits  int    // significant bits of a quant
	super bool   // has super-blocks of 8 blocks, whose scales are products
	min   bool   // has minimum terms
	half  bool   // a scale for 16 values of K, else for 32
	shift int    // log2 of the offset of the unsigned quants; 0 for none
}

var kinds = []kind{
	{name: "Q4_0", bits: 4, shift: 3},
	{name: "Q4_1", bits: 4, min: true},
	{name: "Q4_K", bits: 4, super: true, min: true},
	{name: "Q5_0", bits: 5, shift: 4},
	{name: "Q5_1", bits: 5, min: true},
	{name: "Q5_K", bits: 5, super: true, min: true},
	{name: "Q6_K", bits: 6, super: true, half: true, shift: 5},
	{name: "Q8_0", bits: 8, shift: 7},
}

// quantBytes is the size of the quants of 16 rows x 32 k.
func (k kind) quantBytes() int { return 64 * k.bits }

// blockBytes is the stride between blocks of 32 k.
func (k kind) blockBytes() int {
	if k.min && !k.super {
		return k.quantBytes() + 64
	}
	return k.quantBytes() + 32
}

// headerBytes is the size of the header of a super-block.
func (k kind) headerBytes() int {
	if k.min {
		return 64
	}
	return 32
}

var floats = []string{"F32", "F16", "BF16"}

const maxTile = 8

// linearAVX512 emits, for each kind and each number of tokens m, the kernel that
// multiplies whole row groups by a tile. Registers: 8 vectors of unsigned bytes
// (Z0-Z7), m accumulators (Z8-Z15), scale and minimum (Z16, Z17) and those of the
// super-block (Z19, Z28), masks (Z18, Z29), m dot products (Z20-Z27, temporaries
// before). Per block and token there are 8 VPDPBUSD of a broadcast activation, one
// multiplication and one or two FMAs; the sum of the products is exact in int32,
// and the offset of the quants is its start.
func linearAVX512(a asm) {
	for _, k := range kinds {
		for m := 1; m <= maxTile; m++ {
			a.linearQuantAVX512(k, m)
		}
	}
	for _, t := range floats {
		for m := 1; m <= maxTile; m++ {
			a.linearFloat(512, t, m)
		}
	}
	a.probes()
}

func linearName(kind string, m int, tier string) string {
	return name("linear%sM%d%s", kind, m, tier)
}

func (a asm) linearQuantAVX512(k kind, m int) {
	a.function(linearName(k.name, m, "AVX512"),
		"y *float32, yStride uintptr, tile, w *byte, blocks, groups uintptr",
		name("computes row groups of %s weights for %d tokens. yStride is in bytes.", k.name, m))
	y, yStride, tile, w, blocks, groups := reg.RDI, reg.RSI, reg.R8, reg.RBX, reg.R12, reg.R13
	a.load("y", y, "yStride", yStride, "tile", tile, "w", w, "blocks", blocks, "groups", groups)
	x, count := reg.RCX, reg.RAX
	z := vectors(512)
	acc, idot := z[8:], z[20:]
	d, min, nibble, high := z[16], z[17], z[18], z[29]
	superD, superMin := z[19], z[28]
	if k.bits < 8 {
		a.MOVL(operand.U32(0x0f0f0f0f), reg.EAX)
		a.VPBROADCASTD(reg.EAX, nibble)
	}
	if k.bits == 5 || k.bits == 6 {
		a.MOVL(operand.U32(map[int]uint32{5: 0x10101010, 6: 0x30303030}[k.bits]), reg.EAX)
		a.VPBROADCASTD(reg.EAX, high)
	}

	a.Label("group")
	a.MOVQ(tile, x)
	a.MOVQ(blocks, count)
	for t := range m {
		a.VPXORD(acc[t], acc[t], acc[t])
	}

	a.align()
	a.Label("block")
	if k.super {
		a.TESTQ(operand.U32(7), count)
		a.JNZ(operand.LabelRef("inside"))
		a.VCVTPH2PS(at(w, 0), superD)
		if k.min {
			a.VCVTPH2PS(at(w, 32), superMin)
		}
		a.add(k.headerBytes(), w)
		a.Label("inside")
	}
	a.unpack(k, w, z[:8], idot, nibble, high)
	// scale loads the scale i, 0 or 1, or the minimum, 1.
	scale := func(i int, to reg.VecPhysical) {
		if !k.super {
			a.VCVTPH2PS(at(w, k.quantBytes()+32*i), to)
			return
		}
		if k.half {
			a.VPMOVSXBD(at(w, k.quantBytes()+16*i), to)
		} else {
			a.VPMOVZXBD(at(w, k.quantBytes()+16*i), to)
		}
		a.VCVTDQ2PS(to, to)
		if k.min && i == 1 {
			a.VMULPS(superMin, to, to)
		} else {
			a.VMULPS(superD, to, to)
		}
	}
	q := func(t, j int) operand.Mem { return at(x, 32*t+4*j) }
	activation := func(i, t int) operand.Mem { return at(x, 32*m+4*m*i+4*t) } // i: d, s, -sum, -sum of the low half
	// dot multiplies the vectors [j0, j1), then adds the products times the scale.
	dot := func(j0, j1 int, dw reg.VecPhysical) {
		for j := j0; j < j1; j++ {
			for t := range m {
				a.VPDPBUSD_BCST(q(t, j), z[j], idot[t])
			}
		}
		for t := range m {
			a.VCVTDQ2PS(idot[t], idot[t])
			a.VMULPS_BCST(activation(0, t), idot[t], idot[t])
			a.VFMADD231PS(dw, idot[t], acc[t])
		}
	}
	scale(0, d)
	switch {
	case k.half:
		for t := range m {
			a.VPSLLD_BCST(operand.Imm(uint64(k.shift)), activation(3, t), idot[t])
		}
		dot(0, 4, d)
		scale(1, min)
		for t := range m {
			a.VPBROADCASTD(activation(2, t), idot[t])
			a.VPSUBD_BCST(activation(3, t), idot[t], idot[t])
			a.VPSLLD(operand.Imm(uint64(k.shift)), idot[t], idot[t])
		}
		dot(4, 8, min)
	default:
		for t := range m {
			if k.shift > 0 {
				a.VPSLLD_BCST(operand.Imm(uint64(k.shift)), activation(2, t), idot[t])
			} else {
				a.VPXORD(idot[t], idot[t], idot[t])
			}
		}
		dot(0, 8, d)
		if k.min {
			scale(1, min)
			for t := range m {
				if k.super { // mw is minus the product
					a.VFNMADD231PS_BCST(activation(1, t), min, acc[t])
				} else {
					a.VFMADD231PS_BCST(activation(1, t), min, acc[t])
				}
			}
		}
	}
	a.add(k.blockBytes(), w)
	a.add(48*m, x)
	a.DECQ(count)
	a.JNZ(operand.LabelRef("block"))

	a.MOVQ(y, x)
	for t := range m {
		a.VMOVUPS(acc[t], at(x, 0))
		if t+1 < m {
			a.ADDQ(yStride, x)
		}
	}
	a.add(64, y)
	a.DECQ(groups)
	a.JNZ(operand.LabelRef("group"))
	a.ret()
}

// unpack loads the quants of a block as unsigned bytes: w[j] is k = 4j … 4j+3.
func (a asm) unpack(k kind, p reg.Register, w, tmp []reg.VecPhysical, nibble, high reg.VecPhysical) {
	for j := range 8 {
		switch {
		case k.bits == 8:
			a.VMOVDQU64(at(p, 64*j), w[j])
		case j < 4:
			a.VMOVDQU64(at(p, 64*j), w[j])
			a.VPSRLW(operand.Imm(4), w[j], w[j+4])
			a.VPANDD(nibble, w[j], w[j])
			a.VPANDD(nibble, w[j+4], w[j+4])
		}
	}
	for j := range 8 {
		left := 4 - j // how far the high bits of w[j] are from their place
		bits := at(p, 256)
		switch k.bits {
		case 4, 8:
			return
		case 6:
			left, bits = 4-j%4*2, at(p, 256+j/4*64)
		}
		switch {
		case left > 0:
			a.VPSLLD(operand.Imm(uint64(left)), bits, tmp[j])
		case left < 0:
			a.VPSRLD(operand.Imm(uint64(-left)), bits, tmp[j])
		default:
			a.VMOVDQU64(bits, tmp[j])
		}
		a.VPTERNLOGD(operand.Imm(0xf8), high, tmp[j], w[j]) // w | tmp & high
	}
}

// vectors returns the vector registers of the given width in bits.
func vectors(width int) []reg.VecPhysical {
	switch width {
	case 512:
		return []reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
			reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
			reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
			reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}
	case 256:
		return []reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
			reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	}
	return []reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7,
		reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15}
}
