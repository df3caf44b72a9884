package cuda

// Attention is what the attention kernels share. Keys and values lie as
// [block][layer][K|V][head][token of 32][HeadDim]; the head's size is the kernel's.
// Scores are taken in base 2: Scale and SoftCap include log2(e), Sinks do not.
type Attention struct {
	Q         Ptr `c:"const u16*"`   // [Tokens, Heads·HeadDim], of the cache's type
	Pool      Ptr `c:"const u16*"`   // the KV blocks
	Out       Ptr `c:"u16*"`         // [Tokens, Heads·HeadDim] bf16
	Table     Ptr `c:"const i32*"`   // the block table, TableStride entries a row
	Positions Ptr `c:"const i32*"`   // [Tokens]; -1 for none
	Rows      Ptr `c:"const i32*"`   // [Tokens] rows of the block table
	Sinks     Ptr `c:"const float*"` // [Heads] a logit that takes weight and gives nothing; 0 for none

	BlockStride uint64 `c:"u64"` // elements from one KV block to the next
	Layer       uint64 `c:"u64"` // elements from a block's begin to the layer's keys

	Heads       uint32  `c:"u32"` // multiple of KVHeads
	KVHeads     uint32  `c:"u32"`
	TableStride uint32  `c:"u32"`
	Window      uint32  `c:"u32"`   // positions that a token sees, its own included; 0 for all
	Scale       float32 `c:"float"` // of scores
	SoftCap     float32 `c:"float"` // scores become SoftCap·tanh(score/SoftCap); 0 for none
}

// AttendParams is attention of spans of any number of tokens (attend_*).
type AttendParams struct {
	Attention
	Spans      Ptr    `c:"const i32*"` // [SpanCount, 2]: first token, tokens; 0 tokens for none
	SpanCount  uint32 `c:"u32"`
	SpanTokens uint32 `c:"u32"` // the most tokens of a span
}

// Extent implements Params: queries that share a KV head, KV heads, spans.
func (p *AttendParams) Extent() [3]uint32 {
	return [3]uint32{p.SpanTokens * (p.Heads / p.KVHeads), p.KVHeads, p.SpanCount}
}

// DecodeParams is attention of single tokens (decode_*): chunks of 128 positions
// are worked on in parallel, and decode_merge_* puts them together. The result
// has the bits that attend_* gives.
type DecodeParams struct {
	Attention
	Partial Ptr    `c:"float*"` // PartialFloats
	Tokens  uint32 `c:"u32"`
	Chunks  uint32 `c:"u32"` // of the longest context for which Partial has room
	Splits  uint32 `c:"u32"` // blocks that share a context; changes no result
	_       uint32
}

// Chunk is how many positions attention takes together: four KV blocks.
const Chunk = 128

// decodeHeads is how many query heads a block of decode_* takes.
const decodeHeads = 16

// Extent implements Params: splits, tiles of query heads, tokens.
func (p *DecodeParams) Extent() [3]uint32 {
	return [3]uint32{p.Splits, p.KVHeads * tiles(p.Heads/p.KVHeads, decodeHeads), p.Tokens}
}

// PartialFloats returns the number of floats of DecodeParams.Partial: for each
// token, head and chunk its largest score, its sum and its weighted values.
func PartialFloats(tokens, heads, chunks, headDim int) int {
	return tokens * heads * chunks * (headDim + 2)
}

// MergeParams is the second half of DecodeParams (decode_merge_*).
type MergeParams struct{ DecodeParams }

// Extent implements Params: heads, tokens.
func (p *MergeParams) Extent() [3]uint32 { return [3]uint32{p.Heads, p.Tokens, 1} }
