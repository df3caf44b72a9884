package cuda

// Ptr is an address in the device's memory; 0 is none.
type Ptr uint64

// Params is one of the structs below: what a kernel takes, by value, as its only
// parameter. src/params.cuh declares the same in C and is generated from them,
// the tags giving the pointed-to types. Shapes are row-major; u16 is bf16 unless
// said otherwise.
//
// A step has Tokens rows. A launch that was captured in a graph has the rows of its
// bucket, and those without a token have position -1: no KV is read or written for
// them, and what they leave in outputs is of no use, but they harm no other row.
type Params interface {
	// Extent is the size of the work in x, y and z, which a Kernel cuts into tiles.
	Extent() [3]uint32
}

// EmbedParams looks up each token's row of a table (embed_*).
type EmbedParams struct {
	ID      Ptr     `c:"const i32*"` // [Tokens]; -1 is the token sampled last for the row
	Rows    Ptr     `c:"const i32*"` // [Tokens] rows of the block table; -1 for none
	Sampled Ptr     `c:"const i32*"` // by row of the block table
	Table   Ptr     `c:"const u8*"`  // a packed matrix of Vocab rows by Dim
	Out     Ptr     `c:"float*"`     // [Tokens, Dim]; zeros for an ID outside the vocabulary
	Tokens  uint32  `c:"u32"`
	Vocab   uint32  `c:"u32"`
	Dim     uint32  `c:"u32"` // multiple of 8
	Scale   float32 `c:"float"`
}

// Extent implements Params: tokens.
func (p *EmbedParams) Extent() [3]uint32 { return [3]uint32{p.Tokens, 1, 1} }

// NormParams is RMS normalisation over rows, after adding what the residual stream
// has yet to take (norm_*).
type NormParams struct {
	X      Ptr     `c:"float*"`       // [Rows, Dim]: the residual stream; written only where Delta is
	Delta  Ptr     `c:"const void*"`  // [Rows, Dim] to add to X first, of the kernel's type; 0 for none
	Weight Ptr     `c:"const float*"` // [Dim]
	Out    Ptr     `c:"u16*"`         // [Rows, Dim] bf16; 0 for none
	Out32  Ptr     `c:"float*"`       // [Rows, Dim], may be X; 0 for none
	Sum    Ptr     `c:"float*"`       // [Rows, Dim] that the result is added to, not X; 0 for none
	Rows   uint32  `c:"u32"`
	Dim    uint32  `c:"u32"` // multiple of 4
	Eps    float32 `c:"float"`
	_      uint32
}

// Extent implements Params: rows.
func (p *NormParams) Extent() [3]uint32 { return [3]uint32{p.Rows, 1, 1} }

// GateParams is the gated activation f(gate) · up (silu_gate_*, gelu_gate_*).
type GateParams struct {
	Gate   Ptr    `c:"const void*"` // [Rows, Dim] of the kernel's type, Stride elements a row
	Up     Ptr    `c:"const void*"` // the same
	Out    Ptr    `c:"u16*"`        // [Rows, Dim] bf16
	Rows   uint32 `c:"u32"`
	Dim    uint32 `c:"u32"` // multiple of 4
	Stride uint32 `c:"u32"` // multiple of 4
	_      uint32
}

// Extent implements Params: elements, rows.
func (p *GateParams) Extent() [3]uint32 { return [3]uint32{p.Dim, p.Rows, 1} }

// SoftCapParams is Cap · tanh(x / Cap) in place (soft_cap_f32).
type SoftCapParams struct {
	X      Ptr     `c:"float*"` // [Rows, Dim], Stride elements a row
	Rows   uint32  `c:"u32"`
	Dim    uint32  `c:"u32"`
	Stride uint32  `c:"u32"`
	Cap    float32 `c:"float"`
}

// Extent implements Params: elements, rows.
func (p *SoftCapParams) Extent() [3]uint32 { return [3]uint32{p.Dim, p.Rows, 1} }

// MaxNormedHeads is the most heads, of queries and keys together, that RoPEParams
// norms.
const MaxNormedHeads = 256

// RoPEParams turns queries and keys and writes keys and values into the cache
// (rope_*). QKV is what one linear layer over the three stacked matrices gives. With
// norms, each head of queries and keys is divided by the root of its mean square
// first and multiplied by its norm's weights.
type RoPEParams struct {
	QKV         Ptr     `c:"const void*"`   // [Tokens, Stride] of the kernel's type: queries, keys, values
	Q           Ptr     `c:"u16*"`          // [Tokens, Heads·HeadDim], of the cache's type
	Pool        Ptr     `c:"u16*"`          // the KV blocks, of the cache's type
	Positions   Ptr     `c:"const i32*"`    // [Tokens]; -1 for none
	Slots       Ptr     `c:"const i32*"`    // [Tokens] block·32 + offset
	Fine        Ptr     `c:"const double*"` // RopeTables
	Coarse      Ptr     `c:"const double*"`
	QNorm       Ptr     `c:"const float*"` // [HeadDim] weights of the queries' norm; 0 for no norms
	KNorm       Ptr     `c:"const float*"` // [HeadDim], of the keys'
	BlockStride uint64  `c:"u64"`          // elements from one KV block to the next
	Layer       uint64  `c:"u64"`          // elements from a block's begin to the layer's keys
	Tokens      uint32  `c:"u32"`
	Stride      uint32  `c:"u32"` // multiple of 4
	Heads       uint32  `c:"u32"`
	KVHeads     uint32  `c:"u32"`
	HeadDim     uint32  `c:"u32"`   // multiple of 4
	Pairs       uint32  `c:"u32"`   // even, at most HeadDim/2 and 256
	Interleaved uint32  `c:"u32"`   // 1: pairs are (2i, 2i+1); 0: (i, i+Pairs)
	Eps         float32 `c:"float"` // of the norms
}

// Extent implements Params: tokens.
func (p *RoPEParams) Extent() [3]uint32 { return [3]uint32{p.Tokens, 1, 1} }

// CopyParams copies pieces of memory: block to block, pool to slab (gather), slab
// to pool (scatter). Addresses and sizes are multiples of 16 bytes; no
// destination may overlap a source (copy_blocks).
type CopyParams struct {
	Src   Ptr    `c:"const u64*"` // [Count] addresses
	Dst   Ptr    `c:"const u64*"` // [Count]
	Bytes uint64 `c:"u64"`        // of each piece
	Count uint32 `c:"u32"`
	_     uint32
}

// Extent implements Params: units of 16 bytes, pieces.
func (p *CopyParams) Extent() [3]uint32 { return [3]uint32{uint32(p.Bytes / 16), p.Count, 1} }
