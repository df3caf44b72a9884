//go:build amd64 && !noasm

package cpu

import "github.com/holdfast-run/holdfast/graph"

// attendSizes returns how many queries, and how many dimensions of values, the
// kernels take at most.
func (k *Kernels) attendSizes() (queries, dims int) {
	if k.wide() {
		return 6, 64
	}
	return 3, 32
}

func (k *Kernels) scoresAsm(t graph.DType, n int, p, q *float32, dim uintptr, keys, ahead **byte, blocks uintptr) {
	if k.wide() {
		scoresAVX512(t, n, p, q, dim, keys, ahead, blocks)
	} else {
		scoresAVX2(t, n, p, q, dim, keys, ahead, blocks)
	}
}

func (k *Kernels) weightsAsm(p *float32, from, to uintptr, max, sum *float32) {
	if k.wide() {
		weightsAVX512(p, from, to, max, sum)
	} else {
		weightsAVX2(p, from, to, max, sum)
	}
}

// weightsWhole does weights' work for rows of which all slots are visible, where
// the tier has a kernel for it.
func (k *Kernels) weightsWhole(n int, p, m, l []float32) bool {
	if k.wide() {
		weightsWholeAVX512(&p[0], uintptr(n), &m[0], &l[0])
	} else {
		weightsWholeAVX2(&p[0], uintptr(n), &m[0], &l[0])
	}
	return true
}

func (k *Kernels) valuesAsm(t graph.DType, n, dims int, acc *float32, stride uintptr, p *float32, v, ahead **byte, offset, rowBytes, from, to uintptr) {
	if k.wide() {
		valuesAVX512(t, n, dims/16, acc, stride, p, v, ahead, offset, rowBytes, from, to)
	} else {
		valuesAVX2(t, n, dims/8, acc, stride, p, v, ahead, offset, rowBytes, from, to)
	}
}
