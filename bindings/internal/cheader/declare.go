package cheader

import (
	"regexp"
	"strings"
)

// declarations goes through the top level, statement by statement.
func (h *Header) declarations() {
	for _, s := range statements(h.text) {
		s = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), `extern "C" {`))
		if m := composite.FindStringSubmatch(s); m != nil {
			h.declare(m[1], m[2], m[3], m[4])
		} else if m := functionType.FindStringSubmatch(s); m != nil {
			h.types[m[1]] = pointer
		} else if m := alias.FindStringSubmatch(s); m != nil {
			h.alias(m[1], m[2], m[3])
		}
	}
}

var (
	composite    = regexp.MustCompile(`(?s)^(?:typedef\s+)?(struct|union|enum)\s*(?:\w+\([^)]*\)\s*)?(\w*)\s*\{(.*)\}\s*([\w\s,*]*)$`)
	functionType = regexp.MustCompile(`(?s)^typedef\s.*\(\s*\w*\s*\*\s*(\w+)\s*\)\s*\(`)
	alias        = regexp.MustCompile(`(?s)^typedef\s+([\w\s]+?)\s*(\*?)\s*(\w+)$`)
	pointer      = ctype{size: 8, align: 8, letter: 'p'}
)

// statements splits C at the semicolons outside of braces.
func statements(text string) []string {
	var out []string
	depth, start := 0, 0
	for i, c := range text {
		switch {
		case c == '{' && !strings.HasSuffix(strings.TrimSpace(text[start:i]), `extern "C"`):
			depth++
		case c == '}':
			depth = max(depth-1, 0)
		case c == ';' && depth == 0:
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	return out
}

func (h *Header) declare(kind, tag, body, names string) {
	var t ctype
	if kind == "enum" {
		h.enumerate(body)
		t = ctype{size: 4, align: 4, letter: 'i'}
	} else {
		var ok bool
		if t, ok = h.layout(kind, body); !ok {
			return
		}
	}
	if tag != "" {
		h.types[kind+" "+tag] = t
	}
	for _, n := range strings.Split(names, ",") {
		if n = strings.TrimSpace(n); n != "" && !strings.Contains(n, "*") {
			h.types[n] = t
		}
	}
}

func (h *Header) enumerate(body string) {
	next := int64(0)
	for _, e := range strings.Split(body, ",") {
		name, expr, given := strings.Cut(strings.TrimSpace(e), "=")
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if given {
			v, ok := h.value(strings.TrimSpace(expr))
			if !ok {
				return // the rest would be guesses
			}
			next = v
		}
		h.consts[name] = next
		next++
	}
}

// alias declares the name for a known type, or for a pointer to any.
func (h *Header) alias(of, star, name string) {
	if star != "" {
		h.types[name] = pointer
	} else if t, ok := h.types[strings.Join(strings.Fields(of), " ")]; ok {
		h.types[name] = t
	}
}

var member = regexp.MustCompile(`(?s)^(.*?)([\s*]+)(\w+)\s*(?:\[([^\]]*)\])?$`)

// layout places the members of a struct or union as the System V ABI does. It
// fails on a member of unknown type.
func (h *Header) layout(kind, body string) (ctype, bool) {
	t := ctype{align: 1, fields: map[string]Field{}}
	for _, s := range statements(body) {
		name, of, count, ok := h.member(strings.TrimSpace(s))
		if !ok {
			return ctype{}, false
		}
		offset := 0
		if kind == "struct" {
			offset = (t.size + of.align - 1) / of.align * of.align
		}
		size := of.size * count
		t.fields[name] = Field{Offset: offset, Size: size}
		t.size = max(t.size, offset+size)
		t.align = max(t.align, of.align)
	}
	t.size = (t.size + t.align - 1) / t.align * t.align
	return t, true
}

func (h *Header) member(s string) (name string, of ctype, count int, ok bool) {
	if m := composite.FindStringSubmatch(s); m != nil {
		of, ok = h.layout(m[1], m[3])
		return strings.TrimSpace(m[4]), of, 1, ok
	}
	m := member.FindStringSubmatch(s)
	if m == nil {
		return "", of, 0, false
	}
	count = 1
	if m[4] != "" {
		v, ok := h.value(m[4])
		if !ok {
			return "", of, 0, false
		}
		count = int(v)
	}
	if strings.Contains(m[2], "*") {
		return m[3], pointer, count, true
	}
	of, ok = h.types[strings.Join(strings.Fields(strings.ReplaceAll(m[1], "const ", "")), " ")]
	return m[3], of, count, ok
}
