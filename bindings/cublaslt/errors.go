package cublaslt

import "fmt"

// Code is a cublasStatus_t. It is an error, so that errors.Is(err,
// cublaslt.NotSupported) asks for it.
type Code int32

// The codes that callers tell apart. Error.Name has the library's own name of any.
const (
	Success         Code = 0
	NotInitialized  Code = 1
	AllocFailed     Code = 3
	InvalidValue    Code = 7
	ArchMismatch    Code = 8
	ExecutionFailed Code = 13
	InternalError   Code = 14
	NotSupported    Code = 15
)

func (c Code) Error() string { return fmt.Sprintf("cuBLAS error %d", int32(c)) }

// Error is a call that did not succeed.
type Error struct {
	Code Code
	Name string // as the library calls it: "CUBLAS_STATUS_NOT_SUPPORTED"
	Call string // the function: "cublasLtMatmul"
}

func (e *Error) Error() string {
	return fmt.Sprintf("cublaslt: %s: %s (%d)", e.Call, e.Name, int32(e.Code))
}

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }
