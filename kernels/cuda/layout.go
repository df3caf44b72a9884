package cuda

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
)

// A packed matrix is how the kernels stream weights: N outputs by K in tiles of 16
// outputs by span values of K, all tiles of 16 outputs after one another in
// ascending K. linear_*, unpack_* and embed_* read it; a table that embeds tokens
// and makes logits is packed once.
//
// Inside a tile lie first the quants in the order of mma.m16n8k16 fragments: lane
// 4g+t of a warp has outputs g and g+8 (h = 0, 1) at k = 32s + 8t … 32s + 8t+7,
// and reads them as 16 bytes.
//
//   - Q4_0, 576 bytes for 64 of K: 16 bytes a lane, word 2s+h. Bits 4(e/2) + 16(e%2) of
//     a word are element e of the 8, as the file has it (u4). Then the scales d in
//     f16, [g][s][h].
//   - Q8_0, 1088 bytes for 64 of K: for each s 16 bytes a lane, word 2(e/4)+h; byte
//     e%4/2 + 2(e%2) of a word is element e. Then the scales d in f16, [g][s][h].
//   - Q4_K, 2368 bytes for 256 of K: four parts of 64 of K, quants as Q4_0's; for each
//     part the scales sc and m of its two groups as bytes, [g][s][h][sc, m]; then
//     [g][h][d, dmin] in f16.
//
// Outputs are filled up to a multiple of 16, and K to one of the span, by zero
// weights. BF16 is not packed: rows as the file has them, which cuBLASLt takes.
type packing struct {
	span  int // values of K in a tile
	bytes int // of a tile
	pack  func(tile, block []byte, row, k int)
}

// TileRows is the number of outputs of a tile.
const TileRows = 16

var packings = map[graph.DType]packing{
	graph.BF16: {span: 1, bytes: 2 * TileRows},
	graph.Q4_0: {span: 64, bytes: 576, pack: packQ4_0},
	graph.Q8_0: {span: 64, bytes: 1088, pack: packQ8_0},
	graph.Q4_K: {span: 256, bytes: 2368, pack: packQ4_K},
}

// PackedBytes returns the size of a packed matrix. It is an error when no kernel
// takes the type, when a dimension is not positive, or when k is not a multiple
// of the type's block (of 8 for BF16).
func PackedBytes(t graph.DType, n, k int) (int, error) {
	p, ok := packings[t]
	switch unit := max(t.BlockElems(), 8); {
	case !ok:
		return 0, fmt.Errorf("cuda: no linear kernel for weights of type %v", t)
	case n <= 0 || k <= 0:
		return 0, fmt.Errorf("cuda: %v matrix of %d x %d", t, n, k)
	case k%unit != 0:
		return 0, fmt.Errorf("cuda: %v matrix of %d x %d: K is not a multiple of %d", t, n, k, unit)
	}
	if t == graph.BF16 {
		return n * k * 2, nil
	}
	return (n + TileRows - 1) / TileRows * p.rowBytes(k), nil
}

// rowBytes returns the bytes of the tiles of 16 outputs.
func (p packing) rowBytes(k int) int { return (k + p.span - 1) / p.span * p.bytes }

// Pack packs the outputs [16·t0, 16·t1) of the matrix src, which is n x k as GGUF
// stores it, into dst, which holds those alone: a part of the whole that can be
// sent to the device. The sizes must have passed PackedBytes.
func Pack(dst []byte, t graph.DType, n, k int, src []byte, t0, t1 int) {
	p, stride := packings[t], t.RowBytes(k)
	if need := n * stride; len(src) < need {
		panic(fmt.Sprintf("BUG: cuda: Pack src has %d bytes, needs %d", len(src), need))
	}
	if t == graph.BF16 {
		copy(dst, src[t0*TileRows*stride:min(t1*TileRows, n)*stride])
		return
	}
	tiles := p.rowBytes(k)
	clear(dst[:(t1-t0)*tiles])
	for row := t0 * TileRows; row < min(t1*TileRows, n); row++ {
		out := dst[(row/TileRows-t0)*tiles:][:tiles]
		in := src[row*stride:][:stride]
		for b := range k / t.BlockElems() {
			at := b * t.BlockElems()
			p.pack(out[at/p.span*p.bytes:][:p.bytes], in[b*t.BlockBytes():][:t.BlockBytes()], row%TileRows, at%p.span)
		}
	}
}

// packQ4_0 puts one block of 32 weights of an output into its tile; k is where
// in the tile's span the block begins.
func packQ4_0(tile, block []byte, row, k int) {
	g, h, s := row%8, row/8, k/32
	copy(tile[512+2*(g*4+s*2+h):][:2], block)
	packNibbles(tile, g, 2*s+h, func(i int) byte { return block[2+i%16] >> (i / 16 * 4) & 15 })
}

// packNibbles puts 32 weights of an output into word `word` of its four lanes.
func packNibbles(quants []byte, g, word int, weight func(i int) byte) {
	for t := range 4 {
		var w uint32
		for e := range 8 {
			w |= uint32(weight(8*t+e)) << (e/2*4 + e%2*16)
		}
		binary.LittleEndian.PutUint32(quants[(g*4+t)*16+word*4:], w)
	}
}

func packQ8_0(tile, block []byte, row, k int) {
	g, h, s := row%8, row/8, k/32
	copy(tile[1024+2*(g*4+s*2+h):][:2], block)
	for i, q := range block[2:34] {
		lane, e := g*4+i/8, i%8
		tile[s*512+lane*16+(e/4*2+h)*4+e%4/2+e%2*2] = q
	}
}

func packQ4_K(tile, block []byte, row, _ int) {
	g, h := row%8, row/8
	copy(tile[2304+4*(g*2+h):][:4], block) // d, dmin
	for group := range 8 {
		part, s := group/2, group%2
		sc, m := scaleMin(block[4:16], group)
		at := 2048 + part*64 + g*8 + s*4 + h*2
		tile[at], tile[at+1] = sc, m
		quants := block[16+32*part:][:32]
		packNibbles(tile[part*512:], g, 2*s+h, func(i int) byte { return quants[i] >> (4 * s) & 15 })
	}
}

// scaleMin returns the 6-bit scale and minimum of a group of a Q4_K block, whose
// 12 bytes are described at the function of this name in package weights.
func scaleMin(packed []byte, j int) (scale, minimum byte) {
	if j < 4 {
		return packed[j] & 63, packed[j+4] & 63
	}
	return packed[j+4]&15 | packed[j-4]>>6<<4, packed[j+4]>>4 | packed[j]>>6<<4
}
