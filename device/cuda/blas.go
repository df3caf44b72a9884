package cuda

import (
	"errors"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// blas is cuBLASLt on the program's GPU: products of many rows, outside of
// batch-invariant mode.
type blas struct {
	lib      *cublaslt.Library
	handle   cublaslt.Handle
	products []*product
}

// workspaceBytes is what algorithms may use: the size that NVIDIA advises for sm_90.
const workspaceBytes = 32 << 20

// openBLAS loads the library where it is and is wanted. That it is missing is no
// error: our own kernels do the same.
func (p *program) openBLAS(b *Backend) error {
	lib := b.BLAS
	if p.invariant || b.NoBLAS {
		return nil
	}
	if lib == nil {
		var err error
		if lib, err = cublaslt.Open(""); err != nil {
			return nil
		}
	}
	x := &blas{lib: lib}
	var err error
	if x.handle, err = lib.Create(); err != nil {
		return p.fail("cuBLASLt", err)
	}
	p.blas = x
	return nil
}

func (x *blas) close() error {
	if x == nil {
		return nil
	}
	var errs []error
	for _, t := range x.products {
		for _, s := range t.shapes {
			errs = append(errs, s.matmul.Close())
		}
	}
	return errors.Join(append(errs, x.lib.Destroy(x.handle))...)
}

// product is y = x · Wᵀ by cuBLASLt, for the numbers of rows seen so far.
type product struct {
	params *kernels.GEMMParams
	shapes []*problem
}

// problem is a product of some rows.
type problem struct {
	rows      uint32
	matmul    *cublaslt.Matmul
	algorithm *cublaslt.Algorithm // nil: the library has none
}

// maxShapes is how many numbers of rows a product remembers.
const maxShapes = 16

func (x *blas) product(params *kernels.GEMMParams) *product {
	t := &product{params: params}
	x.products = append(x.products, t)
	return t
}

// run computes n rows. A shape that the library cannot do is left to our kernel.
func (t *product) run(p *program, n uint32) (done bool, err error) {
	s, err := t.problem(p, n)
	if err != nil || s.algorithm == nil {
		return false, err
	}
	g := t.params
	o := cublaslt.Operands{
		A: devicePtr(g.W), B: devicePtr(g.X), C: devicePtr(g.Y), D: devicePtr(g.Y), Alpha: 1,
		Workspace: devicePtr(p.at.workspace), WorkspaceBytes: workspaceBytes,
	}
	if g.Store == kernels.AddF32 {
		o.Beta = 1
	}
	return true, p.fail("cuBLASLt", s.matmul.Run(p.blas.handle, s.algorithm, o, p.compute.stream))
}

// problem describes a product once for each number of rows; the oldest makes room.
func (t *product) problem(p *program, n uint32) (*problem, error) {
	for _, s := range t.shapes {
		if s.rows == n {
			return s, nil
		}
	}
	g := t.params
	m, err := p.blas.lib.NewMatmul(cublaslt.Problem{
		TransposeA: true, // row-major W is column-major Wᵀ
		A:          cublaslt.Matrix{Type: cublaslt.BF16, Rows: uint64(g.K), Cols: uint64(g.N), LD: int64(g.K)},
		B:          cublaslt.Matrix{Type: cublaslt.BF16, Rows: uint64(g.K), Cols: uint64(n), LD: int64(g.XStride)},
		D:          cublaslt.Matrix{Type: cublaslt.F32, Rows: uint64(g.N), Cols: uint64(n), LD: int64(g.YStride)},
	})
	if err != nil {
		return nil, p.fail("cuBLASLt", err)
	}
	s := &problem{rows: n, matmul: m}
	s.algorithm, err = m.Heuristic(p.blas.handle, cublaslt.Limits{WorkspaceBytes: workspaceBytes, AlignBytes: 16})
	var refused *cublaslt.Error
	if err != nil && !(errors.As(err, &refused) && refused.Code == cublaslt.NotSupported) {
		return nil, errors.Join(p.fail("cuBLASLt", err), m.Close())
	}
	if len(t.shapes) == maxShapes {
		if err := t.shapes[0].matmul.Close(); err != nil {
			return nil, p.fail("cuBLASLt", err)
		}
		t.shapes = t.shapes[1:]
	}
	t.shapes = append(t.shapes, s)
	return s, nil
}
