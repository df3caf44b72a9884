package jinja

import (
	"fmt"
	"strconv"
	"strings"
)

// maxWidth bounds widths and precisions in formats.
const maxWidth = 1 << 12

// printf is the % operator on a string: %s %r %d %i %u %f %e %g %x %X %o %c
// and %%, with flags, width and precision; arguments in a tuple or dict.
func (r *run) printf(format Text, v Value) Value {
	values := []Value{v}
	if l, ok := v.(*List); ok && l.kind == isTuple {
		values = l.items
	}
	dict, _ := v.(*Dict)
	used := 0
	b := builder{m: &r.meter}
	s := format.s
	r.walk(len(s))
	at := 0
	for {
		n := strings.IndexByte(s[at:], '%')
		if n < 0 {
			break
		}
		b.text(r.slice(format, at, at+n))
		at += n + 1
		r.step(1)
		var key *string
		if at < len(s) && s[at] == '(' {
			end := strings.IndexByte(s[at:], ')')
			if end < 0 || dict == nil {
				fail("incomplete format key, or format requires a mapping")
			}
			name := s[at+1 : at+end]
			key = &name
			at += end + 1
		}
		begin := at
		for at < len(s) && strings.IndexByte("-+ 0#", s[at]) >= 0 {
			at++
		}
		at = digitsEnd(s, at)
		if at < len(s) && s[at] == '.' {
			at = digitsEnd(s, at+1)
		}
		if at >= len(s) {
			fail("incomplete format")
		}
		verb := s[at]
		spec := s[begin:at]
		at++
		if verb == '%' {
			b.str("%")
			continue
		}
		var arg Value
		switch {
		case key != nil:
			got, ok := dict.get(Trusted(*key))
			if !ok {
				fail("format key '%s' is not there", *key)
			}
			arg = got
		case used < len(values):
			arg = values[used]
			used++
		default:
			fail("not enough arguments for format string")
		}
		r.printVerb(&b, spec, verb, arg)
	}
	b.text(r.slice(format, at, len(s)))
	if used < len(values) && dict == nil {
		fail("not all arguments converted during string formatting")
	}
	if len(format.marks) > 0 {
		return Client(string(b.b)) // a client's format chooses what is written
	}
	return b.done()
}

func digitsEnd(s string, at int) int {
	for at < len(s) && s[at] >= '0' && s[at] <= '9' {
		at++
	}
	return at
}

// checkSpec refuses widths and precisions that blow up.
func checkSpec(spec string) {
	for _, part := range strings.FieldsFunc(spec, func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(part); err != nil || n > maxWidth {
			fail("width or precision in format is more than %d", maxWidth)
		}
	}
}

func (r *run) printVerb(b *builder, spec string, verb byte, v Value) {
	r.alloc(len(spec))
	checkSpec(spec)
	switch verb {
	case 's', 'r':
		t := r.toText(v)
		if verb == 'r' {
			q := builder{m: &r.meter}
			q.repr(v)
			t = q.done()
		}
		if spec == "" {
			b.text(t)
			return
		}
		r.alloc(len(t.s) + maxWidth)
		b.raw(fmt.Sprintf("%"+spec+"s", t.s), len(t.marks) > 0)
	case 'd', 'i', 'u', 'x', 'X', 'o', 'c':
		n, ok := asInt(v)
		if f, isFloat := v.(float64); isFloat && strings.IndexByte("diu", verb) >= 0 {
			n, ok = floatToInt(f)
		}
		if t, isText := v.(Text); isText && verb == 'c' && r.runes(t.s) == 1 {
			b.text(t)
			return
		}
		if !ok {
			fail("%%%c format: a real number is required, not %s", verb, typeName(v))
		}
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		b.str(fmt.Sprintf("%"+spec+string(rune(verb)), n))
	case 'f', 'F', 'e', 'E', 'g', 'G':
		f, ok := asFloat(v)
		if !ok {
			fail("must be real number, not %s", typeName(v))
		}
		if (verb == 'g' || verb == 'G') && !strings.Contains(spec, ".") {
			spec += ".6"
		}
		b.str(fmt.Sprintf("%"+spec+string(rune(verb)), f))
	default:
		fail("unsupported format character '%c'", verb)
	}
}

// format is str.format, with fields {}, {0} and {name} but no attributes,
// conversions or format specifications.
func (r *run) format(t Text, a args) Value {
	b := builder{m: &r.meter}
	auto := 0
	for at := 0; at < len(t.s); {
		r.step(1)
		n := strings.IndexAny(t.s[at:], "{}")
		if n < 0 {
			b.text(r.slice(t, at, len(t.s)))
			break
		}
		b.text(r.slice(t, at, at+n))
		at += n
		c := t.s[at]
		if strings.HasPrefix(t.s[at+1:], string(rune(c))) {
			b.text(r.slice(t, at, at+1))
			at += 2
			continue
		}
		end := strings.IndexByte(t.s[at:], '}')
		if c == '}' || end < 0 {
			fail("single '%c' encountered in format string", c)
		}
		field := t.s[at+1 : at+end]
		at += end + 1
		switch i, err := strconv.Atoi(field); {
		case field == "":
			i = auto
			auto++
			fallthrough
		case err == nil:
			if i < 0 || i >= len(a.pos) {
				fail("replacement index %d out of range for positional args", i)
			}
			b.print(a.pos[i])
		default:
			found := false
			r.step(len(a.kw))
			for _, k := range a.kw {
				if k.name == field {
					b.print(k.value)
					found = true
				}
			}
			if !found {
				fail("format field '%s' is unknown or not supported", field)
			}
		}
	}
	return b.done()
}
