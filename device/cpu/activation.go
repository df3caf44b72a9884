package cpu

import (
	"github.com/holdfast-run/holdfast/internal/num"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// geluPart is how many elements of a gate are in hand at a time.
const geluPart = 256

// geluMul sets dst to gelu(gate) · up. As 1 + tanh z is 2 / (1 + e^-2z), gelu(x) is
// silu(x · d) / d, with d = 2√(2/π) · (1 + 0.044715·x²): so it is a kernel's SiLU of
// one product, and of up over d. dst may be gate or up.
func geluMul(k *kernels.Kernels, dst, gate, up []float32) {
	const (
		c0 = 1.5957691216057308 // 2√(2/π)
		c2 = c0 * 0.044715
	)
	var z, u [geluPart]float32
	for at := 0; at < len(dst); at += geluPart {
		n := min(geluPart, len(dst)-at)
		for i, x := range gate[at : at+n] {
			d := c0 + float32(c2*float32(x*x))
			z[i], u[i] = x*d, up[at+i]/d
		}
		k.SiLUMul(dst[at:at+n], z[:n], u[:n])
	}
}

// softCap sets dst to limit · tanh(x / limit). dst may be x.
func softCap(dst, x []float32, limit float64) {
	for i, v := range x {
		dst[i] = float32(limit * num.Tanh(float64(v)/limit))
	}
}
