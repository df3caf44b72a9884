package dynload

import (
	"unsafe"

	"github.com/ebitengine/purego"
)

// What stands where a library is, in tests, is made of callbacks: the functions
// of this file are for such emulators alone.

// NewCallback returns the address of a C function that calls fn, to be put in
// Symbols. Parameters and the result of fn are integers or pointers. A callback is
// never freed and a process has about 2,000 of them: make each once, as a
// package's variable and not per test.
func NewCallback(fn any) uintptr { return purego.NewCallback(fn) }

// Peek returns the T at an address that a caller gave. T holds no pointers.
func Peek[T any](address uintptr) T { return *(*T)(pointer(address)) }

// Poke stores v at an address that a caller gave.
func Poke[T any](address uintptr, v T) { *(*T)(pointer(address)) = v }

// Memory returns n bytes at an address that a caller gave, valid as long as the
// caller says.
func Memory(address uintptr, n int) []byte {
	return unsafe.Slice((*byte)(pointer(address)), n)
}
