package dynload

import "github.com/ebitengine/purego"

// NewCallback returns the address of a C function that calls fn, for emulators
// in tests to put in Symbols. Parameters and the result of fn are integers or
// pointers. A callback is never freed and a process has about 2,000 of them: make
// each once, as a package's variable and not per test.
func NewCallback(fn any) uintptr { return purego.NewCallback(fn) }
