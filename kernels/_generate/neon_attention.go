package main

import "math"

// The NEON kernels of attention take as many queries as the AVX2 ones, and up to
// 32 dimensions of values at a time (see attention.go).
const neonQueries = 3

var neonDims = []int{8, 4} // vectors of a row of values

func (n *neon) attention() {
	for _, t := range kvTypes {
		for q := 1; q <= neonQueries; q++ {
			n.scores(t, q)
		}
	}
	n.weights()
	for _, t := range kvTypes {
		for _, dims := range valueDims(t, 4, neonDims) {
			for q := 1; q <= neonQueries; q++ {
				n.values(t, q, dims)
			}
		}
	}
}

// neonRaw holds what was loaded, while it is converted, and then scales.
const neonRaw v = 31

// quants loads 16 quants at base, as numbers, into to … to+3.
func (n *neon) quants(base r, to v) {
	n.ldr(neonRaw, base, 0)
	n.sxtlBytes(to, neonRaw, 0)
	n.sxtlBytes(to+2, neonRaw, 1)
	for i := v(0); i < 4; i += 2 {
		n.sxtl(to+i+1, to+i, 1)
		n.sxtl(to+i, to+i, 0)
	}
	for i := range v(4) {
		n.scvtf(to+i, to+i)
	}
}

// scalesAt is where on the stack the scales of 32 slots are kept, as f32. Below it
// is the return address.
const scalesAt = 16

// keepScales puts the scales of a group of keys at k on the stack. V29 to V31 are
// clobbered.
func (n *neon) keepScales(k r) {
	for i := range 4 {
		n.ldr(neonRaw, k, 16*i)
		for hi := range 2 {
			n.fcvtl(29+v(hi), neonRaw, hi)
			n.str(29+v(hi), stackPointer, scalesAt+32*i+16*hi)
		}
	}
}

// keys loads 16 keys at base, those of the slots 16·part …, into to … to+3.
func (n *neon) keys(t string, base r, to v, part int) {
	if t != kvQuant {
		n.widen(t, base, to, 4)
		return
	}
	n.quants(base, to)
	for i := range 4 {
		n.ldr(neonRaw, stackPointer, scalesAt+64*part+16*i)
		n.fmul(to+v(i), to+v(i), neonRaw)
	}
}

// values16 loads 16 values at base, whose scale, if they are quants, is at scale.
func (n *neon) values16(t string, base r, to v, scale r) {
	if t != kvQuant {
		n.widen(t, base, to, 4)
		return
	}
	n.quants(base, to)
	n.ldrh(neonRaw, scale, 0)
	n.fcvtHalf(neonRaw, neonRaw)
	for i := range v(4) {
		n.fmulLane(to+i, to+i, neonRaw, 0)
	}
}

// widen loads n vectors of F32 or F16 at base into to, to+1 …
func (n *neon) widen(t string, base r, to v, vectors int) {
	const raw = neonRaw
	for i := range vectors {
		if t == "F32" {
			n.ldr(to+v(i), base, 16*i)
			continue
		}
		if i%2 == 0 {
			n.ldr(raw, base, 8*i)
		}
		n.fcvtl(to+v(i), raw, i%2)
	}
}

// scores keeps the 32 slots of a block in 8 accumulators a query.
func (n *neon) scores(t string, nq int) {
	const p, q, dim, kp, ahead, blocks, k, fetch, q0, stride, left, to = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
	n.function(scoresName(t, nq, "NEON"),
		name("computes the scores of %d queries of dim values each, a multiple of 16,\nagainst %s keys, and fetches the blocks ahead.", nq, t),
		pointer("p", p), pointer("q", q), count("dim", dim), pointers("k", kp), pointers("ahead", ahead), count("blocks", blocks))
	n.shifted(dim, stride, 2)
	bytes := elementBytes(t)
	n.label("block")
	n.loadr(kp, 0, k)
	n.loadr(ahead, 0, fetch)
	n.movr(q, q0)
	n.movr(dim, left)
	for i := range 8 * nq {
		n.zero(v(i))
	}
	if t == kvQuant {
		n.label("group")
		n.keepScales(k)
		n.fetch(fetch, quantScales)
		n.add(quantScales, k)
		n.add(quantScales, fetch)
	}
	n.label("dims")
	const query, key = 24, 27 // one vector each; four keys at a time
	n.movr(q0, to)
	for i := range nq {
		n.ldr(query+v(i), to, 0)
		if i+1 < nq {
			n.addr(stride, to, to)
		}
	}
	for u := range 4 {
		if 32*bytes*u%64 == 0 {
			n.fetch(fetch, 32*bytes)
		}
		n.add(32*bytes, fetch)
		for part := range 2 {
			n.keys(t, k, key, part)
			n.add(16*bytes, k)
			for i := range nq {
				for s := range 4 {
					n.fmlaLane(v(8*i+4*part+s), key+v(s), query+v(i), u)
				}
			}
		}
	}
	n.add(16, q0)
	if t == kvQuant {
		n.line("SUB $4, R%d, R%d", left, left)
		n.line("TST $%d, R%d", quantDims-1, left)
		n.jump("BNE", "dims")
		n.line("CMP $0, R%d", left)
		n.jump("BNE", "group")
	} else {
		n.loop("dims", left, 4)
	}
	n.movr(p, to)
	for i := range nq {
		for s := range 8 {
			n.str(v(8*i+s), to, 16*s)
		}
		n.add(chunkBytes, to)
	}
	n.add(128, p)
	n.add(8, kp)
	n.add(8, ahead)
	n.loop("block", blocks, 1)
	n.ret()
}

// values emits one FMA chain for each query and dimension, over ascending slots.
func (n *neon) values(t string, nq, dims int) {
	const acc, stride, p, blocks, ahead, offset, rowBytes, from, to = 0, 1, 2, 3, 4, 5, 6, 7, 8
	const at, fetch, left, end, tmp = 9, 10, 11, 12, 13
	n.function(valuesName(t, nq, dims, "NEON"),
		name("adds the slots [from, to) of %s values, at offset in rows of\nrowBytes, to %d vectors of %d queries, and fetches the same of the blocks ahead.\nstride is between queries, in bytes.", t, dims, nq),
		pointer("acc", acc), count("stride", stride), pointer("p", p), pointers("v", blocks), pointers("ahead", ahead),
		count("offset", offset), count("rowBytes", rowBytes), count("from", from), count("to", to))
	each := func(f func(sum v, disp int)) {
		n.movr(acc, tmp)
		for i := range nq {
			for j := range dims {
				f(v(i*dims+j), 16*j)
			}
			if i+1 < nq {
				n.addr(stride, tmp, tmp)
			}
		}
	}
	each(func(sum v, disp int) { n.ldr(sum, tmp, disp) })
	n.line("ADD R%d<<2, R%d, R%d", from, p, p)
	n.label("block")
	n.line("LSR $5, R%d, R%d", from, tmp)
	n.line("MOVD (R%d)(R%d<<3), R%d", blocks, tmp, at)
	n.line("MOVD (R%d)(R%d<<3), R%d", ahead, tmp, fetch)
	n.add(1, tmp)
	n.line("LSL $5, R%d, R%d", tmp, end)
	n.line("CMP R%d, R%d", to, end)
	n.line("CSEL LO, R%d, R%d, R%d", end, to, end)
	n.line("SUB R%d, R%d, R%d", from, end, left)
	n.line("AND $31, R%d, R%d", from, tmp)
	n.line("MADD R%d, R%d, R%d, R%d", tmp, offset, rowBytes, tmp)
	n.addr(tmp, at, at)
	n.addr(tmp, fetch, fetch)
	n.movr(end, from)
	const weight, value = 24, 27 // one a query; four values at a time
	n.label("slot")
	n.fetch(fetch, valueBytes(t, 4*dims))
	n.addr(rowBytes, fetch, fetch)
	for i := range nq {
		if i == 0 {
			n.ld1r(weight, p)
			continue
		}
		n.line("ADD $%d, R%d, R%d", i*chunkBytes, p, tmp)
		n.ld1r(weight+v(i), tmp)
	}
	n.movr(at, tmp)
	if first := valueAt(t, 0); first > 0 {
		n.add(first, tmp)
	}
	for part := range dims / 4 {
		n.values16(t, tmp, value, at)
		n.add(4*4*elementBytes(t), tmp)
		for i := range nq {
			for j := range 4 {
				n.fmla(v(i*dims+4*part+j), value+v(j), weight+v(i))
			}
		}
	}
	n.add(4, p)
	n.addr(rowBytes, at, at)
	n.loop("slot", left, 1)
	n.line("CMP R%d, R%d", to, from)
	n.jump("BNE", "block")
	each(func(sum v, disp int) { n.str(sum, tmp, disp) })
	n.ret()
}

// weights works on 16 slots at a time, with masks.
func (n *neon) weights() {
	const p, from, to, maxAt, sumAt, cur, i = 0, 1, 2, 3, 4, 5, 6
	n.function("weightsNEON", weightsDoc,
		pointer("p", p), count("from", from), count("to", to), pointer("max", maxAt), pointer("sum", sumAt))
	n.exp2Constants()
	const first, last, index, four, top, sum = 26, 27, 28, 29, 30, 4 // sum takes V4-V7
	n.word(0x4e040c00|from<<5|first, "dup v%d.4s, w%d", first, from)
	n.word(0x4e040c00|to<<5|last, "dup v%d.4s, w%d", last, to)
	n.constant(4, four)
	// begin sets the cursor and the index to the first 16 slots. 0, 1, 2, 3 come from
	// a word whose bytes they are.
	begin := func() {
		n.line("AND $0xf0, R%d, R%d", from, i)
		n.line("ADD R%d<<2, R%d, R%d", i, p, cur)
		n.line("MOVD $0x03020100, R17")
		n.word(0x4e040c00|17<<5|index, "dup v%d.4s, w17", index)
		n.uxtlBytes(index, index)
		n.uxtl(index, index, 0)
		n.word(0x4e040c00|i<<5|0, "dup v0.4s, w%d", i)
		n.addi(index, index, 0)
	}
	// visible sets to to ones where the slots of index are not visible, and moves on.
	hidden := func(to, tmp v) {
		n.cmgt(to, first, index) // from > index
		n.cmgt(tmp, last, index) // to > index
		n.word(0x4ee01c00|tmp<<16|to<<5|to, "orn v%d.16b, v%d.16b, v%d.16b", to, to, tmp)
		n.addi(index, index, four)
	}
	next := func(label string) {
		n.add(64, cur)
		n.add(16, i)
		n.line("CMP R%d, R%d", to, i)
		n.jump("BLO", label)
	}
	begin()
	n.constant(math.Float32bits(float32(math.Inf(-1))), top)
	n.mov(31, top)
	n.label("max")
	for part := range 4 {
		n.ldr(0, cur, 16*part)
		hidden(1, 2)
		n.bsl(1, 31, 0)
		n.fmax(top, top, 1)
	}
	next("max")
	n.fmaxv(top, top)
	n.dup(top, top)
	n.zero(0)
	n.fadd(top, top, 0) // -0 is +0
	n.strs(top, maxAt, 0)

	begin()
	for part := range v(4) {
		n.zero(sum + part)
	}
	n.label("exp")
	for part := range v(4) {
		n.ldr(0, cur, 16*int(part))
		n.fsub(0, 0, top)
		n.exp2(0, 1, 2, 3)
		hidden(1, 2)
		n.bic(0, 0, 1)
		n.str(0, cur, 16*int(part))
		n.fadd(sum+part, sum+part, 0)
	}
	next("exp")
	n.fold(sum, 0)
	n.strs(sum, sumAt, 0)
	n.ret()
}
