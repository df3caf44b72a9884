package jinja

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// Text is a string that knows which of its bytes a client wrote. It is
// immutable.
type Text struct {
	s     string
	marks []mark // the client's bytes: ascending, disjoint, not touching, not empty
}

// mark is a range of bytes.
type mark struct{ from, to int }

// Trusted returns text of a template or an operator.
func Trusted(s string) Text { return Text{s: s} }

// Client returns text that a client wrote.
func Client(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{s, []mark{{0, len(s)}}}
}

// String returns the text without its marks.
func (t Text) String() string { return t.s }

// Span is a piece of rendered text.
type Span struct {
	Text   string
	Client bool
}

// Spans returns the pieces of t in order, alternately the client's and not.
func (t Text) Spans() []Span {
	var spans []Span
	at := 0
	for _, k := range t.marks {
		if k.from > at {
			spans = append(spans, Span{t.s[at:k.from], false})
		}
		spans = append(spans, Span{t.s[k.from:k.to], true})
		at = k.to
	}
	if at < len(t.s) {
		spans = append(spans, Span{t.s[at:], false})
	}
	return spans
}

// Before returns the first n bytes of t.
func (t Text) Before(n int) Text {
	out := Text{s: t.s[:n]}
	for _, k := range t.marks {
		if k.from < n {
			out.marks = append(out.marks, mark{k.from, min(k.to, n)})
		}
	}
	return out
}

// slice returns t[from:to] in bytes. It copies the marks, not the string.
func (m *meter) slice(t Text, from, to int) Text {
	out := Text{s: t.s[from:to]}
	first := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].to > from })
	last := first
	for last < len(t.marks) && t.marks[last].from < to {
		last++
	}
	if last > first && from < to { // no byte, no mark
		m.alloc(16 * (last - first))
		out.marks = make([]mark, 0, last-first)
		for _, k := range t.marks[first:last] {
			out.marks = append(out.marks, mark{max(k.from, from) - from, min(k.to, to) - from})
		}
	}
	return out
}

// like returns s, which was made of t byte by no byte: the client's throughout
// if any byte of t is.
func (m *meter) like(t Text, s string) Text {
	m.alloc(len(s))
	if len(t.marks) > 0 {
		return Client(s)
	}
	return Trusted(s)
}

// builder makes a Text. What it appends is accounted for first.
type builder struct {
	m     *meter
	b     []byte
	marks []mark
}

func (b *builder) text(t Text) {
	b.m.alloc(len(t.s) + 16*len(t.marks))
	at := len(b.b)
	b.b = append(b.b, t.s...)
	for _, k := range t.marks {
		b.mark(at+k.from, at+k.to)
	}
}

func (b *builder) str(s string) {
	b.m.alloc(len(s))
	b.b = append(b.b, s...)
}

// raw appends s, the client's or not.
func (b *builder) raw(s string, client bool) {
	at := len(b.b)
	b.str(s)
	if client && s != "" {
		b.mark(at, len(b.b))
	}
}

func (b *builder) mark(from, to int) {
	if n := len(b.marks); n > 0 && b.marks[n-1].to == from {
		b.marks[n-1].to = to
		return
	}
	b.marks = append(b.marks, mark{from, to})
}

// done returns the text. The builder must not be used again.
func (b *builder) done() Text { return Text{string(b.b), b.marks} }

func (m *meter) concat(parts ...Text) Text {
	b := builder{m: m}
	size := 0
	for _, t := range parts {
		size += len(t.s)
	}
	if size > m.bytes {
		m.alloc(size) // ends the render
	}
	b.b = make([]byte, 0, size)
	for _, t := range parts {
		b.text(t)
	}
	return b.done()
}

// isSpace reports whether Python's str.isspace would be true of r.
func isSpace(r rune) bool {
	switch {
	case r >= '\t' && r <= '\r', r >= 0x1c && r <= ' ', r == 0x85, r == 0xa0, r == 0x1680, r >= 0x2000 && r <= 0x200a,
		r == 0x2028, r == 0x2029, r == 0x202f, r == 0x205f, r == 0x3000:
		return true
	}
	return false
}

// inSet returns a function for strip: white space, or the runes of chars.
func (m *meter) inSet(chars *Text) func(rune) bool {
	if chars == nil {
		return isSpace
	}
	return func(r rune) bool {
		m.scan(len(chars.s))
		return strings.ContainsRune(chars.s, r)
	}
}

// strip cuts runes of set off the ends.
func (m *meter) strip(t Text, set func(rune) bool, left, right bool) Text {
	from, to := 0, len(t.s)
	if left {
		from = len(t.s) - len(strings.TrimLeftFunc(t.s, set))
	}
	if right {
		to = max(from, len(strings.TrimRightFunc(t.s, set)))
	}
	m.step(len(t.s) - (to - from))
	return m.slice(t, from, to)
}

// runes returns the number of code points.
func (m *meter) runes(s string) int {
	m.scan(len(s))
	return utf8.RuneCountInString(s)
}
