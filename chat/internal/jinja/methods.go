package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// method returns the bound method v.name, or nil if v has none of that name.
// Those that would change v are refused when they are called.
func method(v Value, name string) Value {
	bind := func(call func(r *run, a args) Value) Value {
		return &function{name, func(r *run, a args) Value {
			a.name = name
			return call(r, a)
		}}
	}
	switch v := v.(type) {
	case Text:
		if m, ok := textMethods[name]; ok {
			return bind(func(r *run, a args) Value { return m(r, v, a) })
		}
	case *Dict:
		if m, ok := dictMethods[name]; ok {
			return bind(func(r *run, a args) Value { return m(r, v, a) })
		}
		switch name {
		case "clear", "pop", "popitem", "setdefault", "update":
			return refused("dict." + name)
		}
	case *List:
		if v.kind > isTuple {
			return nil
		}
		if m, ok := listMethods[name]; ok {
			return bind(func(r *run, a args) Value { return m(r, v, a) })
		}
		switch name {
		case "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort":
			if v.kind == isList {
				return refused("list." + name)
			}
		}
	}
	return nil
}

func refused(name string) Value {
	return &function{name, func(*run, args) Value {
		fail("%s is not allowed: values are immutable", name)
		return nil
	}}
}

var dictMethods = map[string]func(r *run, d *Dict, a args) Value{
	"items": func(r *run, d *Dict, a args) Value { a.bind(); return r.pairs(d) },
	"keys":  func(r *run, d *Dict, a args) Value { a.bind(); return &List{d.keys, isView} },
	"values": func(r *run, d *Dict, a args) Value {
		a.bind()
		return &List{d.values, isView}
	},
	"copy": func(r *run, d *Dict, a args) Value { a.bind(); return d },
	"get": func(r *run, d *Dict, a args) Value {
		b := a.bind("key", "default")
		if b[0] == nil {
			fail("get lacks argument 'key'")
		}
		r.key(b[0])
		if v, ok := d.get(b[0]); ok {
			return v
		}
		if b[1] != nil {
			return b[1]
		}
		return None{}
	},
}

// pairs is dict.items().
func (r *run) pairs(d *Dict) *List {
	r.elements(3 * len(d.keys))
	items := make([]Value, len(d.keys))
	for i, key := range d.keys {
		items[i] = &List{[]Value{key, d.values[i]}, isTuple}
	}
	return &List{items, isView}
}

var listMethods = map[string]func(r *run, l *List, a args) Value{
	"copy": func(r *run, l *List, a args) Value { a.bind(); return l },
	"count": func(r *run, l *List, a args) Value {
		want, n := a.one("value"), int64(0)
		for _, v := range l.items {
			if r.equal(v, want) {
				n++
			}
		}
		return n
	},
	"index": func(r *run, l *List, a args) Value {
		want := a.one("value")
		for i, v := range l.items {
			if r.equal(v, want) {
				return int64(i)
			}
		}
		fail("value is not in list")
		return nil
	},
}

type textMethod = func(r *run, t Text, a args) Value

var textMethods map[string]textMethod

func init() {
	textMethods = map[string]textMethod{
		"strip": stripper(true, true), "lstrip": stripper(true, false), "rstrip": stripper(false, true),
		"upper": mapper(strings.ToUpper), "lower": mapper(strings.ToLower), "casefold": mapper(strings.ToLower),
		"title": mapper(title), "capitalize": mapper(capitalize),
		"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix),
		"removeprefix": func(r *run, t Text, a args) Value {
			p := wantText("prefix", a.one("prefix"))
			r.scan(len(p.s))
			if strings.HasPrefix(t.s, p.s) {
				return r.slice(t, len(p.s), len(t.s))
			}
			return t
		},
		"removesuffix": func(r *run, t Text, a args) Value {
			p := wantText("suffix", a.one("suffix"))
			r.scan(len(p.s))
			if strings.HasSuffix(t.s, p.s) {
				return r.slice(t, 0, len(t.s)-len(p.s))
			}
			return t
		},
		"split": splitter(false), "rsplit": splitter(true),
		"splitlines": func(r *run, t Text, a args) Value {
			b := a.bind("keepends")
			return &List{r.lines(t, b[0] != nil && truthy(b[0])), isList}
		},
		"partition": partition(false), "rpartition": partition(true),
		"replace": func(r *run, t Text, a args) Value {
			b := a.bind("old", "new", "count")
			if b[0] == nil || b[1] == nil {
				fail("replace expected at least 2 arguments")
			}
			return r.replace(t, wantText("old", b[0]), wantText("new", b[1]), wantInt("count", b[2], -1))
		},
		"join": func(r *run, t Text, a args) Value {
			b := builder{m: &r.meter}
			for i, v := range r.iterate(a.one("iterable")) {
				if i > 0 {
					b.text(t)
				}
				b.text(wantText("sequence item", v))
				r.step(1)
			}
			return b.done()
		},
		"count": func(r *run, t Text, a args) Value {
			sub := wantText("sub", a.one("sub"))
			r.walk(len(t.s))
			return int64(strings.Count(t.s, sub.s))
		},
		"find": finder(strings.Index, false), "rfind": finder(strings.LastIndex, false),
		"index": finder(strings.Index, true), "rindex": finder(strings.LastIndex, true),
		"format":  func(r *run, t Text, a args) Value { return r.format(t, a) },
		"isdigit": classTest(unicode.IsDigit), "isnumeric": classTest(unicode.IsNumber),
		"isalpha": classTest(unicode.IsLetter), "isspace": classTest(isSpace),
		"isalnum": classTest(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
		"isupper": func(r *run, t Text, a args) Value { r.walk(len(t.s)); return isCased(t.s, strings.ToUpper) },
		"islower": func(r *run, t Text, a args) Value { r.walk(len(t.s)); return isCased(t.s, strings.ToLower) },
	}
}

func stripper(left, right bool) textMethod {
	return func(r *run, t Text, a args) Value {
		return r.strip(t, r.inSet(optionalText("chars", a.bind("chars")[0])), left, right)
	}
}

func mapper(to func(string) string) textMethod {
	return func(r *run, t Text, a args) Value {
		a.bind()
		return r.mapText(t, to)
	}
}

// mapText applies a change of case, which may make a rune longer, but by no
// more than a byte or two.
func (r *run) mapText(t Text, to func(string) string) Text {
	r.walk(len(t.s))
	r.alloc(2 * len(t.s))
	return r.like(t, to(t.s))
}

func affix(has func(s, part string) bool) textMethod {
	return func(r *run, t Text, a args) Value {
		v := a.one("affix")
		if l, ok := v.(*List); ok {
			r.step(len(l.items))
			for _, v := range l.items {
				part := wantText("affix", v)
				r.scan(len(part.s))
				if has(t.s, part.s) {
					return true
				}
			}
			return false
		}
		part := wantText("affix", v)
		r.scan(len(part.s))
		return has(t.s, part.s)
	}
}

func finder(index func(s, part string) int, must bool) textMethod {
	return func(r *run, t Text, a args) Value {
		part := wantText("sub", a.one("sub"))
		r.walk(len(t.s))
		at := index(t.s, part.s)
		if at < 0 {
			if must {
				fail("substring not found")
			}
			return int64(-1)
		}
		return int64(r.runes(t.s[:at]))
	}
}

func classTest(is func(rune) bool) textMethod {
	return func(r *run, t Text, a args) Value {
		r.walk(len(t.s))
		return t.s != "" && strings.IndexFunc(t.s, func(c rune) bool { return !is(c) }) < 0
	}
}

// isCased: s has letters with case, and to does not change it.
func isCased(s string, to func(string) string) bool {
	return to(s) == s && strings.ToUpper(s) != strings.ToLower(s)
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + strings.ToLower(s[n:])
}

// title begins each run of letters with a capital.
func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			inWord = false
			return r
		}
		if inWord {
			return unicode.ToLower(r)
		}
		inWord = true
		return unicode.ToTitle(r)
	}, s)
}
