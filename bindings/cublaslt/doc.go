// Package cublaslt binds the matrix products of NVIDIA's cuBLASLt, which prefill
// uses where the library is installed: it is half a gigabyte, part of the CUDA
// toolkit and not of the driver, and never required.
//
//	lib, err := cublaslt.Open("")     // dynload.MissingLibraryError: do without
//	h, err := lib.Create()            // with a context current
//	m, err := lib.NewMatmul(problem)  // D = alpha op(A) op(B) + beta C
//	algo, err := m.Heuristic(h, limits)
//	err = m.Run(h, algo, operands, stream)
//
// Matrices are column-major, as in all of cuBLAS: a row-major matrix of r rows
// and c columns is a column-major one of c rows and r columns. So y = x Wᵀ over
// row-major x [n][k] and W [m][k] is D [m x n] = op(A) op(B) with A = W as
// [k x m], transposed, and B = x as [k x n].
//
// Calls need the thread's current context, as package cuda says. A handle may
// be used by one thread at a time.
package cublaslt
