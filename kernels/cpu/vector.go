package cpu

import (
	"math"

	"github.com/holdfast-run/holdfast/internal/num"
)

// Add sets dst[i] = a[i] + b[i]. The slices have equal lengths; dst may be a or b.
func (k *Kernels) Add(dst, a, b []float32) {
	need("Add a", len(a), len(dst))
	need("Add b", len(b), len(dst))
	k.add(dst, a, b)
}

// Mul sets dst[i] = a[i] · b[i]. The slices have equal lengths; dst may be a or b.
func (k *Kernels) Mul(dst, a, b []float32) {
	need("Mul a", len(a), len(dst))
	need("Mul b", len(b), len(dst))
	k.mul(dst, a, b)
}

// SiLUMul sets dst[i] = round(silu(gate[i]) · up[i]). dst may be gate or up.
func (k *Kernels) SiLUMul(dst, gate, up []float32) {
	need("SiLUMul gate", len(gate), len(dst))
	need("SiLUMul up", len(up), len(dst))
	k.siluMul(dst, gate, up)
}

// ScaleTo sets dst[i] = round(x[i] · c). dst may be x.
func (k *Kernels) ScaleTo(dst, x []float32, c float32) {
	need("ScaleTo x", len(x), len(dst))
	k.scaleTo(dst, x, c)
}

// RMSNorm sets dst to x over the root of its mean square, times w. dst may be x.
func (k *Kernels) RMSNorm(dst, x, w []float32, eps float32) {
	need("RMSNorm x", len(x), len(dst))
	need("RMSNorm w", len(w), len(dst))
	if len(dst) > 0 {
		k.rmsNorm(dst, x[:len(dst)], w, eps)
	}
}

// RoPE turns the first 2·len(cos) values of each head of x, heads x headDim, in
// place. Pair i is values 2i and 2i+1 where interleaved, else i and i+len(cos);
// cos and sin have one value for each pair.
func (k *Kernels) RoPE(x []float32, heads, headDim int, cos, sin []float32, interleaved bool) {
	need("RoPE x", len(x), heads*headDim)
	need("RoPE sin", len(sin), len(cos))
	need("RoPE head", headDim, 2*len(cos))
	k.rope(x, heads, headDim, cos, sin, interleaved)
}

// ArgMax returns the index of the largest value, the lowest one of several. NaN
// never wins; where all are NaN, and for no values, the result is 0.
func (k *Kernels) ArgMax(x []float32) int { return k.argMax(x) }

func genericAdd(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func genericMul(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func genericSiLUMul(dst, gate, up []float32) {
	for i := range dst {
		x := gate[i]
		e := num.Exp2f32(float32(x * -num.Log2E))
		dst[i] = float32(x/float32(1+e)) * up[i]
	}
}

func genericScaleTo(dst, x []float32, c float32) {
	for i := range dst {
		dst[i] = x[i] * c
	}
}

func genericRMSNorm(dst, x, w []float32, eps float32) {
	var lanes [16]float32
	for i, v := range x {
		lanes[i%16] = num.FMA32(v, v, lanes[i%16])
	}
	mean := float32(foldLanes(&lanes) / float32(len(x)))
	r := 1 / float32(math.Sqrt(float64(float32(mean+eps))))
	for i := range dst {
		dst[i] = float32(x[i]*r) * w[i]
	}
}

// foldLanes adds 16 partial sums in the order of docs/NUMERICS.md.
func foldLanes(l *[16]float32) float32 {
	for n := 8; n > 0; n /= 2 {
		for j := range n {
			l[j] += l[j+n]
		}
	}
	return l[0]
}

func genericRoPE(x []float32, heads, headDim int, cos, sin []float32, interleaved bool) {
	for h := range heads {
		head := x[h*headDim:][:headDim]
		for i, c := range cos {
			p, q := i, i+len(cos)
			if interleaved {
				p, q = 2*i, 2*i+1
			}
			a, b := head[p], head[q]
			head[p] = num.FMA32(a, c, -float32(b*sin[i]))
			head[q] = num.FMA32(b, c, float32(a*sin[i]))
		}
	}
}

func genericArgMax(x []float32) int {
	best := -1
	for i, v := range x {
		if v == v && (best < 0 || v > x[best]) {
			best = i
		}
	}
	return max(best, 0)
}
