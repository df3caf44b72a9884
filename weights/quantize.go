package weights

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// Quantize writes the values of src to dst as t: F32, Q8_0 or Q4_0. Their lengths
// must agree as for Dequantize. The bytes are those of the gguf Python package's
// quantize (testdata/SOURCES.md). Values whose scale is no finite binary16 number
// (above all, NaN and infinities) are refused.
func Quantize(t graph.DType, dst []byte, src []float32) error {
	encode := encoder(t)
	if encode == nil {
		return fmt.Errorf("weights: quantize: type %s is not one of F32, Q8_0, Q4_0", t)
	}
	if n := t.BlockElems(); len(src)%n != 0 || len(dst) != t.RowBytes(len(src)) {
		return fmt.Errorf("weights: quantize %s: %d elements and %d bytes, in blocks of %d elements", t, len(src), len(dst), n)
	}
	if !encode(dst, src) {
		return fmt.Errorf("weights: quantize %s: a value is not finite, or too large", t)
	}
	return nil
}

// encoder returns the function that encodes whole blocks as t, or nil. It
// reports whether all scales are finite.
func encoder(t graph.DType) func(dst []byte, src []float32) bool {
	switch t {
	case graph.F32:
		return encodeF32
	case graph.Q8_0:
		return encodeQ8_0
	case graph.Q4_0:
		return encodeQ4_0
	}
	return nil
}

func encodeF32(dst []byte, src []float32) bool {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
	return true
}

// putScale writes d as binary16 and returns what values are multiplied by.
func putScale(dst []byte, d float32) (inverse float32, finite bool) {
	h := f16.FromFloat32(d)
	binary.LittleEndian.PutUint16(dst, h)
	if d != 0 {
		inverse = 1 / d
	}
	return inverse, h&0x7c00 != 0x7c00
}

func encodeQ8_0(dst []byte, src []float32) bool {
	for ; len(src) >= 32; src, dst = src[32:], dst[34:] {
		x, q := (*[32]float32)(src), (*[32]byte)(dst[2:])
		largest := float32(0)
		for _, v := range x {
			largest = max(largest, float32(math.Abs(float64(v)))) // NaN stays
		}
		inverse, ok := putScale(dst, largest/127)
		if !ok {
			return false
		}
		for i, v := range x {
			q[i] = byte(int8(math.Round(float64(v * inverse)))) // halves away from 0
		}
	}
	return true
}

func encodeQ4_0(dst []byte, src []float32) bool {
	for ; len(src) >= 32; src, dst = src[32:], dst[18:] {
		x, q := (*[32]float32)(src), (*[16]byte)(dst[2:])
		largest, size := float32(0), float32(0) // the first of the largest, with its sign
		for _, v := range x {
			abs := float32(math.Abs(float64(v)))
			if abs != abs {
				return false
			}
			if abs > size {
				largest, size = v, abs
			}
		}
		inverse, ok := putScale(dst, largest/-8)
		if !ok {
			return false
		}
		for i := range q {
			q[i] = quant4(x[i], inverse) | quant4(x[i+16], inverse)<<4
		}
	}
	return true
}

// quant4 returns x in steps of 1/inverse, plus 8, rounded by adding a half. Product
// and sum are rounded to float32 each, as the gguf package has them.
func quant4(x, inverse float32) byte {
	return byte(min(max(int(float32(x*inverse)+8.5), 0), 15))
}
