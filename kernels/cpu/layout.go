package cpu

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// GroupRows is the number of output rows that are packed side by side, so that
// one vector of 16 float32 holds one value of each.
const GroupRows = 16

// blockK is the number of values along K that share an activation scale.
const blockK = 32

// Matrix is a weight matrix of Rows x K, packed for streaming in groups of 16
// output rows ("R16"). Rows is rounded up to whole groups by rows of zeros.
//
// A group of a quantised type is, for each 32 values of K:
//
//   - The quants. Types of 4 bits: 4 vectors of 64 bytes; vector j holds, for row
//     r, the 4 bytes at 4r whose low nibbles are k = 4j … 4j+3 and whose high
//     nibbles are k = 16+4j … 16+4j+3. Others: 8 vectors; vector j holds, for row
//     r, the bytes k = 4j … 4j+3. Values are unsigned: the stored weight plus 8
//     (Q4_0), 16 (Q5_0), 32 (Q6_K) or 128 (Q8_0).
//   - The scales of the 16 rows, as f16 (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0) or f32
//     (Q4_K, Q5_K; Q6_K has two vectors, for k < 16 and k >= 16), the products
//     dw of docs/NUMERICS.md already taken.
//   - The minimum terms mw of the 16 rows in the same format, where there are any.
//
// Types with f16 scales and no minimum have blocks of 288 or 544 bytes, so that
// every second one has vectors across two cache lines. That costs less than a
// second stream of scales would. Q5_0, Q5_1, Q5_K and Q6_K spend a byte per weight here, more than in the file.
//
// A group of a float type is, for each k, the 16 weights of its rows as stored,
// padded to 64 bytes at the end of the group.
type Matrix struct {
	// Type is the element type of the weights.
	Type graph.DType
	// Rows is the number of outputs, K of inputs.
	Rows, K int
	// Data is the packed weights, PackedBytes long, on 64 bytes for speed.
	Data []byte
}

// Groups returns the number of row groups.
func (m *Matrix) Groups() int { return (m.Rows + GroupRows - 1) / GroupRows }

// format is the packed geometry of one quantised type, per block of 32 k and 16
// rows unless said otherwise.
type format struct {
	quants  int  // bytes of quants: 256 or 512
	scales  int  // bytes of scales
	mins    int  // bytes of minimum terms
	f32     bool // scales and minima are f32, else f16
	groupK  int  // values of k that share a scale
	offset  int32
	element int // bytes of one weight, for float types; then the rest is unused
}

var formats = [...]format{
	graph.Q4_0: {quants: 256, scales: 32, groupK: 32, offset: 8},
	graph.Q4_1: {quants: 256, scales: 32, mins: 32, groupK: 32},
	graph.Q5_0: {quants: 512, scales: 32, groupK: 32, offset: 16},
	graph.Q5_1: {quants: 512, scales: 32, mins: 32, groupK: 32},
	graph.Q8_0: {quants: 512, scales: 32, groupK: 32, offset: 128},
	graph.Q4_K: {quants: 256, scales: 64, mins: 64, f32: true, groupK: 32},
	graph.Q5_K: {quants: 512, scales: 64, mins: 64, f32: true, groupK: 32},
	graph.Q6_K: {quants: 512, scales: 128, f32: true, groupK: 16, offset: 32},
	graph.F32:  {element: 4},
	graph.F16:  {element: 2},
	graph.BF16: {element: 2},
	graph.I32:  {},
}

// formatOf returns the format of t, or nil where no kernel takes such weights.
func formatOf(t graph.DType) *format {
	if int(t) >= len(formats) || formats[t].quants+formats[t].element == 0 {
		return nil
	}
	return &formats[t]
}

// Int8Weights reports whether Linear over weights of type t takes a tile made
// by Quantize; otherwise it takes one made by FloatTile.
func Int8Weights(t graph.DType) bool { return t.Quantised() }

// blockBytes returns the stride between blocks of 32 k within a group.
func (f *format) blockBytes() int { return f.quants + f.scales + f.mins }

// groupBytes returns the stride between groups.
func (f *format) groupBytes(k int) int {
	if f.element > 0 {
		return (k*GroupRows*f.element + 63) &^ 63
	}
	return k / blockK * f.blockBytes()
}

// offsets returns where block b of a group has its quants, scales and minima.
func (f *format) offsets(b int) (quants, scales, mins int) {
	quants = b * f.blockBytes()
	return quants, quants + f.quants, quants + f.quants + f.scales
}

// PackedBytes returns the size of a packed matrix. It is an error when no kernel
// takes the type, when a dimension is not positive, or when k is not a multiple
// of the type's storage block.
func PackedBytes(t graph.DType, rows, k int) (int, error) {
	f := formatOf(t)
	switch {
	case f == nil:
		return 0, fmt.Errorf("cpu: no linear kernel for weights of type %v", t)
	case rows <= 0 || k <= 0:
		return 0, fmt.Errorf("cpu: %v matrix of %d x %d", t, rows, k)
	case k%t.BlockElems() != 0:
		return 0, fmt.Errorf("cpu: %v matrix of %d x %d: K is not a multiple of %d", t, rows, k, t.BlockElems())
	}
	m := Matrix{Rows: rows}
	return m.Groups() * f.groupBytes(k), nil
}

// Pack packs the row groups [g0, g1) of the matrix src, which is rows x k as GGUF
// stores it, into dst, which holds the whole packed matrix. Calls for different
// groups may run in parallel. The rows that the last group lacks are zeros.
func Pack(dst []byte, t graph.DType, rows, k int, src []byte, g0, g1 int) {
	f := formatOf(t)
	rowBytes, groupBytes := t.RowBytes(k), f.groupBytes(k)
	need("Pack src", len(src), rows*rowBytes)
	need("Pack dst", len(dst), g1*groupBytes)
	var b block
	for g := g0; g < g1; g++ {
		out := dst[g*groupBytes : (g+1)*groupBytes]
		clear(out)
		for r := range min(GroupRows, rows-g*GroupRows) {
			row := src[(g*GroupRows+r)*rowBytes:][:rowBytes]
			if f.element > 0 {
				for i := range k {
					copy(out[(i*GroupRows+r)*f.element:], row[i*f.element:][:f.element])
				}
				continue
			}
			for i := range k / blockK {
				b.read(t, row, i)
				b.write(f, out, i, r)
			}
		}
	}
}

// block is 32 weights of one row in an order and a format that suit all types:
// unsigned quants, and scales and minima in the bits that the packed form keeps.
type block struct {
	u      [blockK]uint8
	scales [2]uint32 // bits of f16 or f32; the second is used by groups of 16
	min    uint32
}

// read takes block i of a row. The layouts of the source are ggml-common.h's.
func (b *block) read(t graph.DType, row []byte, i int) {
	n := t.BlockBytes()
	le16 := func(p []byte) uint32 { return uint32(binary.LittleEndian.Uint16(p)) }
	switch t {
	case graph.Q8_0:
		p := row[i*n : (i+1)*n]
		b.scales[0] = le16(p)
		for j, q := range p[2:] {
			b.u[j] = q ^ 0x80
		}
	case graph.Q4_0, graph.Q4_1, graph.Q5_0, graph.Q5_1:
		p := row[i*n : (i+1)*n]
		b.scales[0] = le16(p)
		p = p[2:]
		if t == graph.Q4_1 || t == graph.Q5_1 {
			b.min = le16(p)
			p = p[2:]
		}
		var high uint32
		if t == graph.Q5_0 || t == graph.Q5_1 {
			high = binary.LittleEndian.Uint32(p)
			p = p[4:]
		}
		for j, q := range p[:16] {
			b.u[j] = q&15 | uint8(high>>j&1)<<4
			b.u[j+16] = q>>4 | uint8(high>>(j+16)&1)<<4
		}
	case graph.Q4_K, graph.Q5_K:
		p, s := row[i/8*n:][:n], i%8
		sc, m := scaleMinK(p[4:16], s)
		b.scales[0] = math.Float32bits(f16.ToFloat32(uint16(le16(p))) * float32(sc))
		b.min = math.Float32bits(-(f16.ToFloat32(uint16(le16(p[2:]))) * float32(m)))
		var high []byte
		p = p[16:]
		if t == graph.Q5_K {
			high, p = p[:32], p[32:]
		}
		for j, q := range p[s/2*32:][:32] {
			b.u[j] = q >> (s % 2 * 4) & 15
			if high != nil {
				b.u[j] |= high[j] >> s & 1 << 4
			}
		}
	case graph.Q6_K:
		p, s := row[i/8*n:][:n], i%8
		d := f16.ToFloat32(uint16(le16(p[208:])))
		for h := range 2 {
			b.scales[h] = math.Float32bits(d * float32(int8(p[192+2*s+h])))
		}
		// Each half of 128 values has 64 bytes of low nibbles (the first 64 values in
		// the low ones) and 32 bytes of high bits, two for each of its four 32s.
		low, high := p[s/4*64+s%2*32:], p[128+s/4*32:]
		for j := range blockK {
			b.u[j] = low[j]>>(s%4/2*4)&15 | high[j]>>(s%4*2)&3<<4
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
	quants, scales, mins := f.offsets(i)
	q := group[quants:]
	if f.quants == 256 {
		for j := range 16 {
			q[j/4*64+4*r+j%4] = b.u[j] | b.u[j+16]<<4
		}
	} else {
		for j, u := range b.u {
			q[j/4*64+4*r+j%4] = u
		}
	}
	if !f.f32 {
		binary.LittleEndian.PutUint16(group[scales+2*r:], uint16(b.scales[0]))
		if f.mins > 0 {
			binary.LittleEndian.PutUint16(group[mins+2*r:], uint16(b.min))
		}
		return
	}
	for h := range blockK / f.groupK {
		binary.LittleEndian.PutUint32(group[scales+64*h+4*r:], b.scales[h])
	}
	if f.mins > 0 {
		binary.LittleEndian.PutUint32(group[mins+4*r:], b.min)
	}
}
