package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Attention over one chunk is three steps for a few queries at a time:
//
//	scores: for each block, q·K for its 32 slots, K being [dim][32]
//	weights: per query the maximum, exp2 and sum over its visible slots
//	values: sum of weights times V, V being [slot][dim], over a range of slots
//
// Scores and weights are rows of 256 floats, one a query. Blocks are given as
// pointers to an array of base addresses.
const chunkBytes = 4 * 256

// attention describes the kernels of one tier.
type attention struct {
	tier    string
	width   int // bits of a vector
	queries int // the most queries at a time
	dims    []int
}

var (
	attention512 = attention{tier: "AVX512", width: 512, queries: 6, dims: []int{4, 2, 1}}
	attention2   = attention{tier: "AVX2", width: 256, queries: 3, dims: []int{4, 2}}
	kvTypes      = []string{"F32", "F16"}
)

func attentionAVX512(a asm) { a.attention(attention512) }
func attentionAVX2(a asm)   { a.attention(attention2) }

func (a asm) attention(d attention) {
	k := a.constantTable()
	for _, t := range kvTypes {
		for q := 1; q <= d.queries; q++ {
			a.scores(d, t, q)
		}
	}
	if d.width == 512 {
		a.weightsAVX512(k)
	} else {
		a.weightsAVX2(k)
	}
	for _, t := range kvTypes {
		for _, dims := range d.dims {
			for q := 1; q <= d.queries; q++ {
				a.values(d, t, q, dims)
			}
		}
	}
}

func scoresName(t string, q int, tier string) string { return name("scores%sQ%d%s", t, q, tier) }

func valuesName(t string, q, dims int, tier string) string {
	return name("values%sQ%dD%d%s", t, q, dims, tier)
}

// widen loads a vector of KV.
func (a asm) widen(t string, m operand.Mem, to reg.VecPhysical) {
	if t == "F32" {
		a.VMOVUPS(m, to)
	} else {
		a.VCVTPH2PS(m, to)
	}
}

func elementBytes(t string) int {
	if t == "F32" {
		return 4
	}
	return 2
}

// scores emits one FMA chain for each slot and query.
func (a asm) scores(d attention, t string, nq int) {
	a.function(scoresName(t, nq, d.tier),
		"p, q *float32, dim uintptr, k **byte, blocks uintptr",
		name("computes the scores of %d queries of dim values each, a multiple of 16,\nagainst %s keys.", nq, t))
	p, q, dim, kp, blocks := reg.RDI, reg.RSI, reg.RDX, reg.RCX, reg.R8
	stride, q0, q3, k, count := reg.R9, reg.R10, reg.R11, reg.RBX, reg.RAX
	k2 := reg.R12
	a.load("p", p, "q", q, "dim", dim, "k", kp, "blocks", blocks)
	a.MOVQ(dim, stride)
	a.SHLQ(operand.Imm(2), stride)
	v := vectors(d.width)
	per := 32 * 32 / d.width // vectors of 32 slots
	bytes := elementBytes(t)

	// pass emits the loop over the dimension for n blocks; after 4 dimensions at a
	// time the pointers move on.
	pass := func(label string, n int) {
		acc := v[:nq*per*n]
		rest := v[len(acc):]
		a.MOVQ(at(kp, 0), k)
		keys := []reg.Register{k, k2}[:n]
		if n == 2 {
			a.MOVQ(at(kp, 8), k2)
		}
		a.MOVQ(q, q0)
		if nq > 3 {
			a.LEAQ(operand.Mem{Base: stride, Index: stride, Scale: 2}, q3)
			a.ADDQ(q, q3)
		}
		for _, r := range acc {
			a.zero(d.width, r)
		}
		a.MOVQ(dim, count)
		query := func(i, u int) operand.Mem {
			if i < 3 {
				return row(q0, stride, i, 4*u)
			}
			return row(q3, stride, i-3, 4*u)
		}
		a.align()
		a.Label(label)
		for u := range 4 {
			if d.width == 512 {
				for b, base := range keys {
					for s := range per {
						a.widen(t, at(base, bytes*(32*u+16*s)), rest[b*per+s])
					}
				}
				for i := range nq {
					for s := range per * n {
						a.VFMADD231PS_BCST(query(i, u), rest[s], acc[i*per*n+s])
					}
				}
				continue
			}
			for i := range nq {
				a.VBROADCASTSS(query(i, u), rest[1+i])
			}
			for s := range per {
				a.widen(t, at(k, bytes*(32*u+8*s)), rest[0])
				for i := range nq {
					a.VFMADD231PS(rest[0], rest[1+i], acc[i*per+s])
				}
			}
		}
		for _, base := range keys {
			a.add(4*32*bytes, base)
		}
		a.add(16, q0)
		if nq > 3 {
			a.add(16, q3)
		}
		a.SUBQ(operand.U32(4), count)
		a.JNZ(operand.LabelRef(label))
		for i := range nq {
			for s := range per * n {
				a.VMOVUPS(acc[i*per*n+s], at(p, i*chunkBytes+s*d.width/8))
			}
		}
		a.add(128*n, p)
		a.add(8*n, kp)
	}

	if d.width == 512 && nq == 1 { // two blocks at once, for two more chains
		a.SUBQ(operand.Imm(2), blocks)
		a.JCS(operand.LabelRef("rest"))
		a.Label("two")
		pass("dims2", 2)
		a.SUBQ(operand.Imm(2), blocks)
		a.JCC(operand.LabelRef("two"))
		a.Label("rest")
		a.ADDQ(operand.Imm(2), blocks)
		a.JZ(operand.LabelRef("done"))
	}
	a.Label("block")
	pass("dims", 1)
	a.DECQ(blocks)
	a.JNZ(operand.LabelRef("block"))
	a.Label("done")
	a.ret()
}

// zero clears a register.
func (a asm) zero(width int, r reg.VecPhysical) {
	if width == 512 {
		a.VPXORD(r, r, r)
	} else {
		a.VPXOR(r, r, r)
	}
}

// values emits one FMA chain for each query and dimension, over ascending slots.
func (a asm) values(d attention, t string, nq, dims int) {
	a.function(valuesName(t, nq, dims, d.tier),
		"acc *float32, stride uintptr, p *float32, v **byte, offset, rowBytes, from, to uintptr",
		name("adds the slots [from, to) of %s values, at offset in rows of\nrowBytes, to %d vectors of %d queries. stride is between queries, in bytes.", t, dims, nq))
	acc, stride, p, blocks := reg.RDI, reg.RSI, reg.RDX, reg.RCX
	offset, rowBytes, from, to := reg.R8, reg.R9, reg.R10, reg.R11
	acc3, v, count, tmp := reg.R12, reg.RBX, reg.RAX, reg.R13
	a.load("acc", acc, "stride", stride, "p", p, "v", blocks, "offset", offset, "rowBytes", rowBytes, "from", from, "to", to)
	regs := vectors(d.width)
	sums, rest := regs[:nq*dims], regs[nq*dims:]
	lanes := d.width / 32
	if nq > 3 {
		a.LEAQ(operand.Mem{Base: stride, Index: stride, Scale: 2}, acc3)
		a.ADDQ(acc, acc3)
	}
	out := func(i, j int) operand.Mem {
		if i < 3 {
			return row(acc, stride, i, j*d.width/8)
		}
		return row(acc3, stride, i-3, j*d.width/8)
	}
	for i := range nq {
		for j := range dims {
			a.VMOVUPS(out(i, j), sums[i*dims+j])
		}
	}
	a.LEAQ(operand.Mem{Base: p, Index: from, Scale: 4}, p)

	a.Label("block")
	a.MOVQ(from, tmp)
	a.SHRQ(operand.Imm(5), tmp)
	a.MOVQ(operand.Mem{Base: blocks, Index: tmp, Scale: 8}, v)
	a.ADDQ(offset, v)
	a.INCQ(tmp)
	a.SHLQ(operand.Imm(5), tmp) // the end of the block
	a.CMPQ(tmp, to)
	a.CMOVQHI(to, tmp)
	a.MOVQ(tmp, count)
	a.SUBQ(from, count)
	a.ANDQ(operand.Imm(31), from)
	a.IMULQ(rowBytes, from)
	a.ADDQ(from, v)
	a.MOVQ(tmp, from)
	a.align()
	a.Label("slot")
	if d.width == 512 {
		for j := range dims {
			a.widen(t, at(v, elementBytes(t)*lanes*j), rest[j])
		}
		for i := range nq {
			for j := range dims {
				a.VFMADD231PS_BCST(at(p, i*chunkBytes), rest[j], sums[i*dims+j])
			}
		}
	} else {
		for i := range nq {
			a.VBROADCASTSS(at(p, i*chunkBytes), rest[1+i])
		}
		for j := range dims {
			a.widen(t, at(v, elementBytes(t)*lanes*j), rest[0])
			for i := range nq {
				a.VFMADD231PS(rest[0], rest[1+i], sums[i*dims+j])
			}
		}
	}
	a.add(4, p)
	a.ADDQ(rowBytes, v)
	a.DECQ(count)
	a.JNZ(operand.LabelRef("slot"))
	a.CMPQ(from, to)
	a.JNE(operand.LabelRef("block"))
	for i := range nq {
		for j := range dims {
			a.VMOVUPS(sums[i*dims+j], out(i, j))
		}
	}
	a.ret()
}

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
