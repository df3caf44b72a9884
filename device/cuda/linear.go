package cuda

import (
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// linearOp is y = x · Wᵀ, perhaps with a bias, perhaps added to what y held.
//
// Up to gemmRows rows, and for any number in batch-invariant mode, it is a linear_*
// kernel; those of a type give a row the same bits. Above, weights that are
// quantised are unpacked to BF16 once, and a product of large tiles follows.
type linearOp struct {
	m        *matrix
	bias     *vector // nil for none
	from, to role
	column   int // first element in a row of to
	rows     graph.Rows
	store    kernels.Store

	few    [3]*kernel // for up to 8 rows, up to 16, more
	unpack *kernel    // nil where weights are BF16
	gemm   [2]*kernel // of small tiles, of large; nil where only few are used
	blas   *product   // cuBLASLt's, in place of gemm; nil without

	params       kernels.LinearParams
	gemmParams   kernels.GEMMParams
	unpackParams kernels.UnpackParams
}

// gemmRows is the most rows that the linear_* kernels take outside of
// batch-invariant mode. Not yet tuned: no GPU has run this.
const gemmRows = 64

// wideRows and wideOutputs are from where on the large tile is used.
const wideRows, wideOutputs = 128, 1024

func (op *linearOp) bind(p *program) error {
	yStride := op.m.n()
	y := p.at.role[op.to] + kernels.Ptr(4*op.column)
	if op.to != stream { // rows of values side by side
		yStride = p.width[op.to]
	}
	op.params = kernels.LinearParams{
		W: op.m.at, X: p.at.role[op.from], Y: y, N: uint32(op.m.n()), K: uint32(op.m.k()),
		XStride: uint32(op.m.k()), YStride: uint32(yStride), Store: op.store,
	}
	if op.bias != nil {
		op.params.Bias = op.bias.at
	}
	var err error
	for i, rows := range []string{"_8", "_16", "_64"} {
		name := "linear_" + op.m.kind() + rows
		if !p.fits(name) { // fewer rows a block, and the same bits
			op.few[i] = op.few[i-1]
			continue
		}
		if op.few[i], err = p.kernel(name); err != nil {
			return err
		}
	}
	if p.invariant || op.m.n()%2 != 0 {
		return nil
	}
	return op.bindGEMM(p)
}

func (op *linearOp) bindGEMM(p *program) (err error) {
	l := &op.params
	op.gemmParams = kernels.GEMMParams{W: l.W, X: l.X, Bias: l.Bias, Y: l.Y, N: l.N, K: l.K, XStride: l.XStride, YStride: l.YStride, Store: l.Store}
	if op.m.dtype != graph.BF16 {
		op.gemmParams.W = p.at.unpack
		op.unpackParams = kernels.UnpackParams{W: l.W, Out: p.at.unpack, N: l.N, K: l.K}
		if op.unpack, err = p.kernel("unpack_" + op.m.kind()); err != nil {
			return err
		}
	}
	if op.gemm[0], err = p.kernel("gemm_64x64"); err != nil {
		return err
	}
	op.gemm[1] = op.gemm[0]
	if p.fits("gemm_128x256") {
		op.gemm[1], err = p.kernel("gemm_128x256")
	}
	if p.blas != nil && op.bias == nil {
		op.blas = p.blas.product(&op.gemmParams)
	}
	return err
}

func (op *linearOp) run(p *program, s *step) error {
	n := s.rows(op.rows)
	switch {
	case n == 0:
		return nil
	case n > gemmRows && op.gemm[0] != nil:
		return op.runGEMM(p, n)
	}
	op.params.Rows = n
	k := op.few[2]
	if n <= 8 {
		k = op.few[0]
	} else if n <= 16 {
		k = op.few[1]
	}
	return p.start(k, &op.params, view(&op.params))
}

func (op *linearOp) runGEMM(p *program, n uint32) error {
	if op.unpack != nil {
		if err := p.start(op.unpack, &op.unpackParams, view(&op.unpackParams)); err != nil {
			return err
		}
	}
	if op.blas != nil {
		if done, err := op.blas.run(p, n); done || err != nil {
			return err
		}
	}
	k := op.gemm[0]
	if n >= wideRows && op.gemmParams.N >= wideOutputs {
		k = op.gemm[1]
	}
	op.gemmParams.Rows = n
	return p.start(k, &op.gemmParams, view(&op.gemmParams))
}
