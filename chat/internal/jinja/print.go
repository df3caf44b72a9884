package jinja

import (
	"fmt"
	"strconv"
	"strings"
)

// print appends v as {{ v }} does: Python's str.
func (b *builder) print(v Value) {
	switch v := v.(type) {
	case Text:
		b.text(v)
	case Undefined:
	default:
		b.repr(v)
	}
}

// toText is str(v).
func (r *run) toText(v Value) Text {
	if t, ok := v.(Text); ok {
		return t
	}
	b := builder{m: &r.meter}
	b.print(v)
	return b.done()
}

// repr appends v as Python's repr writes it.
func (b *builder) repr(v Value) {
	b.m.step(1)
	switch v := v.(type) {
	case Undefined:
		b.str("Undefined")
	case None:
		b.str("None")
	case bool:
		if v {
			b.str("True")
		} else {
			b.str("False")
		}
	case int64:
		b.str(strconv.FormatInt(v, 10))
	case float64:
		b.str(formatFloat(v))
	case Text:
		b.quote(v)
	case *List:
		b.m.enter()
		ends := [...]string{"[]", "()", "[]", "[]"}[v.kind]
		b.str(ends[:1])
		for i, item := range v.items {
			if i > 0 {
				b.str(", ")
			}
			b.repr(item)
		}
		if v.kind == isTuple && len(v.items) == 1 {
			b.str(",")
		}
		b.str(ends[1:])
		b.m.leave()
	case *Dict:
		b.m.enter()
		b.str("{")
		for i, key := range v.keys {
			if i > 0 {
				b.str(", ")
			}
			b.repr(key)
			b.str(": ")
			b.repr(v.values[i])
		}
		b.str("}")
		b.m.leave()
	case *function:
		b.str("<" + v.name + ">")
	default:
		b.str("<" + typeName(v) + ">")
	}
}

// quote appends a string literal as Python writes it.
func (b *builder) quote(t Text) {
	quote := '\''
	if strings.ContainsRune(t.s, '\'') && !strings.ContainsRune(t.s, '"') {
		quote = '"'
	}
	b.m.walk(len(t.s))
	var q strings.Builder
	q.WriteRune(quote)
	for _, r := range t.s {
		switch {
		case r == quote || r == '\\':
			q.WriteRune('\\')
			q.WriteRune(r)
		case r == '\n':
			q.WriteString(`\n`)
		case r == '\r':
			q.WriteString(`\r`)
		case r == '\t':
			q.WriteString(`\t`)
		case strconv.IsPrint(r):
			q.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&q, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&q, `\u%04x`, r)
		default:
			fmt.Fprintf(&q, `\U%08x`, r)
		}
		if q.Len() > b.m.bytes {
			break // str below ends the render
		}
	}
	q.WriteRune(quote)
	b.raw(q.String(), len(t.marks) > 0)
}

// json appends v as Python's json.dumps(ensure_ascii=False) does. indent < 0
// is none; with it, level is the depth.
func (b *builder) json(v Value, o jsonStyle, level int) {
	b.m.step(1)
	switch v := v.(type) {
	case None:
		b.str("null")
	case bool:
		b.str(strconv.FormatBool(v))
	case int64:
		b.str(strconv.FormatInt(v, 10))
	case float64:
		s := formatFloat(v)
		if alias, ok := map[string]string{"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[s]; ok {
			s = alias
		}
		b.str(s)
	case Text:
		b.jsonText(v)
	case *List:
		if v.kind > isTuple {
			fail("Object of type %s is not JSON serializable", typeName(v))
		}
		b.jsonItems(o, level, "[]", len(v.items), func(i int) { b.json(v.items[i], o, level+1) })
	case *Dict:
		order := make([]int, len(v.keys))
		for i := range order {
			order[i] = i
		}
		if o.sortKeys {
			sortBy(order, func(x, y int) bool { return keyText(v.keys[x]) < keyText(v.keys[y]) })
		}
		b.jsonItems(o, level, "{}", len(v.keys), func(i int) {
			i = order[i]
			if key, ok := v.keys[i].(Text); ok {
				b.jsonText(key)
			} else {
				b.str(`"` + keyText(v.keys[i]) + `"`)
			}
			b.text(o.colon)
			b.json(v.values[i], o, level+1)
		})
	default:
		failUndefined(v)
		fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

// jsonStyle is what tojson's arguments choose.
type jsonStyle struct {
	indent       Text
	indented     bool
	comma, colon Text
	sortKeys     bool
}

func (b *builder) jsonItems(o jsonStyle, level int, ends string, n int, item func(i int)) {
	b.m.enter()
	defer b.m.leave()
	b.str(ends[:1])
	line := func(level int) {
		if o.indented && n > 0 {
			b.str("\n")
			for range level {
				b.text(o.indent)
			}
		}
	}
	for i := range n {
		if i > 0 {
			b.text(o.comma)
		}
		line(level + 1)
		item(i)
	}
	line(level)
	b.str(ends[1:])
}

func keyText(v Value) string {
	switch v := v.(type) {
	case Text:
		return v.s
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return "null"
}

func (b *builder) jsonText(t Text) {
	b.m.walk(len(t.s))
	b.m.alloc(len(t.s))
	q := make([]byte, 0, len(t.s)+2)
	q = append(q, '"')
	for i := 0; i < len(t.s); i++ {
		switch c := t.s[i]; {
		case c == '"' || c == '\\':
			q = append(q, '\\', c)
		case c == '\n':
			q = append(q, `\n`...)
		case c == '\r':
			q = append(q, `\r`...)
		case c == '\t':
			q = append(q, `\t`...)
		case c == '\f':
			q = append(q, `\f`...)
		case c == '\b':
			q = append(q, `\b`...)
		case c < 0x20:
			q = fmt.Appendf(q, `\u%04x`, c)
		default:
			q = append(q, c)
		}
	}
	b.raw(string(append(q, '"')), len(t.marks) > 0)
}
