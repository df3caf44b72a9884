package weights

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// Dequantize writes the values of src, elements stored as t, to dst. Their
// lengths must agree: len(dst) elements, in whole blocks, are exactly len(src)
// bytes. It works on any number of elements: a row, a tensor, one block. I32
// and graph.Invalid are refused.
//
// Each value is computed in float32, in the order of the gguf Python package's
// dequantize, to which it is bit-equal on finite scales (testdata/SOURCES.md).
// Products of binary16 scales and the small integers of a block have at most 24
// significant bits and so are exact; only the subtraction or addition of a
// minimum rounds. Every product is converted to float32 all the same, so that no
// compiler fuses it. It is the reference of the kernels, in plain loops.
func Dequantize(t graph.DType, dst []float32, src []byte) error {
	decode := decoder(t)
	if decode == nil {
		return fmt.Errorf("weights: dequantize: type %s has no float values", t)
	}
	if n := t.BlockElems(); len(dst)%n != 0 {
		return fmt.Errorf("weights: dequantize %s: %d elements are not whole blocks of %d", t, len(dst), n)
	}
	if want := t.RowBytes(len(dst)); len(src) != want {
		return fmt.Errorf("weights: dequantize %s: %d elements take %d bytes, got %d", t, len(dst), want, len(src))
	}
	decode(dst, src)
	return nil
}

// decoder returns the function that decodes whole blocks of t, or nil. Its
// arguments' lengths have been checked.
func decoder(t graph.DType) func(dst []float32, src []byte) {
	switch t {
	case graph.F32:
		return decodeF32
	case graph.F16:
		return decodeF16
	case graph.BF16:
		return decodeBF16
	case graph.Q8_0:
		return decodeQ8_0
	case graph.Q4_0:
		return decodeQ4_0
	case graph.Q4_1:
		return decodeQ4_1
	case graph.Q5_0:
		return decodeQ5_0
	case graph.Q5_1:
		return decodeQ5_1
	case graph.Q4_K:
		return decodeQ4_K
	case graph.Q5_K:
		return decodeQ5_K
	case graph.Q6_K:
		return decodeQ6_K
	}
	return nil
}

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = f16.ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = f16.BF16ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// scale returns the binary16 number at the start of b.
func scale(b []byte) float32 { return f16.ToFloat32(binary.LittleEndian.Uint16(b)) }

// Blocks of 32 elements. A byte of quants holds element i in its low and
// element i+16 in its high four bits; the fifth bits of a 5-bit type are one
// 32-bit word, bit i for element i.

// Q8_0: scale d, 32 signed bytes q; value d*q.
func decodeQ8_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[34:] {
		d := scale(src)
		y, q := (*[32]float32)(dst), (*[32]byte)(src[2:])
		for i := range y {
			y[i] = d * float32(int8(q[i]))
		}
	}
}

// Q4_0: scale d, quants; value d*(q-8).
func decodeQ4_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[18:] {
		d := scale(src)
		y, q := (*[32]float32)(dst), (*[16]byte)(src[2:])
		for i, b := range q {
			y[i] = d * float32(int(b&15)-8)
			y[i+16] = d * float32(int(b>>4)-8)
		}
	}
}

// Q4_1: scale d, minimum m, quants; value d*q + m.
func decodeQ4_1(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[20:] {
		d, m := scale(src), scale(src[2:])
		y, q := (*[32]float32)(dst), (*[16]byte)(src[4:])
		for i, b := range q {
			y[i] = float32(d*float32(b&15)) + m
			y[i+16] = float32(d*float32(b>>4)) + m
		}
	}
}

// Q5_0: scale d, fifth bits, quants; value d*(q-16).
func decodeQ5_0(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[22:] {
		d, high := scale(src), binary.LittleEndian.Uint32(src[2:])
		y, q := (*[32]float32)(dst), (*[16]byte)(src[6:])
		for i, b := range q {
			y[i] = d * float32(int(b&15|fifth(high, i))-16)
			y[i+16] = d * float32(int(b>>4|fifth(high, i+16))-16)
		}
	}
}

// Q5_1: scale d, minimum m, fifth bits, quants; value d*q + m.
func decodeQ5_1(dst []float32, src []byte) {
	for ; len(dst) >= 32; dst, src = dst[32:], src[24:] {
		d, m, high := scale(src), scale(src[2:]), binary.LittleEndian.Uint32(src[4:])
		y, q := (*[32]float32)(dst), (*[16]byte)(src[8:])
		for i, b := range q {
			y[i] = float32(d*float32(b&15|fifth(high, i))) + m
			y[i+16] = float32(d*float32(b>>4|fifth(high, i+16))) + m
		}
	}
}

// fifth returns bit i of high as the 16s place of a quant.
func fifth(high uint32, i int) byte { return byte(high>>i&1) << 4 }
