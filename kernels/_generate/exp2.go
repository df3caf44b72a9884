package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The constants of exp2 and of other kernels, one 32-byte vector each. c0 …
// c6 are num.Exp2Coefficients; the tests compare every kernel with that package.
var constants = []struct {
	name string
	bits uint32
}{
	{"c0", math.Float32bits(1)},
	{"c1", math.Float32bits(0x1.62e432p-01)},
	{"c2", math.Float32bits(0x1.ebfbe6p-03)},
	{"c3", math.Float32bits(0x1.c6ada8p-05)},
	{"c4", math.Float32bits(0x1.3b2176p-07)},
	{"c5", math.Float32bits(0x1.5fc786p-10)},
	{"c6", math.Float32bits(0x1.4c62cp-13)},
	{"max", math.Float32bits(127)},
	{"min", math.Float32bits(-126)},
	{"-log2e", math.Float32bits(-0x1.715476p+00)},
	{"-inf", math.Float32bits(float32(math.Inf(-1)))},
	{"16", 16},
	{"high1", 0x10101010},
	{"high2", 0x30303030},
}

// constantTable writes the constants into the file and returns where each lies.
// At its end is the vector 0, 1 … 15 of int32, named "iota".
func (a asm) constantTable() func(name string) operand.Mem {
	table := a.StaticGlobal("constants")
	a.DataAttributes(8 | 16) // RODATA, NOPTR
	for _, c := range constants {
		for range 8 {
			a.AppendDatum(operand.U32(c.bits))
		}
	}
	for i := range 16 {
		a.AppendDatum(operand.U32(i))
	}
	return func(name string) operand.Mem {
		for i, c := range constants {
			if c.name == name {
				return table.Offset(32 * i)
			}
		}
		if name == "iota" {
			return table.Offset(32 * len(constants))
		}
		panic("no constant " + name)
	}
}

const (
	lessThan       = 0x11 // comparison predicates of VCMPPS: ordered, quiet
	notLessThan    = 0x15 // unordered, quiet
	roundToNearest = 8    // immediate of VROUNDPS and VRNDSCALEPS: ties to even
)

// exp2AVX512 replaces x by 2^x as num.Exp2f32 does, +0 in the lanes that are not
// in mask. top holds 127. n, p and keep are clobbered.
func (a asm) exp2AVX512(k func(string) operand.Mem, x, top, n, p reg.VecPhysical, mask, keep reg.OpmaskPhysical) {
	a.VMINPS(x, top, x) // the order of the operands keeps a NaN in x
	a.VCMPPS_BCST(operand.Imm(notLessThan), k("min"), x, mask, keep)
	a.VRNDSCALEPS(operand.Imm(roundToNearest), x, n)
	a.VSUBPS(n, x, x)
	a.VBROADCASTSS(k("c6"), p)
	for _, c := range []string{"c5", "c4", "c3", "c2", "c1", "c0"} {
		a.VFMADD213PS_BCST(k(c), x, p)
	}
	a.VCVTPS2DQ(n, n)
	a.VPSLLD(operand.Imm(23), n, n)
	a.VPADDD_Z(n, p, keep, x)
}

// exp2AVX2 replaces x by 2^x as num.Exp2f32 does. n, p and z are clobbered.
func (a asm) exp2AVX2(k func(string) operand.Mem, x, n, p, z reg.VecPhysical) {
	a.VMOVUPS(k("max"), n)
	a.VMINPS(x, n, x) // the order of the operands keeps a NaN in x
	a.VCMPPS(operand.Imm(notLessThan), k("min"), x, z)
	a.VROUNDPS(operand.Imm(roundToNearest), x, n)
	a.VSUBPS(n, x, x)
	a.VMOVUPS(k("c6"), p)
	for _, c := range []string{"c5", "c4", "c3", "c2", "c1", "c0"} {
		a.VFMADD213PS(k(c), x, p)
	}
	a.VCVTPS2DQ(n, n)
	a.VPSLLD(operand.Imm(23), n, n)
	a.VPADDD(n, p, x)
	a.VPAND(z, x, x)
}
