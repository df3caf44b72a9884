//go:build (!amd64 && !arm64) || noasm

package cpu

func available(t Tier) bool { return t == Generic }

func (k *Kernels) quantize(tile []byte, x []float32, stride, kdim, m int) {
	genericQuantize(tile, x, stride, kdim, m)
}

func (k *Kernels) transpose8(tile []byte, x []float32, stride, kdim int) (done int) { return 0 }

func (k *Kernels) linear(y []float32, stride int, tile []byte, m int, w *Matrix, f *format, g0, g1 int) {
	genericLinear(y, stride, tile, m, w, f, g0, g1)
}

func (k *Kernels) add(dst, a, b []float32) { genericAdd(dst, a, b) }

func (k *Kernels) mul(dst, a, b []float32) { genericMul(dst, a, b) }

func (k *Kernels) siluMul(dst, gate, up []float32) { genericSiLUMul(dst, gate, up) }

func (k *Kernels) scaleTo(dst, x []float32, c float32) { genericScaleTo(dst, x, c) }

func (k *Kernels) hadamard(x []float32) { genericHadamard(x) }

func (k *Kernels) rmsNorm(dst, x, w []float32, eps float32) { genericRMSNorm(dst, x, w, eps) }

func (k *Kernels) rope(x []float32, heads, headDim int, cos, sin []float32, interleaved bool) {
	genericRoPE(x, heads, headDim, cos, sin, interleaved)
}

func (k *Kernels) argMax(x []float32) int { return genericArgMax(x) }

func (k *Kernels) toF16(dst []byte, src []float32) { genericToF16(dst, src) }

func (k *Kernels) merge(A, a []float32, u, v float32) { genericMerge(A, a, u, v) }

func (k *Kernels) exp2(x []float32) { genericExp2(x) }

func (k *Kernels) attendChunk(c *Chunk, q []float32, n int, first, last []int32, scratch, m, l, acc []float32) {
	genericAttendChunk(c, q, n, first, last, scratch, m, l, acc)
}
