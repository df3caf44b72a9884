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
// KV of Q8_0 is quants of a byte with a scale for 32 of them. Of K, 32 dimensions
// are the f16 scales of the block's 32 slots, then [32][32 slots]; a row of V is the
// f16 scale and the quants of 32 dimensions at a time. A kernel multiplies a vector of
// quants by its scales once for all queries.
//
// Scores and weights are rows of 256 floats, one a query. Blocks are given as
// pointers to an array of base addresses.
//
// Blocks lie far apart, so that the hardware's prefetchers begin anew at each of
// them. The kernels therefore fetch blocks of as many bytes ahead: while scores
// reads keys the chunk's values, and while values reads those the keys of the
// chunk that comes next. A prefetch of an address that is not mapped does nothing.
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
	kvTypes      = []string{"F32", "F16", kvQuant}
)

const (
	kvQuant     = "Q8_0"
	quantDims   = 32            // dimensions that share a scale
	quantScales = 2 * 32        // bytes of the scales of a block's slots
	quantRow    = 2 + quantDims // bytes of a row of V for as many dimensions
)

// valueDims are the numbers of vectors of a row that kernels take at a time, of
// those of a tier: quants come with their scale.
func valueDims(t string, lanes int, dims []int) (list []int) {
	for _, d := range dims {
		if t != kvQuant || d*lanes%quantDims == 0 {
			list = append(list, d)
		}
	}
	return list
}

// valueAt is where in a row of V its dimension d is.
func valueAt(t string, d int) int {
	if t == kvQuant {
		return d/quantDims*quantRow + 2 + d%quantDims
	}
	return d * elementBytes(t)
}

// valueBytes is the size of n dimensions of a row of V.
func valueBytes(t string, n int) int {
	if t == kvQuant {
		return n / quantDims * quantRow
	}
	return n * elementBytes(t)
}

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
		a.weightsWholeAVX512(k)
	} else {
		a.weightsAVX2(k)
		a.weightsWholeAVX2(k)
	}
	for _, t := range kvTypes {
		for _, dims := range valueDims(t, d.width/32, d.dims) {
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

// widen loads a vector of KV; scale is that of quants.
func (a asm) widen(t string, m operand.Mem, to reg.VecPhysical, scale operand.Op) {
	switch t {
	case "F32":
		a.VMOVUPS(m, to)
	case "F16":
		a.VCVTPH2PS(m, to)
	default:
		a.VPMOVSXBD(m, to)
		a.VCVTDQ2PS(to, to)
		a.VMULPS(scale, to, to)
	}
}

func elementBytes(t string) int { return map[string]int{"F32": 4, "F16": 2, kvQuant: 1}[t] }

// quantScale is where the i-th vector of scales is kept: in the i-th of some free
// registers, or on the stack where vectors are narrow and there are none.
func (d attention) quantScale(free []reg.VecPhysical, i int) operand.Op {
	if d.width == 512 {
		return free[i]
	}
	return operand.NewStackAddr(32 * i)
}

// keepScale puts a vector of scales there by way of tmp; m is f16, one a lane.
func (a asm) keepScale(d attention, m operand.Mem, tmp reg.VecPhysical, to operand.Op) {
	if d.width == 512 {
		a.VCVTPH2PS(m, to)
		return
	}
	a.VCVTPH2PS(m, tmp)
	a.VMOVUPS(tmp, to)
}

// broadcastScale is keepScale of one scale for all lanes.
func (a asm) broadcastScale(d attention, m operand.Mem, tmp reg.VecPhysical, to operand.Op) {
	if d.width == 512 {
		half := to.(reg.VecPhysical).AsY()
		a.VPBROADCASTW(m, half)
		a.VCVTPH2PS(half, to)
		return
	}
	a.VPBROADCASTW(m, tmp.AsX())
	a.VCVTPH2PS(tmp.AsX(), tmp)
	a.VMOVUPS(tmp, to)
}

// scores emits one FMA chain for each slot and query.
func (a asm) scores(d attention, t string, nq int) {
	a.function(scoresName(t, nq, d.tier),
		"p, q *float32, dim uintptr, k, ahead **byte, blocks uintptr",
		name("computes the scores of %d queries of dim values each, a multiple of 16,\nagainst %s keys, and fetches the blocks ahead.", nq, t))
	p, q, dim, kp, blocks := reg.RDI, reg.RSI, reg.RDX, reg.RCX, reg.R8
	stride, q0, q3, count, ap := reg.R9, reg.R10, reg.R11, reg.RAX, reg.R13
	k, fetch := []reg.Register{reg.RBX, reg.R12}, []reg.Register{reg.R14, reg.R15}
	a.load("p", p, "q", q, "dim", dim, "k", kp, "ahead", ap, "blocks", blocks)
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
		keys, fetch := k[:n], fetch[:n]
		for b := range n {
			a.MOVQ(at(kp, 8*b), keys[b])
			a.MOVQ(at(ap, 8*b), fetch[b])
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
		scale := func(b, s int) operand.Op { return d.quantScale(rest[per*n:], b*per+s) }
		if t == kvQuant {
			a.Label(label + "group")
			for b, base := range keys {
				for s := range per {
					a.keepScale(d, at(base, s*d.width/16), rest[0], scale(b, s))
				}
				a.fetch(fetch[b], 0, quantScales)
				a.add(quantScales, base)
				a.add(quantScales, fetch[b])
			}
		}
		a.align()
		a.Label(label)
		for u := range 4 {
			if 32*bytes*u%64 == 0 {
				for _, base := range fetch {
					a.fetch(base, 32*bytes*u, 32*bytes)
				}
			}
			if d.width == 512 {
				for b, base := range keys {
					for s := range per {
						a.widen(t, at(base, bytes*(32*u+16*s)), rest[b*per+s], scale(b, s))
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
				a.widen(t, at(keys[0], bytes*(32*u+8*s)), rest[0], scale(0, s))
				for i := range nq {
					a.VFMADD231PS(rest[0], rest[1+i], acc[i*per+s])
				}
			}
		}
		for b := range n {
			a.add(4*32*bytes, keys[b])
			a.add(4*32*bytes, fetch[b])
		}
		a.add(16, q0)
		if nq > 3 {
			a.add(16, q3)
		}
		a.SUBQ(operand.U32(4), count)
		if t == kvQuant {
			a.TESTQ(operand.U32(quantDims-1), count)
			a.JNZ(operand.LabelRef(label))
			a.TESTQ(count, count)
			a.JNZ(operand.LabelRef(label + "group"))
		} else {
			a.JNZ(operand.LabelRef(label))
		}
		for i := range nq {
			for s := range per * n {
				a.VMOVUPS(acc[i*per*n+s], at(p, i*chunkBytes+s*d.width/8))
			}
		}
		a.add(128*n, p)
		a.add(8*n, kp)
		a.add(8*n, ap)
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

// fetch asks for n bytes at base + disp, into the second-level cache.
func (a asm) fetch(base reg.Register, disp, n int) {
	for i := 0; i < n; i += 64 {
		a.PREFETCHT1(at(base, disp+i))
	}
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
		"acc *float32, stride uintptr, p *float32, v, ahead **byte, offset, rowBytes, from, to uintptr",
		name("adds the slots [from, to) of %s values, at offset in rows of\nrowBytes, to %d vectors of %d queries, and fetches the same of the blocks ahead.\nstride is between queries, in bytes.", t, dims, nq))
	acc, stride, p, blocks := reg.RDI, reg.RSI, reg.RDX, reg.RCX
	offset, rowBytes, from, to := reg.R8, reg.R9, reg.R10, reg.R11
	acc3, v, count, tmp := reg.R12, reg.RBX, reg.RAX, reg.R13
	ahead, fetch := reg.R15, reg.R14
	a.load("acc", acc, "stride", stride, "p", p, "v", blocks, "ahead", ahead, "offset", offset, "rowBytes", rowBytes, "from", from, "to", to)
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
	a.MOVQ(operand.Mem{Base: ahead, Index: tmp, Scale: 8}, fetch)
	a.ADDQ(offset, fetch)
	a.INCQ(tmp)
	a.SHLQ(operand.Imm(5), tmp) // the end of the block
	a.CMPQ(tmp, to)
	a.CMOVQHI(to, tmp)
	a.MOVQ(tmp, count)
	a.SUBQ(from, count)
	a.ANDQ(operand.Imm(31), from)
	a.IMULQ(rowBytes, from)
	a.ADDQ(from, v)
	a.ADDQ(from, fetch)
	a.MOVQ(tmp, from)
	a.align()
	a.Label("slot")
	a.fetch(fetch, 0, valueBytes(t, lanes*dims))
	scale := func(j int) operand.Op { return d.quantScale(rest[dims:], j*lanes/quantDims) }
	if t == kvQuant {
		for g := range dims * lanes / quantDims {
			a.broadcastScale(d, at(v, g*quantRow), rest[0], scale(g*quantDims/lanes))
		}
	}
	if d.width == 512 {
		for j := range dims {
			a.widen(t, at(v, valueAt(t, lanes*j)), rest[j], scale(j))
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
			a.widen(t, at(v, valueAt(t, lanes*j)), rest[0], scale(j))
			for i := range nq {
				a.VFMADD231PS(rest[0], rest[1+i], sums[i*dims+j])
			}
		}
	}
	a.add(4, p)
	a.ADDQ(rowBytes, v)
	a.ADDQ(rowBytes, fetch)
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
