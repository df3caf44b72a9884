package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// probes emits the roofs of the benchmarks: loops of 16 independent VPDPBUSD or
// FMAs, the most that the CPU can do, and bare reads.
func (a asm) probes() {
	z := vectors(512)
	for _, p := range []struct {
		name, doc string
		emit      func(r reg.VecPhysical)
	}{
		{"probeDotAVX512", "runs 16 independent VPDPBUSD n times.", func(r reg.VecPhysical) { a.VPDPBUSD(z[16], z[17], r) }},
		{"probeFMAAVX512", "runs 16 independent FMAs n times.", func(r reg.VecPhysical) { a.VFMADD231PS(z[16], z[17], r) }},
	} {
		a.function(p.name, "n uintptr", p.doc)
		a.load("n", reg.RCX)
		for _, r := range z {
			a.VPXORD(r, r, r)
		}
		a.align()
		a.Label("loop")
		for _, r := range z[:16] {
			p.emit(r)
		}
		a.DECQ(reg.RCX)
		a.JNZ(operand.LabelRef("loop"))
		a.ret()
	}

	a.function("probeReadAVX2", "x *byte, n uintptr", "reads n bytes, a multiple of 256.")
	a.load("x", reg.RSI, "n", reg.RCX)
	a.align()
	a.Label("loop")
	for i := range 8 {
		a.VPXOR(at(reg.RSI, 32*i), reg.Y0, reg.Y0)
	}
	a.add(256, reg.RSI)
	a.SUBQ(operand.U32(256), reg.RCX)
	a.JNZ(operand.LabelRef("loop"))
	a.ret()
}
