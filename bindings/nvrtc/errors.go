package nvrtc

import "fmt"

// Code is an nvrtcResult.
type Code int32

// The codes that callers tell apart; Error.Name has the compiler's own name of any.
const (
	Success           Code = 0
	OutOfMemory       Code = 1
	InvalidOption     Code = 5
	CompilationFailed Code = 6
	InternalError     Code = 11
)

// Error is a call that did not succeed.
type Error struct {
	Code Code
	Name string // as NVRTC calls it: "NVRTC_ERROR_INVALID_OPTION"
	Call string // the function: "nvrtcCompileProgram"
}

func (e *Error) Error() string { return fmt.Sprintf("nvrtc: %s: %s (%d)", e.Call, e.Name, e.Code) }

// CompileError says that a program was refused, with the compiler's messages.
type CompileError struct {
	Program string // its name
	Arch    string
	Log     string
	Err     *Error
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("nvrtc: compile %s for %s: %s\n%s", e.Program, e.Arch, e.Err.Name, e.Log)
}

func (e *CompileError) Unwrap() error { return e.Err }
