package main

import (
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vexVPDPBUSD adds to each int32 of dst four products of signed bytes by unsigned
// ones, in the VEX form of AVX-VNNI, which Go's assembler does not know:
//
//	VEX.256.66.0F38.W0 50 /r, with dst, unsigned, signed in reg, vvvv, r/m
//
// avo sees no data flow here, which takes physical registers.
func (a asm) vexVPDPBUSD(signed, unsigned, dst reg.VecPhysical) {
	s, u, d := byte(signed.PhysicalIndex()), byte(unsigned.PhysicalIndex()), byte(dst.PhysicalIndex())
	for _, b := range []byte{
		0xc4,
		^(d>>3)&1<<7 | 1<<6 | ^(s>>3)&1<<5 | 0x02, // R, X and B inverted; map 0F38
		^u&15<<3 | 1<<2 | 0x01,                    // vvvv inverted, 256 bits, prefix 66
		0x50,
		0xc0 | d&7<<3 | s&7,
	} {
		a.Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []operand.Op{operand.U8(b)}})
	}
}
