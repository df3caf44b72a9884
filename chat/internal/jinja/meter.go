package jinja

import (
	"errors"
	"fmt"
)

// Limits is the budget of one render. All fields must be positive.
type Limits struct {
	// Steps is the most nodes evaluated, elements handled and blocks of bytes
	// looked at (64 scanned, or 8 handled one by one), together. A step takes some
	// tens of nanoseconds.
	Steps int
	// Bytes is the most bytes of text and of list and dict elements made in all,
	// whether still needed or not. It bounds the memory of a render.
	Bytes int
	// Depth is the most macro calls within each other, and the deepest list or
	// dict that is printed or compared.
	Depth int
}

// ErrBudget is matched by the errors of renders that exceed their Limits.
var ErrBudget = errors.New("chat template exceeds its budget")

// BudgetError says which limit a render exceeded. It is an ErrBudget.
type BudgetError struct {
	What  string // "steps", "bytes" or "depth"
	Limit int
}

// Error names the limit.
func (e *BudgetError) Error() string {
	return fmt.Sprintf("%v: more than %d %s", ErrBudget, e.Limit, e.What)
}

// Is reports whether target is ErrBudget.
func (e *BudgetError) Is(target error) bool { return target == ErrBudget }

// elementBytes is what one element of a list or dict is taken to weigh.
const elementBytes = 48

// How many bytes make a step: scanBytes where they are compared or searched for
// a byte, walkBytes where each is handled.
const (
	scanBytes = 64
	walkBytes = 8
)

// meter counts down a render's budget. Its methods end the render by a panic
// that Render recovers.
type meter struct {
	limits       Limits
	steps, bytes int // left
	depth        int // in use
}

// abort carries the error that ends a render to Render.
type abort struct{ err error }

func (m *meter) step(n int) {
	if n > m.steps {
		panic(abort{&BudgetError{"steps", m.limits.Steps}})
	}
	m.steps -= n
}

// alloc accounts for n bytes that are about to be made.
func (m *meter) alloc(n int) {
	if n > m.bytes || n < 0 {
		panic(abort{&BudgetError{"bytes", m.limits.Bytes}})
	}
	m.bytes -= n
}

// scan accounts for looking at n bytes.
func (m *meter) scan(n int) { m.step(n / scanBytes) }

// key accounts for looking v up, which takes every byte of a text.
func (m *meter) key(v Value) {
	if t, ok := v.(Text); ok {
		m.scan(len(t.s))
	}
}

// walk accounts for handling n bytes one by one.
func (m *meter) walk(n int) { m.step(n / walkBytes) }

// elements accounts for n elements that are about to be made.
func (m *meter) elements(n int) {
	m.step(n)
	m.alloc(n * elementBytes)
}

// enter accounts for one level of nesting; leave gives it back.
func (m *meter) enter() {
	if m.depth >= m.limits.Depth {
		panic(abort{&BudgetError{"depth", m.limits.Depth}})
	}
	m.depth++
}

func (m *meter) leave() { m.depth-- }
