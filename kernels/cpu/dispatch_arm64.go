//go:build arm64 && !noasm

package cpu

import "golang.org/x/sys/cpu"

func available(t Tier) bool {
	switch t {
	case SDOT:
		return cpu.ARM64.HasASIMDDP
	case I8MM:
		return cpu.ARM64.HasASIMDDP && cpu.ARM64.HasI8MM
	}
	return t == Generic
}

// What one assembly call takes at most, so that it takes well under 200 µs: values,
// blocks of 32 k x 16 rows x half a tile, and steps of 16 rows x 1 k x half a tile.
const (
	maxElements = 1 << 15
	maxBlocks   = 512
	maxSteps    = 1 << 13
)

// vectorised returns how many of n values the assembly takes: whole vectors of
// the given number of lanes.
func (k *Kernels) vectorised(n, lanes int) (whole int) {
	if k.Tier == Generic {
		return 0
	}
	return n &^ (lanes - 1)
}

func (k *Kernels) quantize(tile []byte, x []float32, stride, kdim, m int) {
	if k.Tier == Generic {
		genericQuantize(tile, x, stride, kdim, m)
		return
	}
	for t := range m {
		for b := 0; b < kdim/blockK; b += maxElements / blockK {
			p := tile[b*tileBlockBytes*m:]
			quantizeNEON(&p[t*blockK], &p[m*blockK+4*t], &x[t*stride+b*blockK],
				uintptr(min(maxElements/blockK, kdim/blockK-b)), uintptr(m))
		}
	}
}

// transpose8 leaves float tiles to the generic code.
func (k *Kernels) transpose8(tile []byte, x []float32, stride, kdim int) (done int) { return 0 }

func (k *Kernels) linear(y []float32, stride int, tile []byte, m int, w *Matrix, f *format, g0, g1 int) {
	if k.Tier == Generic {
		genericLinear(y, stride, tile, m, w, f, g0, g1)
		return
	}
	const part = 4
	groupBytes, blocks := f.groupBytes(w.K), w.K/blockK
	step := max(1, maxBlocks/max(1, blocks))
	if f.element > 0 {
		step = max(1, maxSteps/w.K)
	}
	yStride, groupStride := uintptr(4*stride), uintptr(groupBytes)
	for g := g0; g < g1; g += step {
		n, data := uintptr(min(step, g1-g)), &w.Data[g*groupBytes]
		for t := 0; t < m; t += part {
			to, tokens := &y[t*stride+g*GroupRows], min(part, m-t)
			if f.element > 0 {
				linearFloatSDOT(w.Type, tokens, to, yStride, &tile[4*t], uintptr(m), data, groupStride, uintptr(w.K), n)
				continue
			}
			q, d := &tile[blockK*t], &tile[blockK*m+4*t]
			if k.Tier == I8MM && tokens%2 == 0 {
				linearQuantI8MM(w.Type, tokens, to, yStride, q, d, uintptr(m), data, uintptr(blocks), n)
			} else {
				linearQuantSDOT(w.Type, tokens, to, yStride, q, d, uintptr(m), data, uintptr(blocks), n)
			}
		}
	}
}

func (k *Kernels) add(dst, a, b []float32) {
	whole := k.vectorised(len(dst), 4)
	for i := 0; i < whole; i += maxElements {
		addNEON(&dst[i], &a[i], &b[i], uintptr(min(maxElements, whole-i)))
	}
	genericAdd(dst[whole:], a[whole:], b[whole:])
}

func (k *Kernels) mul(dst, a, b []float32) {
	whole := k.vectorised(len(dst), 4)
	for i := 0; i < whole; i += maxElements {
		mulNEON(&dst[i], &a[i], &b[i], uintptr(min(maxElements, whole-i)))
	}
	genericMul(dst[whole:], a[whole:], b[whole:])
}

func (k *Kernels) siluMul(dst, gate, up []float32) {
	whole := k.vectorised(len(dst), 4)
	for i := 0; i < whole; i += maxElements {
		siluMulNEON(&dst[i], &gate[i], &up[i], uintptr(min(maxElements, whole-i)))
	}
	genericSiLUMul(dst[whole:], gate[whole:], up[whole:])
}

func (k *Kernels) scaleTo(dst, x []float32, c float32) {
	whole := k.vectorised(len(dst), 4)
	for i := 0; i < whole; i += maxElements {
		scaleNEON(&dst[i], &x[i], c, uintptr(min(maxElements, whole-i)))
	}
	genericScaleTo(dst[whole:], x[whole:], c)
}

func (k *Kernels) merge(A, a []float32, u, v float32) {
	whole := k.vectorised(len(A), 4)
	if whole > 0 {
		mergeNEON(&A[0], &a[0], u, v, uintptr(whole))
	}
	genericMerge(A[whole:], a[whole:], u, v)
}

func (k *Kernels) exp2(x []float32) {
	whole := k.vectorised(len(x), 4)
	if whole > 0 {
		exp2NEON(&x[0], uintptr(whole))
	}
	genericExp2(x[whole:])
}

func (k *Kernels) toF16(dst []byte, src []float32) {
	whole := k.vectorised(len(src), 8)
	if whole > 0 {
		toF16NEON(&dst[0], &src[0], uintptr(whole))
	}
	genericToF16(dst[2*whole:], src[whole:])
}

func (k *Kernels) hadamard(x []float32) {
	if k.Tier == Generic {
		genericHadamard(x)
		return
	}
	for i := 0; i < len(x); i += maxElements {
		hadamardNEON(&x[i], uintptr(min(maxElements, len(x)-i)))
	}
}

// The norm's sum may not be cut, so a row that is too long for one call, or not
// of whole vectors, is left to the generic code.
func (k *Kernels) rmsNorm(dst, x, w []float32, eps float32) {
	if n := len(dst); k.Tier != Generic && n%16 == 0 && n <= maxElements {
		rmsNormNEON(&dst[0], &x[0], &w[0], uintptr(n), float32(n), eps)
		return
	}
	genericRMSNorm(dst, x, w, eps)
}

func (k *Kernels) rope(x []float32, heads, headDim int, cos, sin []float32, interleaved bool) {
	pairs := len(cos)
	if heads <= 0 || pairs == 0 {
		return
	}
	switch {
	case k.Tier == Generic || heads*headDim > maxElements || pairs%4 != 0:
		genericRoPE(x, heads, headDim, cos, sin, interleaved)
	case interleaved:
		ropePairsNEON(&x[0], uintptr(heads), uintptr(4*headDim), uintptr(pairs), &cos[0], &sin[0])
	default:
		ropeHalvesNEON(&x[0], uintptr(heads), uintptr(4*headDim), uintptr(pairs), &cos[0], &sin[0])
	}
}

// argMax is plain Go: one pass over the logits of a row that is drawn greedily.
func (k *Kernels) argMax(x []float32) int { return genericArgMax(x) }
