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
	value := func(p []byte) float32 {
		if f.f32 {
			return math.Float32frombits(le.Uint32(p[4*r:]))
		}
		return f16.ToFloat32(le.Uint16(p[2*r:]))
	}
	y := float32(0)
	for b := range w.K / blockK {
		quants, scales, mins := f.offsets(b)
		x := tile[b*tileBlockBytes*m:][:tileBlockBytes*m]
		d := math.Float32frombits(le.Uint32(x[32*m+4*t:]))
		idot := int32(0)
		for i := range blockK {
			var u uint8
			if f.quants == 256 {
				u = group[quants+i%16/4*64+4*r+i%4] >> (i / 16 * 4) & 15
			} else {
				u = group[quants+i/4*64+4*r+i%4]
			}
			idot += (int32(u) - f.offset) * int32(int8(x[t*blockK+i]))
			if (i+1)%f.groupK == 0 {
				dw := value(group[scales+i/f.groupK*64:])
				y = num.FMA32(float32(float32(idot)*d), dw, y)
				idot = 0
			}
		}
		if f.mins > 0 {
			s := math.Float32frombits(le.Uint32(x[36*m+4*t:]))
			y = num.FMA32(s, value(group[mins:]), y)
		}
	}
	return y
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
