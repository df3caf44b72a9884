package cpu

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// The K and the V of one KV head in one block. Of F32 and F16, K is [dim][32 slots]
// and V [32 slots][dim]. Of Q8_0, where each 32 dimensions of a slot are transformed
// (Hadamard) and share an f16 scale,
//
//	K is [dim/32] of { [32 slots] scales, [32 dims][32 slots] int8 }
//	V is [32 slots][dim/32] of { scale, [32 dims] int8 }
//
// so that a kernel loads the scales of 16 slots, or that of 32 dimensions, at once.
const (
	keyScaleBytes   = 2 * BlockSlots
	keyGroupBytes   = keyScaleBytes + blockK*BlockSlots
	valueGroupBytes = 2 + blockK
)

// KVBytes returns the size of the K, or of the V, of one KV head in one block.
func KVBytes(t graph.DType, dim int) int { return t.RowBytes(dim * BlockSlots) }

// StoreK writes the K vector v of one head to a slot of a block of type F32, F16
// or Q8_0; dim is a multiple of 32 for the last.
func (k *Kernels) StoreK(block []byte, t graph.DType, dim, slot int, v []float32) {
	checkSlot(block, t, dim, slot, v)
	v = v[:dim]
	switch t {
	case graph.F32:
		for d, x := range v {
			binary.LittleEndian.PutUint32(block[4*(d*BlockSlots+slot):], math.Float32bits(x))
		}
	case graph.F16:
		k.storeHalfKey(block, slot, v)
	default:
		for len(v) > 0 {
			scale, q := k.quantizeKV(v)
			binary.LittleEndian.PutUint16(block[2*slot:], scale)
			for d, x := range q {
				block[keyScaleBytes+d*BlockSlots+slot] = x
			}
			v, block = v[blockK:], block[keyGroupBytes:]
		}
	}
}

func (k *Kernels) storeHalfKey(block []byte, slot int, v []float32) {
	var buf [2 * 256]byte
	for len(v) > 0 {
		n := min(len(v), len(buf)/2)
		k.toF16(buf[:2*n], v[:n])
		for i := range n {
			binary.LittleEndian.PutUint16(block[2*(i*BlockSlots+slot):], binary.LittleEndian.Uint16(buf[2*i:]))
		}
		if v = v[n:]; len(v) > 0 {
			block = block[2*n*BlockSlots:]
		}
	}
}

// StoreV writes the V vector v of one head to a slot of a block of type F32, F16
// or Q8_0; dim is a multiple of 32 for the last.
func (k *Kernels) StoreV(block []byte, t graph.DType, dim, slot int, v []float32) {
	checkSlot(block, t, dim, slot, v)
	v, block = v[:dim], block[slot*t.RowBytes(dim):]
	switch t {
	case graph.F32:
		for d, x := range v {
			binary.LittleEndian.PutUint32(block[4*d:], math.Float32bits(x))
		}
	case graph.F16:
		k.toF16(block[:2*dim], v)
	default:
		for ; len(v) > 0; v, block = v[blockK:], block[valueGroupBytes:] {
			scale, q := k.quantizeKV(v)
			binary.LittleEndian.PutUint16(block, scale)
			copy(block[2:], q[:])
		}
	}
}

// quantizeKV returns the f16 scale and the 32 quants of the first values of v,
// transformed: those of an activation (docs/NUMERICS.md).
func (k *Kernels) quantizeKV(v []float32) (scale uint16, q [blockK]byte) {
	var tile [tileBlockBytes]byte
	x := [blockK]float32(v)
	k.hadamard(x[:])
	k.quantize(tile[:], x[:], blockK, blockK, 1)
	d := math.Float32frombits(binary.LittleEndian.Uint32(tile[blockK:]))
	return f16.FromFloat32(d), [blockK]byte(tile[:blockK])
}

func checkSlot(block []byte, t graph.DType, dim, slot int, v []float32) {
	checkKV(t, dim)
	if slot < 0 || slot >= BlockSlots {
		panic("BUG: cpu: a KV slot of bad place")
	}
	need("KV block", len(block), KVBytes(t, dim))
	need("KV vector", len(v), dim)
}

func checkKV(t graph.DType, dim int) {
	if t != graph.F32 && t != graph.F16 && (t != graph.Q8_0 || dim%blockK != 0) {
		panic("BUG: cpu: KV of bad type or dimension")
	}
}

// keyAt returns dimension d of a slot's key.
func keyAt(p unsafe.Pointer, t graph.DType, d, slot int) float32 {
	if t != graph.Q8_0 {
		return floatAt(p, t, d*BlockSlots+slot)
	}
	p = unsafe.Add(p, d/blockK*keyGroupBytes)
	return quantAt(unsafe.Add(p, 2*slot), unsafe.Add(p, keyScaleBytes+d%blockK*BlockSlots+slot))
}

// valueAt returns dimension d, of dim, of a slot's value.
func valueAt(p unsafe.Pointer, t graph.DType, dim, slot, d int) float32 {
	if t != graph.Q8_0 {
		return floatAt(p, t, slot*dim+d)
	}
	p = unsafe.Add(p, (slot*dim+d)/blockK*valueGroupBytes)
	return quantAt(p, unsafe.Add(p, 2+d%blockK))
}

// quantAt returns the product of a scale and a quant, which is exact: they have 11
// and 7 bits.
func quantAt(scale, q unsafe.Pointer) float32 {
	return f16.ToFloat32(*(*uint16)(scale)) * float32(*(*int8)(q))
}

// floatAt returns element i of a K or V block of F32 or F16.
func floatAt(p unsafe.Pointer, t graph.DType, i int) float32 {
	if t == graph.F32 {
		return *(*float32)(unsafe.Add(p, 4*i))
	}
	return f16.ToFloat32(*(*uint16)(unsafe.Add(p, 2*i)))
}
