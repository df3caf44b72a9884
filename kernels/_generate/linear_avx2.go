package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tilePart is the largest number of tokens of one kernel here. A larger tile is
// computed in parts, whose places in the tile are arguments.
const tilePart = 4

// dots is a tier that has no dot product with a broadcast operand. With vectors
// of 256 bits a row group is two halves of 8 rows, each a pass over K where their
// accumulators do not fit together.
//
// Without any dot product, VPMADDUBSW sums two products in int16 and saturates,
// so as many of its results are added in int16 as cannot overflow: 8 for quants
// of 4 bits (15·127·2·8 = 30,480), 4 for 5 bits, 2 for 6 bits. Quants of 8 bits
// are made signed; their magnitude is multiplied by the activation with their
// sign (128·127·2 = 32,512), and every result is widened.
type dots struct {
	tier  string
	width int  // bits of a vector
	vnni  bool // has VPDPBUSD, of vectors of 256 bits in the VEX form
}

var (
	dotsAVX2     = dots{tier: "AVX2", width: 256}
	dotsAVX2VNNI = dots{tier: "AVX2VNNI", width: 256, vnni: true}
	dotsAVX512BW = dots{tier: "AVX512BW", width: 512}
)

func linearAVX2(a asm) {
	a.linearDots(dotsAVX2)
	for _, t := range floats {
		for m := 1; m <= tilePart; m++ {
			a.linearFloat(256, t, m)
		}
	}
}

func linearAVX2VNNI(a asm) { a.linearDots(dotsAVX2VNNI) }
func linearAVX512BW(a asm) { a.linearDots(dotsAVX512BW) }

func (a asm) linearDots(tier dots) {
	constant := a.constantTable()
	for _, k := range kinds {
		for m := 1; m <= tilePart; m++ {
			a.linearQuantDots(tier, k, m, constant)
		}
	}
}

func (a asm) linearQuantDots(tier dots, k kind, m int, constant func(string) operand.Mem) {
	a.function(linearName(k.name, m, tier.tier),
		"y *float32, yStride uintptr, q, d *byte, tokens uintptr, w *byte, blocks, groups uintptr",
		name("computes row groups of %s weights for %d tokens of a tile of\nsome number of tokens; q and d are where their quants and scales begin. yStride\nis in bytes.", k.name, m))
	y, header, q, d, weights := reg.RDI, reg.RSI, reg.R8, reg.R10, reg.R9
	tokens4, tileStride, groups, blocks := reg.R11, reg.R12, reg.R13, reg.RDX
	w, x, dcur, count := reg.RBX, reg.RCX, reg.R15, reg.RAX
	a.load("y", y, "q", q, "d", d, "w", weights, "tokens", tokens4, "blocks", blocks, "groups", groups)
	a.SHLQ(operand.Imm(2), tokens4)
	a.LEAQ(operand.Mem{Base: tokens4, Index: tokens4, Scale: 2}, tileStride)
	a.SHLQ(operand.Imm(2), tileStride) // 48 bytes a token

	v := vectors(tier.width)
	ones, low := v[15], v[14] // low is the nibble mask, for 8 bits the signs
	for _, c := range []struct {
		bits  uint32
		x, to reg.VecPhysical
	}{{0x00010001, reg.X15, ones}, {map[bool]uint32{false: 0x0f0f0f0f, true: 0x80808080}[k.bits == 8], reg.X14, low}} {
		a.MOVL(operand.U32(c.bits), reg.EAX)
		a.VMOVD(reg.EAX, c.x)
		a.VPBROADCASTD(c.x, c.to)
	}

	a.Label("group")
	passes := [][]int{{0}, {1}}
	switch {
	case tier.width == 512:
		passes = [][]int{{0}}
	case 2*m <= tilePart: // the accumulators of both halves fit
		passes = [][]int{{0, 1}}
	}
	for i, halves := range passes {
		block := name("block%d", i)
		a.MOVQ(weights, w)
		a.MOVQ(q, x)
		a.MOVQ(d, dcur)
		a.MOVQ(blocks, count)
		for i := range m * len(halves) {
			a.zero(tier.width, v[i])
		}
		a.align()
		a.Label(block)
		if k.super {
			inside := name("inside%d", i)
			a.TESTQ(operand.U32(7), count)
			a.JNZ(operand.LabelRef(inside))
			a.MOVQ(w, header)
			a.add(k.headerBytes(), w)
			a.Label(inside)
		}
		for i, half := range halves {
			b := dotBlock{asm: a, tier: tier, k: k, m: m, half: half, w: w, x: x, d: dcur, header: header, tokens4: tokens4,
				acc: v[i*m:], ones: ones, low: low, v: v, constant: constant}
			switch {
			case tier.vnni:
				b.dotProducts()
			case k.bits == 4:
				b.fourBits()
			case k.bits == 6:
				b.sixBits()
			default:
				b.fiveOrEightBits()
			}
		}
		a.add(k.blockBytes(), w)
		a.ADDQ(tileStride, x)
		a.ADDQ(tileStride, dcur)
		a.DECQ(count)
		a.JNZ(operand.LabelRef(block))
		a.MOVQ(y, x)
		a.load("yStride", count)
		for t := range m {
			for i, half := range halves {
				a.VMOVUPS(v[i*m+t], at(x, 32*half))
			}
			if t+1 < m {
				a.ADDQ(count, x)
			}
		}
	}
	a.MOVQ(w, weights)
	a.add(64, y)
	a.DECQ(groups)
	a.JNZ(operand.LabelRef("group"))
	a.ret()
}

// dotBlock emits one block of 8 or 16 rows x 32 k x m tokens. Of the vectors v, 0-3
// are accumulators, 14 and 15 the constants low and ones.
type dotBlock struct {
	asm
	tier      dots
	k         kind
	m, half   int
	w, x, d   reg.GPPhysical
	header    reg.GPPhysical
	tokens4   reg.GPPhysical
	constant  func(string) operand.Mem
	acc       []reg.VecPhysical
	ones, low reg.VecPhysical
	v         []reg.VecPhysical
}

// Of these the names differ between widths.
func (b *dotBlock) move(from, to operand.Op) {
	if b.tier.width == 512 {
		b.VMOVDQU64(from, to)
	} else {
		b.VMOVDQU(from, to)
	}
}

func (b *dotBlock) and(x, y, to operand.Op) {
	if b.tier.width == 512 {
		b.VPANDD(x, y, to)
	} else {
		b.VPAND(x, y, to)
	}
}

func (b *dotBlock) or(x, y, to operand.Op) {
	if b.tier.width == 512 {
		b.VPORD(x, y, to)
	} else {
		b.VPOR(x, y, to)
	}
}

func (b *dotBlock) xor(x, y, to operand.Op) {
	if b.tier.width == 512 {
		b.VPXORD(x, y, to)
	} else {
		b.VPXOR(x, y, to)
	}
}

// quants loads the unsigned quants k = 4j … 4j+3. tmp is clobbered.
func (b *dotBlock) quants(j int, to, tmp reg.VecPhysical) {
	part := func(v int) operand.Mem { return at(b.w, 64*v+32*b.half) }
	if b.k.bits == 8 {
		b.move(part(j), to)
		return
	}
	if j < 4 {
		b.and(part(j), b.low, to)
	} else {
		b.move(part(j-4), to)
		b.VPSRLW(operand.Imm(4), to, to)
		b.and(b.low, to, to)
	}
	left, bits, mask := 4-j, part(4), "high1" // how far the high bits are from their place
	switch b.k.bits {
	case 4:
		return
	case 6:
		left, bits, mask = 4-j%4*2, part(4+j/4), "high2"
	}
	b.move(bits, tmp)
	if left > 0 {
		b.VPSLLD(operand.Imm(uint64(left)), tmp, tmp)
	} else if left < 0 {
		b.VPSRLD(operand.Imm(uint64(-left)), tmp, tmp)
	}
	if b.tier.width == 512 {
		b.VPANDD_BCST(b.constant(mask), tmp, tmp)
	} else {
		b.VPAND(b.constant(mask), tmp, tmp)
	}
	b.or(tmp, to, to)
}

// products sets to to the sums of two products of the quants w and the
// activations of token t at 4j.
func (b *dotBlock) products(t, j int, w, to reg.VecPhysical) {
	b.VPBROADCASTD(at(b.x, 32*t+4*j), to)
	b.VPMADDUBSW(to, w, to)
}

// scale loads the scale i, 0 or 1, or the minimum, 1. tmp is clobbered.
func (b *dotBlock) scale(i int, to, tmp reg.VecPhysical) {
	scales := at(b.w, b.k.quantBytes())
	switch {
	case !b.k.super:
		b.VCVTPH2PS(scales.Offset(32*i+16*b.half), to)
		return
	case b.k.half:
		b.VPMOVSXBD(scales.Offset(16*i+8*b.half), to)
	default:
		b.VPMOVZXBD(scales.Offset(16*i+8*b.half), to)
	}
	b.VCVTDQ2PS(to, to)
	header := at(b.header, 16*b.half)
	if b.k.min {
		header = header.Offset(32 * i)
	}
	b.VCVTPH2PS(header, tmp)
	b.VMULPS(tmp, to, to)
}

// finish adds the dot product of token t times its scales: acc = fma(round(float(idot)·d), dw, acc).
func (b *dotBlock) finish(t int, idot, dw, tmp reg.VecPhysical) {
	b.VCVTDQ2PS(idot, idot)
	b.VBROADCASTSS(at(b.d, 4*t), tmp)
	b.VMULPS(tmp, idot, idot)
	b.VFMADD231PS(dw, idot, b.acc[t])
}

// minimum adds s·mw, with mw in the register min.
func (b *dotBlock) minimum(min, tmp reg.VecPhysical) {
	for t := range b.m {
		b.VBROADCASTSS(row(b.d, b.tokens4, 1, 4*t), tmp)
		if b.k.super { // mw is minus the product
			b.VFNMADD231PS(min, tmp, b.acc[t])
		} else {
			b.VFMADD231PS(min, tmp, b.acc[t])
		}
	}
}

// offset adds to idot the token's -sum (of all 32 quants) times the offset.
func (b *dotBlock) offset(t int, idot, tmp reg.VecPhysical) {
	b.VPBROADCASTD(row(b.d, b.tokens4, 2, 4*t), tmp)
	b.VPSLLD(operand.Imm(uint64(b.k.shift)), tmp, tmp)
	b.VPADDD(tmp, idot, idot)
}

// dotProducts: VPDPBUSD sums four products at once, exactly, over all of a scale's
// quants.
func (b *dotBlock) dotProducts() {
	idot, w, tmp, scale := b.v[4:8], b.v[8], b.v[9:13], b.v[13]
	dot := func(j0, j1, i int) {
		for j := j0; j < j1; j++ {
			b.quants(j, w, tmp[0])
			for t := range b.m {
				b.VPBROADCASTD(at(b.x, 32*t+4*j), tmp[t])
			}
			for t := range b.m {
				b.vexVPDPBUSD(tmp[t], w, idot[t])
			}
		}
		b.scale(i, scale, w)
		for t := range b.m {
			b.finish(t, idot[t], scale, tmp[t])
		}
	}
	if b.k.half {
		first := reg.R14
		b.LEAQ(row(b.d, b.tokens4, 1, 0), first)
		for t := range b.m { // the tile has the sum of the first 16 quants, and of all
			b.VPBROADCASTD(row(first, b.tokens4, 2, 4*t), idot[t])
			b.VPSLLD(operand.Imm(uint64(b.k.shift)), idot[t], idot[t])
		}
		dot(0, 4, 0)
		for t := range b.m {
			b.VPBROADCASTD(row(b.d, b.tokens4, 2, 4*t), idot[t])
			b.VPBROADCASTD(row(first, b.tokens4, 2, 4*t), tmp[t])
			b.VPSUBD(tmp[t], idot[t], idot[t])
			b.VPSLLD(operand.Imm(uint64(b.k.shift)), idot[t], idot[t])
		}
		dot(4, 8, 1)
		return
	}
	for t := range b.m {
		b.zero(256, idot[t])
		if b.k.shift > 0 {
			b.offset(t, idot[t], tmp[t])
		}
	}
	dot(0, 8, 0)
	if b.k.min {
		b.scale(1, scale, w)
		b.minimum(scale, tmp[0])
	}
}

// fourBits: the products of all 32 quants fit int16 together.
func (b *dotBlock) fourBits() {
	sum, lo, hi, tmp := b.v[4:8], b.v[8], b.v[9], b.v[10:14]
	for j := range 4 {
		b.move(at(b.w, 64*j+32*b.half), lo)
		b.VPSRLW(operand.Imm(4), lo, hi)
		b.and(b.low, lo, lo)
		b.and(b.low, hi, hi)
		for t := range b.m {
			if j == 0 {
				b.products(t, j, lo, sum[t])
			} else {
				b.products(t, j, lo, tmp[0])
				b.VPADDW(tmp[0], sum[t], sum[t])
			}
			b.products(t, 4+j, hi, tmp[1])
			b.VPADDW(tmp[1], sum[t], sum[t])
		}
	}
	b.scale(0, lo, hi)
	for t := range b.m {
		b.VPMADDWD(b.ones, sum[t], sum[t])
		if b.k.shift > 0 {
			b.offset(t, sum[t], tmp[t])
		}
		b.finish(t, sum[t], lo, tmp[t])
	}
	if b.k.min {
		b.scale(1, hi, lo)
		b.minimum(hi, tmp[0])
	}
}

// fiveOrEightBits: four products of quants of 5 bits fit int16, and one of 8 bits.
func (b *dotBlock) fiveOrEightBits() {
	sum, w, tmp := b.v[4:8], b.v[8:12], b.v[12:14]
	step := 4
	if b.k.bits == 8 {
		step = 2 // two quants and their magnitudes
	}
	negative := []reg.OpmaskPhysical{reg.K1, reg.K2}
	var none reg.VecPhysical
	if b.tier.width == 512 {
		none = b.v[16]
		b.zero(512, none)
	}
	for j0 := 0; j0 < 8; j0 += step {
		for j := range step {
			b.quants(j0+j, w[j], tmp[0])
			if b.k.bits == 8 {
				b.xor(b.low, w[j], w[j])
				b.VPABSB(w[j], w[j+2])
				if b.tier.width == 512 {
					b.VPMOVB2M(w[j], negative[j])
				}
			}
		}
		for t := range b.m {
			for j := range step {
				switch {
				case b.k.bits == 8:
					b.VPBROADCASTD(at(b.x, 32*t+4*(j0+j)), tmp[0])
					if b.tier.width == 512 {
						b.VPSUBB(tmp[0], none, negative[j], tmp[0])
					} else {
						b.VPSIGNB(w[j], tmp[0], tmp[0])
					}
					b.VPMADDUBSW(tmp[0], w[j+2], tmp[0])
				case j == 0:
					b.products(t, j0, w[0], tmp[0])
					continue
				default:
					b.products(t, j0+j, w[j], tmp[1])
					b.VPADDW(tmp[1], tmp[0], tmp[0])
					if j+1 < step {
						continue
					}
				}
				to := tmp[0]
				if j0 == 0 && (b.k.bits != 8 || j == 0) {
					to = sum[t]
				}
				b.VPMADDWD(b.ones, tmp[0], to)
				if to == tmp[0] {
					b.VPADDD(tmp[0], sum[t], sum[t])
				}
			}
		}
	}
	b.scale(0, w[0], w[1])
	for t := range b.m {
		if b.k.bits != 8 && b.k.shift > 0 {
			b.offset(t, sum[t], tmp[0])
		}
		b.finish(t, sum[t], w[0], tmp[0])
	}
	if b.k.min {
		b.scale(1, w[1], w[0])
		b.minimum(w[1], tmp[0])
	}
}

// sixBits: two groups of 16 quants, each two pairs of products that fit int16.
func (b *dotBlock) sixBits() {
	w, dw, tmp := b.v[4:8], b.v[8], b.v[9:13]
	// The tile has the sums of all 32 quants and of the first 16, both negative.
	first := reg.R14
	b.LEAQ(row(b.d, b.tokens4, 1, 0), first)
	for half := range 2 {
		for j := range 4 {
			b.quants(4*half+j, w[j], tmp[0])
		}
		b.scale(half, dw, tmp[0])
		for t := range b.m {
			for j := range 4 {
				b.products(t, 4*half+j, w[j], tmp[j])
			}
			b.VPADDW(tmp[1], tmp[0], tmp[0])
			b.VPADDW(tmp[3], tmp[2], tmp[2])
			b.VPMADDWD(b.ones, tmp[0], tmp[0])
			b.VPMADDWD(b.ones, tmp[2], tmp[2])
			b.VPADDD(tmp[2], tmp[0], tmp[0])
			b.VPBROADCASTD(row(first, b.tokens4, 2, 4*t), tmp[1])
			if half == 1 {
				b.VPBROADCASTD(row(b.d, b.tokens4, 2, 4*t), tmp[3])
				b.VPSUBD(tmp[1], tmp[3], tmp[1])
			}
			b.VPSLLD(operand.Imm(uint64(b.k.shift)), tmp[1], tmp[1])
			b.VPADDD(tmp[1], tmp[0], tmp[0])
			b.finish(t, tmp[0], dw, tmp[2])
		}
	}
}
