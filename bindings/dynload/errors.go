package dynload

import (
	"fmt"
	"strings"
)

// MissingLibraryError says that no usable file of a library was found.
type MissingLibraryError struct {
	Library string  // as people call it: "libnvrtc"
	Looked  []Tried // files that are there and could not be used, in order
	Folders []string
	Remedy  string // what to install
}

// Tried is a file that could not be used, and why: what the loader said, a
// *MissingSymbolError, or what the library's Probe said.
type Tried struct {
	Path string
	Err  error
}

func (e *MissingLibraryError) Error() string {
	var b strings.Builder
	if len(e.Looked) == 0 {
		fmt.Fprintf(&b, "%s not found in %s", e.Library, strings.Join(e.Folders, ", "))
	} else {
		fmt.Fprintf(&b, "%s cannot be used", e.Library)
		for _, t := range e.Looked {
			fmt.Fprintf(&b, "; %s: %v", t.Path, t.Err)
		}
	}
	fmt.Fprintf(&b, "; %s", e.Remedy)
	return b.String()
}

// Unwrap returns why each file could not be used.
func (e *MissingLibraryError) Unwrap() []error {
	errs := make([]error, len(e.Looked))
	for i, t := range e.Looked {
		errs[i] = t.Err
	}
	return errs
}

// MissingSymbolError says that a library lacks a function that is needed:
// nearly always it is older than this program.
type MissingSymbolError struct {
	Library string
	Symbol  string
	Remedy  string
}

func (e *MissingSymbolError) Error() string {
	return fmt.Sprintf("%s has no function %s; %s", e.Library, e.Symbol, e.Remedy)
}
