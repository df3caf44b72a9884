package cpu

import (
	"encoding/binary"
	"math"

	"github.com/holdfast-run/holdfast/internal/f16"
)

// MaxTile is the largest number of tokens that Linear takes at once.
const MaxTile = 8

// A quantised tile of m tokens has, for each 32 values of K, 48·m bytes:
//
//	[m][32] int8  q
//	[m] f32       d, the activation scale
//	[m] f32       s = round(d · sum of q)
//	[m] int32     minus the sum of the 32 q
//	[m] int32     minus the sum of the first 16 q
//
// The last two times a weight type's offset correct a dot product of unsigned
// quants. A float tile is [K][m] f32.
const tileBlockBytes = 48

// TileBytes returns the size of a tile of m tokens made by Quantize. k is a
// multiple of 32.
func TileBytes(k, m int) int { return k / blockK * tileBlockBytes * m }

// FloatTileBytes returns the size of a tile of m tokens made by FloatTile.
func FloatTileBytes(k, m int) int { return 4 * k * m }

// Quantize makes the tile of m tokens, 1 to MaxTile, for Linear over quantised
// weights. Token t is x[t·stride : t·stride+kdim]; kdim is a multiple of 32.
//
// A block that holds an infinity or a NaN gets q = 0 and an infinite or NaN d, so
// that every output of its token becomes NaN.
func (k *Kernels) Quantize(tile []byte, x []float32, stride, kdim, m int) {
	checkTile(len(x), stride, kdim, m)
	if kdim%blockK != 0 {
		panic("BUG: cpu: Quantize: kdim is not a multiple of 32")
	}
	need("Quantize tile", len(tile), TileBytes(kdim, m))
	k.quantize(tile, x, stride, kdim, m)
}

// FloatTile makes the tile of m tokens, 1 to MaxTile, for Linear over float
// weights. Token t is x[t·stride : t·stride+kdim].
func (k *Kernels) FloatTile(tile []byte, x []float32, stride, kdim, m int) {
	checkTile(len(x), stride, kdim, m)
	need("FloatTile tile", len(tile), FloatTileBytes(kdim, m))
	done := 0
	if m == MaxTile {
		done = k.transpose8(tile, x, stride, kdim)
	}
	for t := range m {
		row, out := x[t*stride:][:kdim], tile[4*t:]
		for i := done; i < kdim; i++ {
			binary.LittleEndian.PutUint32(out[4*m*i:], math.Float32bits(row[i]))
		}
	}
}

func checkTile(lenX, stride, kdim, m int) {
	if m < 1 || m > MaxTile || kdim <= 0 || m > 1 && stride < kdim {
		panic("BUG: cpu: a tile of bad shape")
	}
	need("activations", lenX, (m-1)*stride+kdim)
}

// minAmax is the least largest magnitude of a block that is not taken as zero.
const minAmax = 0x1p-100

// quantizeBlock returns the int8 values of a block of blockK activations and
// their scale.
func quantizeBlock(x []float32) (q [blockK]int8, d float32) {
	top := uint32(0) // magnitudes order like their bits, NaN above all
	for _, v := range x[:blockK] {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	amax := math.Float32frombits(top)
	if amax < minAmax {
		return q, 0
	}
	if top < 0x7f800000 {
		r := 127 / amax
		for i, v := range x[:blockK] {
			q[i] = int8(math.RoundToEven(float64(float32(v * r))))
		}
	}
	return q, amax / 127
}

func genericQuantize(tile []byte, x []float32, stride, kdim, m int) {
	le := binary.LittleEndian
	for t := range m {
		for b := range kdim / blockK {
			out := tile[b*tileBlockBytes*m:][:tileBlockBytes*m]
			q, d := quantizeBlock(x[t*stride+b*blockK:])
			var sum, low int32
			for i, v := range q {
				out[t*blockK+i] = byte(v)
				sum += int32(v)
				if i == 15 {
					low = sum
				}
			}
			le.PutUint32(out[32*m+4*t:], math.Float32bits(d))
			le.PutUint32(out[36*m+4*t:], math.Float32bits(float32(d*float32(sum))))
			le.PutUint32(out[40*m+4*t:], uint32(-sum))
			le.PutUint32(out[44*m+4*t:], uint32(-low))
		}
	}
}

// Residual sets dst to what quantising x loses: round(x - round(d · q)). x and
// dst are a multiple of 32 long. It is plain Go on every tier: only the few rows
// that need logits take it.
func (k *Kernels) Residual(dst, x []float32) {
	need("Residual x", len(x), len(dst))
	if len(dst)%blockK != 0 {
		panic("BUG: cpu: Residual: length is not a multiple of 32")
	}
	for b := 0; b < len(dst); b += blockK {
		q, d := quantizeBlock(x[b:])
		for i, v := range q {
			dst[b+i] = x[b+i] - float32(d*float32(v))
		}
	}
}

// genericToF16 writes src as f16, rounded to nearest even.
func genericToF16(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], f16.FromFloat32(v))
	}
}
