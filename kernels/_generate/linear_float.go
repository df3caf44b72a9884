package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// linearFloat emits the kernel of float weights of type t for m tokens: one FMA
// chain an output. An FMA takes 4 cycles and one 64-byte vector can start in
// each, so several row groups run at once where one has fewer than 4 chains of
// that size.
func (a asm) linearFloat(width int, t string, m int) {
	tier, atOnce := "AVX512", map[int]int{1: 4, 2: 2, 3: 2}[m]
	if width == 256 {
		tier, atOnce = "AVX2", map[int]int{1: 4, 2: 2}[m]
	}
	a.function(linearName(t, m, tier),
		"y *float32, yStride uintptr, x *byte, tokens uintptr, w *byte, groupStride, k, groups uintptr",
		name("computes row groups of %s weights for %d tokens of a tile of some\nnumber of tokens; x is where theirs begin. Strides are in bytes.", t, m))
	f := floatKernel{asm: a, width: width, t: t, m: m, halves: 512 / width, bytes: 2,
		y: reg.RDI, yStride: reg.RSI, tile: reg.R8, weights: reg.R9, xStride: reg.R10, stride: reg.R11, stride3: reg.R15,
		k: reg.R12, groups: reg.R13, w: reg.RBX, x: reg.RCX, count: reg.RAX, y1: reg.RDX}
	if t == "F32" {
		f.bytes = 4
	}
	a.load("y", f.y, "yStride", f.yStride, "x", f.tile, "tokens", f.xStride, "w", f.weights,
		"groupStride", f.stride, "k", f.k, "groups", f.groups)
	a.SHLQ(operand.Imm(2), f.xStride)
	if atOnce > 1 {
		a.LEAQ(operand.Mem{Base: f.stride, Index: f.stride, Scale: 2}, f.stride3)
		a.SUBQ(operand.Imm(uint64(atOnce)), f.groups)
		a.JCS(operand.LabelRef("few"))
		a.Label("several")
		f.pass("S", atOnce)
		a.SUBQ(operand.Imm(uint64(atOnce)), f.groups)
		a.JCC(operand.LabelRef("several"))
		a.Label("few")
		a.ADDQ(operand.Imm(uint64(atOnce)), f.groups)
		a.JZ(operand.LabelRef("done"))
	}
	a.Label("group")
	f.pass("", 1)
	a.DECQ(f.groups)
	a.JNZ(operand.LabelRef("group"))
	a.Label("done")
	a.ret()
}

type floatKernel struct {
	asm
	width, halves, bytes, m  int
	t                        string
	y, yStride, tile, y1     reg.GPPhysical
	weights, stride, stride3 reg.GPPhysical
	xStride, k, groups       reg.GPPhysical
	w, x, count              reg.GPPhysical
}

// weight is the part half of the weights of row group g at step i.
func (f *floatKernel) weight(g, i, half int) operand.Mem {
	disp := f.bytes * (16*i + f.width/32*half)
	if g == 3 {
		return row(f.w, f.stride3, 1, disp)
	}
	return row(f.w, f.stride, g, disp)
}

// pass computes n row groups over all of K.
func (f *floatKernel) pass(suffix string, n int) {
	v := vectors(f.width)
	acc := func(g, t, half int) reg.VecPhysical { return v[(g*f.m+t)*f.halves+half] }
	x, temps := v[n*f.m*f.halves:], v[n*f.m*f.halves:]
	if f.width == 256 { // there is no broadcasting FMA: activations take a register each
		temps = temps[f.m:]
	}
	next := 0
	temp := func() reg.VecPhysical {
		next++
		return temps[(next-1)%len(temps)]
	}
	step := func(i int) {
		for t := range f.m {
			if f.width == 256 {
				f.VBROADCASTSS(row(f.x, f.xStride, i, 4*t), x[t])
			}
		}
		for g := range n {
			for half := range f.halves {
				w, m := temp(), f.weight(g, i, half)
				switch f.t {
				case "F32":
					f.VMOVUPS(m, w)
				case "F16":
					f.VCVTPH2PS(m, w)
				case "BF16":
					f.VPMOVZXWD(m, w)
					f.VPSLLD(operand.Imm(16), w, w)
				}
				for t := range f.m {
					if f.width == 512 {
						f.VFMADD231PS_BCST(row(f.x, f.xStride, i, 4*t), w, acc(g, t, half))
					} else {
						f.VFMADD231PS(w, x[t], acc(g, t, half))
					}
				}
			}
		}
	}
	f.MOVQ(f.weights, f.w)
	f.MOVQ(f.tile, f.x)
	for _, r := range v[:n*f.m*f.halves] {
		f.zero(f.width, r)
	}
	f.MOVQ(f.k, f.count)
	f.SUBQ(operand.Imm(2), f.count)
	f.JCS(operand.LabelRef("rest" + suffix))
	f.align()
	f.Label("steps" + suffix)
	step(0)
	step(1)
	f.add(2*16*f.bytes, f.w)
	f.LEAQ(row(f.x, f.xStride, 2, 0), f.x)
	f.SUBQ(operand.Imm(2), f.count)
	f.JCC(operand.LabelRef("steps" + suffix))
	f.Label("rest" + suffix)
	f.ADDQ(operand.Imm(2), f.count)
	f.JZ(operand.LabelRef("store" + suffix))
	step(0)
	f.Label("store" + suffix)
	f.MOVQ(f.y, f.y1)
	for t := range f.m {
		for g := range n {
			for half := range f.halves {
				f.VMOVUPS(acc(g, t, half), at(f.y1, 64*g+f.width/8*half))
			}
		}
		if t+1 < f.m {
			f.ADDQ(f.yStride, f.y1)
		}
	}
	f.add(64*n, f.y)
	for range n {
		f.ADDQ(f.stride, f.weights)
	}
}
