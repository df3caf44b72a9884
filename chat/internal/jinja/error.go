package jinja

import "fmt"

// Error is a template's fault or its input's: what Python would raise.
type Error struct {
	Line    int // of the template; 0 = unknown
	Message string
	Raised  bool // by raise_exception; Message is the template's own
}

// Error returns the message, with the line unless the template raised it.
func (e *Error) Error() string {
	if e.Raised || e.Line == 0 {
		return "chat template: " + e.Message
	}
	return fmt.Sprintf("chat template: line %d: %s", e.Line, e.Message)
}

// fail ends the render; the line is filled in by Render.
func fail(format string, a ...any) {
	panic(abort{&Error{Message: fmt.Sprintf(format, a...)}})
}
