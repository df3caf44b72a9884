package graph

import "fmt"

// DType is the type of a tensor's elements, as stored. Quantised types store
// blocks of elements that share scales; their bit layouts are those of GGUF
// (ggml-org/ggml, docs/gguf.md and ggml-common.h).
type DType uint8

// The element types that Holdfast loads.
const (
	Invalid DType = iota
	F32
	F16
	BF16
	Q8_0
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q4_K
	Q5_K
	Q6_K
	I32
)

var dtypes = [...]struct {
	name  string
	elems int // elements of one storage block
	bytes int // bytes of one storage block
}{
	Invalid: {"invalid", 1, 0},
	F32:     {"F32", 1, 4},
	F16:     {"F16", 1, 2},
	BF16:    {"BF16", 1, 2},
	Q8_0:    {"Q8_0", 32, 34},
	Q4_0:    {"Q4_0", 32, 18},
	Q4_1:    {"Q4_1", 32, 20},
	Q5_0:    {"Q5_0", 32, 22},
	Q5_1:    {"Q5_1", 32, 24},
	Q4_K:    {"Q4_K", 256, 144},
	Q5_K:    {"Q5_K", 256, 176},
	Q6_K:    {"Q6_K", 256, 210},
	I32:     {"I32", 1, 4},
}

// String returns the type's GGUF name, for example "Q4_K".
func (t DType) String() string {
	if int(t) >= len(dtypes) {
		return fmt.Sprintf("DType(%d)", uint8(t))
	}
	return dtypes[t].name
}

// BlockElems returns how many elements one storage block holds: 1 for plain
// types, 32 or 256 for quantised ones.
func (t DType) BlockElems() int { return dtypes[t].elems }

// BlockBytes returns the size of one storage block in bytes.
func (t DType) BlockBytes() int { return dtypes[t].bytes }

// Quantised reports whether elements of t share scales in blocks.
func (t DType) Quantised() bool { return dtypes[t].elems > 1 }

// RowBytes returns the bytes of n consecutive elements. n must be a multiple
// of BlockElems.
func (t DType) RowBytes(n int) int { return n / dtypes[t].elems * dtypes[t].bytes }
