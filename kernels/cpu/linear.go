package cpu

import (
	"encoding/binary"
	"math"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/internal/num"
)

// Linear computes the row groups [g0, g1) of w for the m tokens of a tile:
// y[t·stride + 16·g + r] is row 16g+r of w times token t. Whole groups are
// written, so rows of y have room for 16·Groups values. The tile comes from
// Quantize where Int8Weights says so for w.Type, else from FloatTile, with kdim
// = w.K and the same m. The bits of an output depend on neither m nor the split
// into groups.
func (k *Kernels) Linear(y []float32, stride int, tile []byte, m int, w *Matrix, g0, g1 int) {
	f := formatOf(w.Type)
	if f == nil || m < 1 || m > MaxTile || g0 < 0 || g1 > w.Groups() || m > 1 && stride < g1*GroupRows {
		panic("BUG: cpu: Linear of bad shape")
	}
	if g0 >= g1 {
		return
	}
	need("Linear y", len(y), (m-1)*stride+g1*GroupRows)
	need("Linear weights", len(w.Data), g1*f.groupBytes(w.K))
	if f.element > 0 {
		need("Linear tile", len(tile), FloatTileBytes(w.K, m))
	} else {
		need("Linear tile", len(tile), TileBytes(w.K, m))
	}
	k.linear(y, stride, tile, m, w, f, g0, g1)
}

func genericLinear(y []float32, stride int, tile []byte, m int, w *Matrix, f *format, g0, g1 int) {
	n := f.groupBytes(w.K)
	for g := g0; g < g1; g++ {
		group := w.Data[g*n : (g+1)*n]
		for t := range m {
			out := y[t*stride+g*GroupRows:][:GroupRows]
			for r := range out {
				if f.element > 0 {
					out[r] = genericFloatRow(tile, m, t, w, group, r)
				} else {
					out[r] = genericRow(tile, m, t, w, f, group, r)
				}
			}
		}
	}
}

// genericRow is one output of quantised weights.
func genericRow(tile []byte, m, t int, w *Matrix, f *format, group []byte, r int) float32 {
	le := binary.LittleEndian
	y := float32(0)
	for b := range w.K / blockK {
		at, header := f.block(b)
		quants, scales := group[at:], group[at+f.quantBytes():]
		x := tile[b*tileBlockBytes*m:][:tileBlockBytes*m]
		d := math.Float32frombits(le.Uint32(x[32*m+4*t:]))
		idot := int32(0)
		for i := range blockK {
			idot += (int32(quant(f, quants, r, i)) - f.offset) * int32(int8(x[t*blockK+i]))
			if (i+1)%f.groupK == 0 {
				var dw float32
				switch {
				case !f.super:
					dw = f16.ToFloat32(le.Uint16(scales[2*r:]))
				case f.groupK == 16:
					dw = f16.ToFloat32(le.Uint16(group[header+2*r:])) * float32(int8(scales[i/16*16+r]))
				default:
					dw = f16.ToFloat32(le.Uint16(group[header+2*r:])) * float32(scales[r])
				}
				y = num.FMA32(float32(float32(idot)*d), dw, y)
				idot = 0
			}
		}
		if f.min {
			var mw float32
			if f.super {
				mw = -(f16.ToFloat32(le.Uint16(group[header+32+2*r:])) * float32(scales[16+r]))
			} else {
				mw = f16.ToFloat32(le.Uint16(scales[32+2*r:]))
			}
			y = num.FMA32(math.Float32frombits(le.Uint32(x[36*m+4*t:])), mw, y)
		}
	}
	return y
}

// quant returns the unsigned quant of row r and value k of a block.
func quant(f *format, q []byte, r, k int) uint8 {
	j, i := k/4, 4*r+k%4
	if f.bits == 8 {
		return q[64*j+i]
	}
	u := q[64*(j%4)+i] >> (j / 4 * 4) & 15
	switch f.bits {
	case 5:
		u |= q[256+i] >> j & 1 << 4
	case 6:
		u |= q[256+64*(j/4)+i] >> (j % 4 * 2) & 3 << 4
	}
	return u
}

// genericFloatRow is one output of float weights.
func genericFloatRow(tile []byte, m, t int, w *Matrix, group []byte, r int) float32 {
	le := binary.LittleEndian
	y := float32(0)
	for i := range w.K {
		x := math.Float32frombits(le.Uint32(tile[4*(i*m+t):]))
		var v float32
		switch j := i*GroupRows + r; w.Type {
		case graph.F32:
			v = math.Float32frombits(le.Uint32(group[4*j:]))
		case graph.F16:
			v = f16.ToFloat32(le.Uint16(group[2*j:]))
		case graph.BF16:
			v = f16.BF16ToFloat32(le.Uint16(group[2*j:]))
		}
		y = num.FMA32(x, v, y)
	}
	return y
}
