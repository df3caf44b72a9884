package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// probeKernel emits a loop of 16 independent VPDPBUSD: what the CPU can do at
// most, with which the benchmarks compare the linear kernels.
func probeKernel(a asm) {
	a.function("probeAVX512", "n uintptr", "runs 16 independent VPDPBUSD n times, the roof of the benchmarks.")
	a.load("n", reg.RCX)
	z := vectors(512)
	for _, r := range z {
		a.VPXORD(r, r, r)
	}
	a.align()
	a.Label("loop")
	for _, r := range z[:16] {
		a.VPDPBUSD(z[16], z[17], r)
	}
	a.DECQ(reg.RCX)
	a.JNZ(operand.LabelRef("loop"))
	a.ret()
}
