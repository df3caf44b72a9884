package cpu

import (
	"encoding/binary"

	"github.com/holdfast-run/holdfast/graph"
)

// block is 32 weights of one row on their way from the file to the packed form:
// unsigned quants, four to a word, and scales in the bits of the file. Work goes
// by words, because packing is most of a model's start.
type block struct {
	w    [8]uint32 // byte i of word j is the quant of k = 4j+i
	d, m uint16    // f16 scale and minimum, of the block or super-block
	sub  [2]uint8  // scale and minimum, or two scales, of a block of a super-block
}

// Masks of a word of four quants.
const (
	nibbles = 0x0f0f0f0f
	pairs   = 0x03030303
	ones    = 0x01010101
	signs   = 0x80808080
)

// read takes block i of a row. The layouts of the source are ggml-common.h's.
func (b *block) read(t graph.DType, row []byte, i int) {
	n, le := t.BlockBytes(), binary.LittleEndian
	if t.BlockElems() == superK {
		n *= i / (superK / blockK)
		b.readSuper(t, row[n:n+t.BlockBytes()], i%(superK/blockK))
		return
	}
	p := row[i*n : (i+1)*n]
	b.d = le.Uint16(p)
	p = p[2:]
	if t == graph.Q8_0 {
		for j := range b.w {
			b.w[j] = le.Uint32(p[4*j:]) ^ signs
		}
		return
	}
	if t == graph.Q4_1 || t == graph.Q5_1 {
		b.m, p = le.Uint16(p), p[2:]
	}
	var high uint32
	if t == graph.Q5_0 || t == graph.Q5_1 {
		high, p = le.Uint32(p), p[4:]
	}
	for j := range 4 {
		q := le.Uint32(p[4*j:])
		b.w[j] = q&nibbles | spread(high>>(4*j))<<4
		b.w[j+4] = q>>4&nibbles | spread(high>>(4*j+16))<<4
	}
}

// spread returns the low four bits of n, each in a byte of its own.
func spread(n uint32) uint32 { return n & 15 * 0x00204081 & ones }

// readSuper takes block s of a super-block.
func (b *block) readSuper(t graph.DType, p []byte, s int) {
	le := binary.LittleEndian
	if t == graph.Q6_K {
		b.d = le.Uint16(p[208:])
		b.sub = [2]uint8(p[192+2*s:])
		// Each half of 128 values has 64 bytes of low nibbles (the first 64 values in
		// the low ones) and 32 bytes of high bits, two for each of its four 32s.
		low, high := p[s/4*64+s%2*32:], p[128+s/4*32:]
		for j := range b.w {
			b.w[j] = le.Uint32(low[4*j:])>>(s%4/2*4)&nibbles | le.Uint32(high[4*j:])>>(s%4*2)&pairs<<4
		}
		return
	}
	b.d, b.m = le.Uint16(p), le.Uint16(p[2:])
	b.sub[0], b.sub[1] = scaleMinK(p[4:16], s)
	var high []byte
	if p = p[16:]; t == graph.Q5_K {
		high, p = p[:32], p[32:]
	}
	for j := range b.w {
		b.w[j] = le.Uint32(p[s/2*32+4*j:]) >> (s % 2 * 4) & nibbles
		if high != nil {
			b.w[j] |= le.Uint32(high[4*j:]) >> s & ones << 4
		}
	}
}

// scaleMinK unpacks the 6-bit scale and minimum of group s of a Q4_K or Q5_K
// super-block: the low bits of groups 0 … 3 and 4 … 7, the high bits of 4 … 7 in
// the upper bits of the first eight bytes.
func scaleMinK(p []byte, s int) (scale, min uint8) {
	if s < 4 {
		return p[s] & 63, p[s+4] & 63
	}
	return p[s+4]&15 | p[s-4]>>6<<4, p[s+4]>>4 | p[s]>>6<<4
}

// write puts b in place as block i of row r of a group.
func (b *block) write(f *format, group []byte, i, r int) {
	le := binary.LittleEndian
	at, header := f.block(i)
	q, scales := group[at+4*r:], group[at+f.quantBytes():]
	if f.bits == 8 {
		for j, w := range b.w {
			le.PutUint32(q[64*j:], w)
		}
	} else {
		for j := range 4 {
			le.PutUint32(q[64*j:], b.w[j]&nibbles|b.w[j+4]&nibbles<<4)
		}
	}
	switch f.bits {
	case 5:
		var plane uint32
		for j, w := range b.w {
			plane |= w >> 4 & ones << j
		}
		le.PutUint32(q[256:], plane)
	case 6:
		for half := range 2 {
			var plane uint32
			for j, w := range b.w[4*half:][:4] {
				plane |= w >> 4 & pairs << (2 * j)
			}
			le.PutUint32(q[256+64*half:], plane)
		}
	}
	if f.super {
		scales[r], scales[16+r] = b.sub[0], b.sub[1]
		scales = group[header:]
	}
	le.PutUint16(scales[2*r:], b.d)
	if f.min {
		le.PutUint16(scales[32+2*r:], b.m)
	}
}
