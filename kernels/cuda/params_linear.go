package cuda

// LinearParams is y = x · Wᵀ, plus a bias, plus what y held. A row's result depends
// neither on the other rows, nor on their number, nor on which linear_* kernel of
// the weights' type computes it.
type LinearParams struct {
	W       Ptr    `c:"const u8*"`    // a packed matrix of N rows by K
	X       Ptr    `c:"const u16*"`   // [Rows, K] bf16, XStride elements a row
	Bias    Ptr    `c:"const float*"` // [N]; 0 for none
	Y       Ptr    `c:"void*"`        // [Rows, N], YStride elements a row
	Rows    uint32 `c:"u32"`
	N       uint32 `c:"u32"`
	K       uint32 `c:"u32"` // multiple of 8; of 32 or 256 where blocks of weights have so many
	XStride uint32 `c:"u32"` // multiple of 8
	YStride uint32 `c:"u32"`
	Store   Store  `c:"u32"`
}

// Extent implements Params: outputs, rows.
func (p *LinearParams) Extent() [3]uint32 { return [3]uint32{p.N, p.Rows, 1} }

// Store says what becomes of the results of a linear layer.
type Store uint32

const (
	StoreF32  Store = iota // y = result
	StoreBF16              // y = result, rounded
	AddF32                 // y += result: the residual stream
)

// UnpackParams turns packed weights into bf16 (unpack_*), for a GEMM of many rows.
type UnpackParams struct {
	W   Ptr    `c:"const u8*"` // a packed matrix of N rows by K
	Out Ptr    `c:"u16*"`      // [N, K] bf16
	N   uint32 `c:"u32"`
	K   uint32 `c:"u32"`
}

// Extent implements Params: weights of a row, rows.
func (p *UnpackParams) Extent() [3]uint32 { return [3]uint32{p.K, p.N, 1} }

// GEMMParams is y = x · Wᵀ for many rows, W in bf16 as the file or unpack_* has it
// (gemm_*). A result does not depend on the number of rows or the kernel's tile.
type GEMMParams struct {
	W       Ptr    `c:"const u16*"`   // [N, K] bf16
	X       Ptr    `c:"const u16*"`   // [Rows, K] bf16, XStride elements a row
	Bias    Ptr    `c:"const float*"` // [N]; 0 for none
	Y       Ptr    `c:"void*"`        // [Rows, N], YStride elements a row
	Rows    uint32 `c:"u32"`
	N       uint32 `c:"u32"` // multiple of 2
	K       uint32 `c:"u32"` // multiple of 8
	XStride uint32 `c:"u32"` // multiple of 8
	YStride uint32 `c:"u32"` // multiple of 2
	Store   Store  `c:"u32"`
}

// Extent implements Params: outputs, rows. The tiles lie in one row of blocks.
func (p *GEMMParams) Extent() [3]uint32 { return [3]uint32{p.N, p.Rows, 1} }
