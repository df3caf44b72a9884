package cuda

// SampleParams picks a token for each row of logits by package sampler's
// definition. Three kernels run in this order: sample_top finds each row's
// largest logit, sample_weigh weighs the tokens, sample_pick draws. Where
// every row is greedy, sample_top is enough.
type SampleParams struct {
	Logits  Ptr    `c:"const float*"`  // [Rows, Stride]
	Draws   Ptr    `c:"const Draw*"`   // [Rows]
	Octave  Ptr    `c:"const double*"` // OctaveTable
	Top     Ptr    `c:"float*"`        // [Rows] scratch: the largest logits
	Counts  Ptr    `c:"u32*"`          // [Rows, SampleBuckets] scratch
	Sums    Ptr    `c:"u64*"`          // [Rows, SampleBuckets] scratch
	Tokens  Ptr    `c:"i32*"`          // [Rows]: the picked token; -1 where there is none (device.NoToken)
	Sampled Ptr    `c:"i32*"`          // by row of the block table: the same
	Rows    uint32 `c:"u32"`
	Vocab   uint32 `c:"u32"` // at most sampler.MaxVocabulary
	Stride  uint32 `c:"u32"` // multiple of 4
	_       uint32
}

// Extent implements Params: elements, rows.
func (p *SampleParams) Extent() [3]uint32 { return [3]uint32{p.Vocab, p.Rows, 1} }

// Draw is how one row is sampled: sampler.Params with the divisions done.
type Draw struct {
	Steps    float64 `c:"double"` // 1024·log2(e)/temperature, in steps of weight a logit; 0 is greedy
	Last     float64 `c:"double"` // tokens further below the top, in steps, have no weight
	TopP     float64 `c:"double"` // 1 is off
	Seed     uint64  `c:"u64"`
	Position uint64  `c:"u64"` // of the token being picked
	Choice   uint32  `c:"u32"`
	TopK     uint32  `c:"u32"` // 0 is off
	Row      int32   `c:"i32"` // of the block table; -1 leaves Sampled alone
	_        uint32
}

// AdjustParams changes logits before sampling: biases, bans, penalties
// (sample_adjust). It changes them in place.
type AdjustParams struct {
	Logits    Ptr    `c:"float*"`         // [Rows, Stride]
	Changes   Ptr    `c:"const Change*"`  // [Count], no token of a row twice
	Penalties Ptr    `c:"const Penalty*"` // by row; 0 where no Change is Seen
	Count     uint32 `c:"u32"`
	Vocab     uint32 `c:"u32"`
	Stride    uint32 `c:"u32"`
	_         uint32
}

// Extent implements Params: changes.
func (p *AdjustParams) Extent() [3]uint32 { return [3]uint32{p.Count, 1, 1} }

// Change says what happens to one logit, in the order of the flags.
type Change struct {
	Bias  float64     `c:"double"`
	Row   uint32      `c:"u32"` // of logits
	Token int32       `c:"i32"`
	Kind  ChangeKinds `c:"u32"`
	Made  uint32      `c:"u32"` // how often the token stands in the output
}

// ChangeKinds are flags.
type ChangeKinds uint32

const (
	Biased    ChangeKinds = 1 << iota // Bias is added
	Forbidden                         // the logit becomes -Inf
	Seen                              // the row's penalties apply
)

// Penalty is a row's penalties, as sampler.Params has them, but that a repetition
// penalty that is off is 1.
type Penalty struct {
	Repetition float64 `c:"double"`
	Frequency  float64 `c:"double"`
	Presence   float64 `c:"double"`
}
