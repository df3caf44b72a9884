package cpu

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
)

// GroupRows is the number of output rows that are packed side by side, so that
// one vector of 16 float32 holds one value of each.
const GroupRows = 16

// blockK is the number of values along K that share an activation scale.
const blockK = 32

// superK is the number of values along K of a super-block of Q4_K, Q5_K or Q6_K.
const superK = 256

// Matrix is a weight matrix of Rows x K, packed for streaming in groups of 16
// output rows ("R16"). Rows is rounded up to whole groups by rows of zeros. The
// packed form has the same bits a weight as the file (Q4_K and Q5_K: 1/8 more),
// and is read from its beginning to its end.
//
// A group of a quantised type has a block for each 32 values of K:
//
//   - The quants, which are unsigned: the stored weight plus 8 (Q4_0), 16 (Q5_0),
//     32 (Q6_K) or 128 (Q8_0). Q8_0: 8 vectors of 64 bytes; vector j holds, for
//     row r, the bytes k = 4j … 4j+3 at 4r. Others: 4 vectors; vector j holds, for
//     row r, the 4 bytes at 4r whose low nibbles are k = 4j … 4j+3 and whose high
//     nibbles are k = 16+4j … 16+4j+3.
//   - The fifth bits, one vector: bit j of byte 4r+i is that of row r and k = 4j+i.
//     Q6_K: the fifth and sixth bits, two vectors: bits 2j and 2j+1 of byte 4r+i
//     are those of row r and k = 4j+i in the first and 16+4j+i in the second.
//   - The scales. Types without super-blocks: dw of the 16 rows in f16, then mw
//     where there is one. Q4_K and Q5_K: sc and m of the 16 rows, a byte each.
//     Q6_K: sc of the 16 rows as int8, for k < 16 and then for k >= 16.
//
// Super-blocks begin, before their first of 8 blocks, with d of the 16 rows in f16,
// and dmin where there is one.
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

// format is the packed geometry of a type.
type format struct {
	bits    int  // significant bits of a quant
	super   bool // has super-blocks, whose scales are products
	min     bool // has minimum terms
	groupK  int  // values of k that share a scale
	offset  int32
	element int // bytes of one weight of a float type; then the rest is unused
}

var formats = [...]format{
	graph.Q4_0: {bits: 4, groupK: 32, offset: 8},
	graph.Q4_1: {bits: 4, groupK: 32, min: true},
	graph.Q5_0: {bits: 5, groupK: 32, offset: 16},
	graph.Q5_1: {bits: 5, groupK: 32, min: true},
	graph.Q8_0: {bits: 8, groupK: 32, offset: 128},
	graph.Q4_K: {bits: 4, super: true, groupK: 32, min: true},
	graph.Q5_K: {bits: 5, super: true, groupK: 32, min: true},
	graph.Q6_K: {bits: 6, super: true, groupK: 16, offset: 32},
	graph.F32:  {element: 4},
	graph.F16:  {element: 2},
	graph.BF16: {element: 2},
	graph.I32:  {},
}

// formatOf returns the format of t, or nil where no kernel takes such weights.
func formatOf(t graph.DType) *format {
	if int(t) >= len(formats) || formats[t].bits+formats[t].element == 0 {
		return nil
	}
	return &formats[t]
}

// Int8Weights reports whether Linear over weights of type t takes a tile made
// by Quantize; otherwise it takes one made by FloatTile.
func Int8Weights(t graph.DType) bool { return t.Quantised() }

// quantBytes returns the bytes of the quants of a block: 64 for each bit.
func (f *format) quantBytes() int { return f.bits * 64 }

// blockBytes returns the stride between blocks.
func (f *format) blockBytes() int {
	if f.min && !f.super {
		return f.quantBytes() + 64
	}
	return f.quantBytes() + 32
}

// headerBytes returns the bytes before the blocks of a super-block.
func (f *format) headerBytes() int {
	switch {
	case !f.super:
		return 0
	case f.min:
		return 64
	}
	return 32
}

// groupBytes returns the stride between groups.
func (f *format) groupBytes(k int) int {
	if f.element > 0 {
		return (k*GroupRows*f.element + 63) &^ 63
	}
	return k/blockK*f.blockBytes() + k/superK*f.headerBytes()
}

// block returns where block b of a group begins, and the header of its
// super-block.
func (f *format) block(b int) (block, header int) {
	const n = superK / blockK
	header = b / n * (f.headerBytes() + n*f.blockBytes())
	return header + f.headerBytes() + b%n*f.blockBytes(), header
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
	for g := g0; g < g1; g++ {
		out := dst[g*groupBytes : (g+1)*groupBytes]
		n := min(GroupRows, rows-g*GroupRows)
		in := src[g*GroupRows*rowBytes:][:n*rowBytes]
		if n < GroupRows || f.element > 0 {
			clear(out) // else every byte is written
		}
		switch {
		case f.element > 0:
			packFloats(out, in, f.element, n, k)
		case f.words():
			packWords(out, in, f, t, n, k)
		default:
			packBlocks(out, in, f, t, n, k)
		}
	}
}

// packBlocks packs n rows of a quantised type into a group.
func packBlocks(out, in []byte, f *format, t graph.DType, n, k int) {
	var b block
	rowBytes := t.RowBytes(k)
	for i := range k / blockK {
		for r := range n {
			b.read(t, in[r*rowBytes:(r+1)*rowBytes], i)
			b.write(f, out, i, r)
		}
	}
}

// words reports whether the file keeps the quants of a block in the same words
// as the packed form does.
func (f *format) words() bool { return !f.super && (f.bits == 4 || f.bits == 8) }

// packWords does packBlocks' work for Q4_0, Q4_1 and Q8_0: a transposition of
// words, twice as fast.
func packWords(out, in []byte, f *format, t graph.DType, n, k int) {
	le, rowBytes, blockBytes := binary.LittleEndian, t.RowBytes(k), t.BlockBytes()
	words, head, flip := f.quantBytes()/64, blockBytes-f.quantBytes()/GroupRows, uint32(0)
	if t == graph.Q8_0 {
		flip = signs // int8 to unsigned
	}
	for i := range k / blockK {
		at, _ := f.block(i)
		quants, scales := out[at:][:f.quantBytes()], out[at+f.quantBytes():][:f.blockBytes()-f.quantBytes()]
		for r := range n {
			p := in[r*rowBytes+i*blockBytes:][:blockBytes]
			le.PutUint16(scales[2*r:], le.Uint16(p))
			if f.min {
				le.PutUint16(scales[32+2*r:], le.Uint16(p[2:]))
			}
			p = p[head:]
			for j := range words {
				le.PutUint32(quants[64*j+4*r:], le.Uint32(p[4*j:])^flip)
			}
		}
	}
}

// packFloats packs n rows of elements of 2 or 4 bytes into a group.
func packFloats(out, in []byte, element, n, k int) {
	le, rowBytes := binary.LittleEndian, k*element
	for i := range k {
		col := out[i*GroupRows*element:][:GroupRows*element]
		for r := range n {
			if p := in[r*rowBytes+i*element:]; element == 2 {
				le.PutUint16(col[2*r:], le.Uint16(p))
			} else {
				le.PutUint32(col[4*r:], le.Uint32(p))
			}
		}
	}
}
