package cublaslt

import (
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// Library is the loaded libcublasLt.
type Library struct {
	fn []uintptr
	// Path is its file; "" for one made by New.
	Path string
}

// Handle is the library's state on a GPU.
type Handle uintptr

// Open loads the library from the toolkit's folders, or from the given folder
// alone if it is not "". The error is a *dynload.MissingLibraryError.
func Open(folder string) (*Library, error) {
	lib, err := library.Load(folder)
	if err != nil {
		return nil, fmt.Errorf("cublaslt: %w", err)
	}
	return &Library{fn: lib.Symbols.Addresses(funcs), Path: lib.Path}, nil
}

// New makes a library from a table of functions by symbol; Functions lists them.
func New(s dynload.Symbols) (*Library, error) {
	if err := library.Check(s); err != nil {
		return nil, fmt.Errorf("cublaslt: %w", err)
	}
	return &Library{fn: s.Addresses(funcs)}, nil
}

// GetVersion returns the version: 130100 is 13.1.0. It needs no GPU.
func (l *Library) GetVersion() int {
	c := dynload.NewCall()
	defer c.Free()
	return int(c.Do(l.fn[fnGetVersion]))
}

// Create makes a handle on the current context's GPU.
func (l *Library) Create() (Handle, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := l.do(c, fnCreate, c.Out(0))
	return Handle(c.Word(0)), err
}

// Destroy frees a handle.
func (l *Library) Destroy(h Handle) error {
	c := dynload.NewCall()
	defer c.Free()
	return l.do(c, fnDestroy, uintptr(h))
}

// maxName is the most bytes of an error's name.
const maxName = 256

// do calls a function and turns its cublasStatus_t into an error.
func (l *Library) do(c *dynload.Call, fn int, args ...uintptr) error {
	code := Code(c.Do(l.fn[fn], args...))
	if code == Success {
		return nil
	}
	name := dynload.GoString(c.Do(l.fn[fnGetStatusName], uintptr(code)), maxName)
	return &Error{Code: code, Name: name, Call: funcs[fn].Symbol}
}
