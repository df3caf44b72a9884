//go:build arm64 && !noasm

package cpu

import "github.com/holdfast-run/holdfast/graph"

// attendSizes returns how many queries, and how many dimensions of values, the
// kernels take at most.
func (k *Kernels) attendSizes() (queries, dims int) { return 3, 32 }

func (k *Kernels) scoresAsm(t graph.DType, n int, p, q *float32, dim uintptr, keys, ahead **byte, blocks uintptr) {
	scoresNEON(t, n, p, q, dim, keys, ahead, blocks)
}

func (k *Kernels) weightsAsm(p *float32, from, to uintptr, max, sum *float32) {
	weightsNEON(p, from, to, max, sum)
}

// weightsWhole: there is no kernel for rows of which all slots are visible.
func (k *Kernels) weightsWhole(n int, p, m, l []float32) bool { return false }

func (k *Kernels) valuesAsm(t graph.DType, n, dims int, acc *float32, stride uintptr, p *float32, v, ahead **byte, offset, rowBytes, from, to uintptr) {
	valuesNEON(t, n, dims/4, acc, stride, p, v, ahead, offset, rowBytes, from, to)
}
