package main

// linear emits the kernels of quantised and float weights for arm64. A row group
// is two halves of 8 rows, each a pass over K where their accumulators do not fit
// together, as with AVX2. Quants of 4 to 6 bits are as good signed as unsigned;
// those of 8 bits are made signed, and then need no offset.
func (n *neon) linear() {
	for _, k := range kinds {
		for m := 1; m <= tilePart; m++ {
			n.linearQuant(k, m, "SDOT")
		}
	}
	for _, t := range floats {
		for m := 1; m <= tilePart; m++ {
			n.linearFloat(t, m)
		}
	}
}

// matrixTokens are the numbers of tokens of the kernels with SMMLA, which takes
// two at a time.
var matrixTokens = []int{2, 4}

func (n *neon) linearMatrix() {
	for _, k := range kinds {
		for _, m := range matrixTokens {
			n.linearQuant(k, m, "I8MM")
		}
	}
}

// General registers of the linear kernels.
const (
	regY, regYStride, regQ, regD, regTokens, regWeights, regBlocks, regGroups = 0, 1, 2, 3, 4, 5, 6, 7
	regW, regX, regScales, regCount, regTileStride, regHeader, regTmp         = 8, 9, 10, 11, 12, 13, 14
)

func (n *neon) linearQuant(k kind, m int, tier string) {
	n.function(linearName(k.name, m, tier),
		name("computes row groups of %s weights for %d tokens of a tile of\nsome number of tokens; q and d are where their quants and scales begin. yStride\nis in bytes.", k.name, m),
		pointer("y", regY), count("yStride", regYStride), bytesAt("q", regQ), bytesAt("d", regD), count("tokens", regTokens),
		bytesAt("w", regWeights), count("blocks", regBlocks), count("groups", regGroups))
	n.shifted(regTokens, regTokens, 2)
	n.line("ADD R%d<<1, R%d, R%d", regTokens, regTokens, regTileStride)
	n.shifted(regTileStride, regTileStride, 2) // 48 bytes a token
	b := neonBlock{neon: n, k: k, m: m, matrix: tier == "I8MM", low: 30, high: 31}
	n.constant(map[bool]uint32{false: 0x0f0f0f0f, true: 0x80808080}[k.bits == 8], b.low)
	if k.bits == 5 || k.bits == 6 {
		n.constant(map[int]uint32{5: 0x10101010, 6: 0x30303030}[k.bits], b.high)
	}
	n.label("group")
	passes := [][]int{{0}, {1}}
	if 2*m <= tilePart {
		passes = [][]int{{0, 1}}
	}
	for i, halves := range passes {
		n.movr(regWeights, regW)
		n.movr(regQ, regX)
		n.movr(regD, regScales)
		n.movr(regBlocks, regCount)
		for a := range 2 * m * len(halves) {
			n.zero(v(a))
		}
		n.label(name("block%d", i))
		if k.super {
			n.line("TST $7, R%d", regCount)
			n.jump("BNE", name("inside%d", i))
			n.movr(regW, regHeader)
			n.add(k.headerBytes(), regW)
			n.label(name("inside%d", i))
		}
		for i, half := range halves {
			b.half, b.acc = half, v(2*m*i)
			b.block()
		}
		n.add(k.blockBytes(), regW)
		n.addr(regTileStride, regX, regX)
		n.addr(regTileStride, regScales, regScales)
		n.loop(name("block%d", i), regCount, 1)
		n.movr(regY, regX)
		for t := range m {
			for i, half := range halves {
				for r := range 2 {
					n.str(v(2*m*i+2*t+r), regX, 32*half+16*r)
				}
			}
			if t+1 < m {
				n.addr(regYStride, regX, regX)
			}
		}
	}
	n.movr(regW, regWeights)
	n.add(64, regY)
	n.loop("group", regGroups, 1)
	n.ret()
}

// neonBlock emits one block of 8 rows x 32 k x m tokens. V0-V7 are accumulators,
// two a token; V8-V15 the dot products, V16-V23 the tokens' quants.
//
// With SMMLA the four vectors of two tokens' dot products are, until they are
// complete, pairs of rows: [row 0 token 0, row 0 token 1, row 1 token 0, row 1
// token 1]; and those of their quants each hold 8 k of both.
type neonBlock struct {
	*neon
	k         kind
	m, half   int
	matrix    bool
	acc       v
	low, high v
}

func (b *neonBlock) idot(t, r int) v { return v(8 + 2*t + r) }
func (b *neonBlock) x(t, part int) v { return v(16 + 2*t + part) }

// part is where vector i of the quants has rows 4r … 4r+3 of the half.
func (b *neonBlock) part(i, r int) int { return 64*i + 32*b.half + 16*r }

// perToken loads a word of the tile for token t: field 0 is d, 1 s, 2 minus the
// sum of all quants, 3 minus that of the first 16.
func (b *neonBlock) perToken(field, t int, to v) {
	if field == 0 {
		b.line("ADD $%d, R%d, R%d", 4*t, regScales, regTmp)
	} else {
		if field == 1 {
			b.line("ADD R%d, R%d, R%d", regTokens, regScales, regTmp)
		} else {
			b.line("ADD R%d<<1, R%d, R%d", regTokens, regScales, regTmp)
		}
		if field == 3 {
			b.addr(regTokens, regTmp, regTmp)
		}
		if t > 0 {
			b.add(4*t, regTmp)
		}
	}
	b.ld1r(to, regTmp)
}

func (b *neonBlock) block() {
	const tmp, dw = 24, 26 // and the next
	b.loadTokens()
	switch {
	case b.k.half:
		for t := range b.m {
			b.perToken(3, t, b.idot(t, 0))
		}
		b.offset()
		b.dots(0, 1)
		b.scale(0, dw)
		b.finish(dw, tmp)
		for t := range b.m {
			b.perToken(2, t, b.idot(t, 0))
			b.perToken(3, t, tmp)
			b.subi(b.idot(t, 0), b.idot(t, 0), tmp)
		}
		b.offset()
		b.dots(1, 2)
		b.scale(1, dw)
		b.finish(dw, tmp)
		return
	case b.k.shift > 0 && b.k.bits < 8:
		for t := range b.m {
			b.perToken(2, t, b.idot(t, 0))
		}
		b.offset()
	default:
		for t := range b.m {
			b.zero(b.idot(t, 0))
			b.zero(b.idot(t, 1))
		}
	}
	b.dots(0, 2)
	b.scale(0, dw)
	b.finish(dw, tmp)
	if b.k.min {
		b.scale(1, dw)
		for t := range b.m {
			b.perToken(1, t, tmp)
			for r := range v(2) {
				if b.k.super { // mw is minus the product
					b.fmls(b.acc+2*v(t)+r, tmp, dw+r)
				} else {
					b.fmla(b.acc+2*v(t)+r, tmp, dw+r)
				}
			}
		}
	}
}

// loadTokens loads the quants of the tokens.
func (b *neonBlock) loadTokens() {
	const tmp = 24
	for t := range b.m {
		for part := range 2 {
			b.ldr(b.x(t, part), regX, 32*t+16*part)
		}
	}
	for t := 0; b.matrix && t < b.m; t += 2 {
		for part := range 2 {
			one, other := b.x(t, part), b.x(t+1, part)
			b.zip1d(tmp, one, other)
			b.zip2d(other, one, other)
			b.mov(one, tmp)
		}
	}
}

// offset makes of minus a sum of quants, in the first of each token's dot
// products, the start of all.
func (b *neonBlock) offset() {
	for t := range b.m {
		b.shl(b.idot(t, 0), b.idot(t, 0), b.k.shift)
		if !b.matrix {
			b.mov(b.idot(t, 1), b.idot(t, 0))
		}
	}
	for t := 0; b.matrix && t < b.m; t += 2 {
		b.zip1(b.idot(t, 0), b.idot(t, 0), b.idot(t+1, 0))
		for _, pair := range []v{b.idot(t, 1), b.idot(t+1, 0), b.idot(t+1, 1)} {
			b.mov(pair, b.idot(t, 0))
		}
	}
}

// dots adds the products of the parts [from, to): 16 k each.
func (b *neonBlock) dots(from, to int) {
	const w, w2, low, high, bits = 24, 26, 25, 27, 28 // bits and the next: one for each four rows
	for part := from; part < to; part++ {
		if b.k.bits == 6 || b.k.bits == 5 && part == from {
			for r := range 2 {
				b.ldr(bits+v(r), regW, b.part(4+map[bool]int{true: part}[b.k.bits == 6], r))
			}
		}
		for j := 0; j < 4; j++ {
			for r := range 2 {
				b.quants(w, part, j, r, bits+v(r))
				if !b.matrix {
					for t := range b.m {
						b.sdot(b.idot(t, r), w, b.x(t, part), j)
					}
					continue
				}
				b.quants(w2, part, j+1, r, bits+v(r))
				b.zip1(low, w, w2) // two rows, 8 k each
				b.zip2(high, w, w2)
				for t := 0; t < b.m; t += 2 {
					x := b.x(t+j/2, part)
					b.smmla(b.idot(t+r, 0), low, x)
					b.smmla(b.idot(t+r, 1), high, x)
				}
			}
			if b.matrix {
				j++
			}
		}
	}
	for t := 0; b.matrix && t < b.m; t += 2 { // from pairs of rows to tokens
		rows := [4]v{b.idot(t, 0), b.idot(t, 1), b.idot(t+1, 0), b.idot(t+1, 1)}
		b.uzp1(low, rows[0], rows[1])
		b.uzp2(high, rows[0], rows[1])
		b.uzp1(rows[1], rows[2], rows[3])
		b.uzp2(rows[3], rows[2], rows[3])
		b.mov(rows[0], low)
		b.mov(rows[2], high)
	}
}

// quants loads the quants k = 16·part + 4j … of the rows 4r … 4r+3.
func (b *neonBlock) quants(w v, part, j, r int, bits v) {
	const tmp = 25
	if b.k.bits == 8 {
		b.ldr(w, regW, b.part(4*part+j, r))
		b.eor(w, w, b.low)
		return
	}
	b.ldr(w, regW, b.part(j, r))
	if part == 0 {
		b.and(w, w, b.low)
	} else {
		b.ushrBytes(w, w, 4)
	}
	switch b.k.bits {
	case 5:
		b.highBits(w, tmp, bits, 4-(4*part+j))
	case 6:
		b.highBits(w, tmp, bits, 4-2*j)
	}
}

// highBits puts bits into the quants w, after a shift to the left.
func (b *neonBlock) highBits(w, tmp, bits v, left int) {
	switch {
	case left > 0:
		b.shlBytes(tmp, bits, left)
		bits = tmp
	case left < 0:
		b.ushrBytes(tmp, bits, -left)
		bits = tmp
	}
	b.and(tmp, bits, b.high)
	b.orr(w, w, tmp)
}

// scale loads the scale i, 0 or 1, or the minimum, 1, of 8 rows into to and the
// next.
func (b *neonBlock) scale(i int, to v) {
	const tmp = 24
	scales := b.k.quantBytes()
	if !b.k.super {
		b.ldr(tmp, regW, scales+32*i+16*b.half)
		b.fcvtl(to, tmp, 0)
		b.fcvtl(to+1, tmp, 1)
		return
	}
	b.ldrd(tmp, regW, scales+16*i+8*b.half)
	extend := b.uxtl
	if b.k.half {
		b.sxtlBytes(tmp, tmp, 0)
		extend = b.sxtl
	} else {
		b.uxtlBytes(tmp, tmp)
	}
	header := 16 * b.half
	if b.k.min {
		header += 32 * i
	}
	b.ldr(tmp+1, regHeader, header)
	for r := range 2 {
		extend(to+v(r), tmp, r)
		b.scvtf(to+v(r), to+v(r))
	}
	for r := range 2 {
		b.fcvtl(tmp, tmp+1, r)
		b.fmul(to+v(r), to+v(r), tmp)
	}
}

// finish adds the dot products times their scales: acc = fma(round(float(idot)·d), dw, acc).
func (b *neonBlock) finish(dw, tmp v) {
	for t := range b.m {
		b.perToken(0, t, tmp)
		for r := range 2 {
			i := b.idot(t, r)
			b.scvtf(i, i)
			b.fmul(i, i, tmp)
			b.fmla(b.acc+v(2*t+r), i, dw+v(r))
		}
	}
}

// linearFloat emits the kernel of float weights of type t for m tokens: one FMA
// chain an output.
func (n *neon) linearFloat(t string, m int) {
	const xStride, stride, steps = 4, 6, 15
	n.function(linearName(t, m, "SDOT"),
		name("computes row groups of %s weights for %d tokens of a tile of some\nnumber of tokens; x is where theirs begin. Strides are in bytes.", t, m),
		pointer("y", regY), count("yStride", regYStride), bytesAt("x", regQ), count("tokens", xStride),
		bytesAt("w", regWeights), count("groupStride", stride), count("k", steps), count("groups", regGroups))
	n.shifted(xStride, xStride, 2)
	bytes := elementBytes(map[bool]string{true: "F32", false: "F16"}[t == "F32"])
	acc := func(tok, r int) v { return v(4*tok + r) }
	n.label("group")
	n.movr(regWeights, regW)
	n.movr(regQ, regX)
	n.movr(steps, regCount)
	for i := range 4 * m {
		n.zero(v(i))
	}
	n.label("step")
	const w, x, raw = 16, 20, 24
	for tok := range m {
		if tok == 0 {
			n.ld1r(x, regX)
			continue
		}
		n.line("ADD $%d, R%d, R%d", 4*tok, regX, regTmp)
		n.ld1r(x+v(tok), regTmp)
	}
	for r := range 4 {
		switch {
		case t == "F32":
			n.ldr(w+v(r), regW, 16*r)
			continue
		case r%2 == 0:
			n.ldr(raw+v(r/2), regW, 8*r)
		}
		if t == "F16" {
			n.fcvtl(w+v(r), raw+v(r/2), r%2)
		} else {
			n.shll16(w+v(r), raw+v(r/2), r%2)
		}
	}
	for tok := range m {
		for r := range 4 {
			n.fmla(acc(tok, r), w+v(r), x+v(tok))
		}
	}
	n.add(16*bytes, regW)
	n.addr(xStride, regX, regX)
	n.loop("step", regCount, 1)
	n.movr(regY, regX)
	for tok := range m {
		for r := range 4 {
			n.str(acc(tok, r), regX, 16*r)
		}
		if tok+1 < m {
			n.addr(regYStride, regX, regX)
		}
	}
	n.add(64, regY)
	n.addr(stride, regWeights, regWeights)
	n.loop("group", regGroups, 1)
	n.ret()
}
