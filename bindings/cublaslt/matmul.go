package cublaslt

import (
	"math"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// DataType is a cudaDataType.
type DataType int32

// The types of elements in use.
const (
	F32  DataType = 0
	F16  DataType = 2
	BF16 DataType = 14
)

// compute32F multiplies and adds in float32.
const compute32F = 68

// Matrix is a column-major matrix in the GPU's memory.
type Matrix struct {
	Type       DataType
	Rows, Cols uint64
	LD         int64 // elements from a column to the next, at least Rows
}

// Problem is D = alpha op(A) op(B) + beta C, where op is nothing or transposition.
// Sums are in float32; C and D are of one form and may be the same memory.
type Problem struct {
	TransposeA, TransposeB bool
	A, B, D                Matrix
}

// Matmul is a problem in the library's terms. It serves any operands of its form,
// from one thread at a time, until Close.
type Matmul struct {
	lib     *Library
	desc    uintptr
	a, b, d uintptr // layouts
}

// An attribute of a cublasLtMatmulDesc_t, and what it is set to.
const (
	descTransA  = 3
	descTransB  = 4
	opTranspose = 1
)

// NewMatmul describes a problem. It needs no GPU.
func (l *Library) NewMatmul(p Problem) (*Matmul, error) {
	m := &Matmul{lib: l}
	if err := m.describe(p); err != nil {
		_ = m.Close() // the first error is the one to tell
		return nil, err
	}
	return m, nil
}

func (m *Matmul) describe(p Problem) error {
	c := dynload.NewCall()
	defer c.Free()
	if err := m.lib.do(c, fnMatmulDescCreate, c.Out(0), compute32F, uintptr(F32)); err != nil {
		return err
	}
	m.desc = uintptr(c.Word(0))
	for _, t := range []struct {
		attribute uintptr
		transpose bool
	}{{descTransA, p.TransposeA}, {descTransB, p.TransposeB}} {
		if !t.transpose {
			continue // as it is
		}
		c.SetWord(0, opTranspose)
		if err := m.lib.do(c, fnMatmulDescSetAttribute, m.desc, t.attribute, c.At(0), 4); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		matrix Matrix
		layout *uintptr
	}{{p.A, &m.a}, {p.B, &m.b}, {p.D, &m.d}} {
		err := m.lib.do(c, fnMatrixLayoutCreate, c.Out(0), uintptr(x.matrix.Type),
			uintptr(x.matrix.Rows), uintptr(x.matrix.Cols), uintptr(x.matrix.LD))
		if err != nil {
			return err
		}
		*x.layout = uintptr(c.Word(0))
	}
	return nil
}

// Close frees what NewMatmul made.
func (m *Matmul) Close() error {
	c := dynload.NewCall()
	defer c.Free()
	var first error
	for _, x := range []struct {
		fn     int
		object *uintptr
	}{{fnMatrixLayoutDestroy, &m.a}, {fnMatrixLayoutDestroy, &m.b}, {fnMatrixLayoutDestroy, &m.d}, {fnMatmulDescDestroy, &m.desc}} {
		if *x.object == 0 {
			continue
		}
		if err := m.lib.do(c, x.fn, *x.object); err != nil && first == nil {
			first = err
		}
		*x.object = 0
	}
	return first
}

// Limits says what an algorithm may count on.
type Limits struct {
	WorkspaceBytes uint64
	// AlignBytes is what every operand's address is a multiple of. The
	// library would take 256 for granted.
	AlignBytes uint32
}

// Algorithm is a way to compute a product, as the library names it. It may be
// kept and used again for the same problem, GPU and version of the library.
type Algorithm struct {
	Data           [8]uint64
	WorkspaceBytes uint64
}

// heuristicResult is cublasLtMatmulHeuristicResult_t.
type heuristicResult struct {
	Algorithm
	State      int32
	WavesCount float32
	_          [4]int32
}

// Attributes of a cublasLtMatmulPreference_t.
const (
	prefMaxWorkspaceBytes = 1
	prefMinAlignmentA     = 5 // then B, C and D
)

// Heuristic returns the algorithm that the library thinks the fastest.
// NotSupported says that there is none for this problem.
func (m *Matmul) Heuristic(h Handle, l Limits) (*Algorithm, error) {
	c := dynload.NewCall()
	defer c.Free()
	if err := m.lib.do(c, fnMatmulPreferenceCreate, c.Out(0)); err != nil {
		return nil, err
	}
	pref := uintptr(c.Word(0))
	defer m.lib.forget(pref)
	c.SetWord(0, l.WorkspaceBytes)
	if err := m.lib.do(c, fnMatmulPreferenceSetAttribute, pref, prefMaxWorkspaceBytes, c.At(0), 8); err != nil {
		return nil, err
	}
	c.SetWord(0, uint64(l.AlignBytes))
	for operand := range uintptr(4) {
		if err := m.lib.do(c, fnMatmulPreferenceSetAttribute, pref, prefMinAlignmentA+operand, c.At(0), 4); err != nil {
			return nil, err
		}
	}
	result := dynload.View[heuristicResult](c, 1)
	const wanted = 1
	err := m.lib.do(c, fnMatmulAlgoGetHeuristic, uintptr(h), m.desc, m.a, m.b, m.d, m.d, pref, wanted, c.At(1), c.Out(0))
	if err != nil {
		return nil, err
	}
	if c.Int32(0) < wanted || result.State != int32(Success) {
		return nil, &Error{Code: NotSupported, Name: "no algorithm", Call: funcs[fnMatmulAlgoGetHeuristic].Symbol}
	}
	algorithm := result.Algorithm
	return &algorithm, nil
}

func (l *Library) forget(pref uintptr) {
	c := dynload.NewCall()
	defer c.Free()
	_ = l.do(c, fnMatmulPreferenceDestroy, pref) // it holds nothing but itself
}

// Operands are the addresses of one product. C is not read if Beta is 0.
type Operands struct {
	A, B, C, D     cuda.DevicePtr
	Alpha, Beta    float32
	Workspace      cuda.DevicePtr
	WorkspaceBytes uint64 // at least the algorithm's
}

// Run computes a product in a stream's order. It allocates nothing.
func (m *Matmul) Run(h Handle, algo *Algorithm, o Operands, s cuda.Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	c.SetWord(0, uint64(math.Float32bits(o.Alpha)))
	c.SetWord(1, uint64(math.Float32bits(o.Beta)))
	return m.lib.do(c, fnMatmul, uintptr(h), m.desc, c.At(0), uintptr(o.A), m.a, uintptr(o.B), m.b,
		c.At(1), uintptr(o.C), m.d, uintptr(o.D), m.d,
		c.Pointer(unsafe.Pointer(&algo.Data)), uintptr(o.Workspace), uintptr(o.WorkspaceBytes), uintptr(s))
}
