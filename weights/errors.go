package weights

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Errors of Open and of Metadata, wrapped by *FormatError.
var (
	// ErrFormat is returned when a file breaks its format, or when a metadata
	// value is of another kind or range than the caller asks for; typically the
	// file is damaged, cut short or hostile.
	ErrFormat = errors.New("malformed model file")
	// ErrUnsupported is returned when a file is valid but uses something that
	// Holdfast does not have, such as a tensor type.
	ErrUnsupported = errors.New("unsupported model file")
	// ErrMissingKey is returned by Metadata's methods when a key is absent.
	ErrMissingKey = errors.New("missing metadata key")
)

// FormatError says what is wrong in a model file, and where.
type FormatError struct {
	Path    string // the file; empty for metadata that came from elsewhere
	Where   string // "header", "key general.alignment", "tensor blk.0.attn_q.weight"
	Problem string
	Err     error // ErrFormat, ErrUnsupported or ErrMissingKey
}

// Error returns "PATH: WHERE: PROBLEM" on one line.
func (e *FormatError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %s", e.Where, e.Problem)
	}
	return fmt.Sprintf("%s: %s: %s", e.Path, e.Where, e.Problem)
}

// Unwrap returns the sentinel that classes the error.
func (e *FormatError) Unwrap() error { return e.Err }

// printable returns a name from a file so that it can stand in an error: short,
// on one line, quoted when it holds anything but graphic characters.
func printable(name string) string {
	const maxLen = 120
	cut := ""
	if len(name) > maxLen {
		name, cut = name[:maxLen], "…"
	}
	for _, r := range name {
		if r == ' ' || r == utf8.RuneError || !strconv.IsGraphic(r) {
			return strconv.Quote(name) + cut
		}
	}
	if name == "" {
		return `""`
	}
	return name + cut
}
