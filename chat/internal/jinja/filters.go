package jinja

import (
	"math"
	"strconv"
	"strings"
)

// filter is v|name(args).
type filter func(r *run, v Value, a args) Value

// filters are Jinja's, but for those that make HTML, draw random numbers or
// group, and transformers' tojson.
var filters map[string]filter

func init() {
	filters = map[string]filter{
		"abs": filterAbs, "float": filterFloat, "int": filterInt, "round": filterRound,
		"capitalize": textFilter(capitalize), "lower": textFilter(strings.ToLower), "upper": textFilter(strings.ToUpper), "title": textFilter(filterTitle),
		"center": filterCenter, "format": filterFormat, "indent": filterIndent, "replace": filterReplace, "trim": filterTrim,
		"string": func(r *run, v Value, a args) Value { a.bind(); return r.toText(v) },
		"safe":   func(r *run, v Value, a args) Value { a.bind(); return r.toText(v) },
		"escape": filterEscape, "e": filterEscape, "wordcount": filterWordCount, "tojson": filterJSON, "from_json": filterFromJSON,
		"default": filterDefault, "d": filterDefault,
		"attr": func(r *run, v Value, a args) Value { return r.attribute(v, wantText("name", a.one("name")).s) },

		"batch": filterBatch, "slice": filterSlice, "dictsort": filterDictSort, "first": filterFirst, "last": filterLast, "items": filterItems,
		"join": filterJoin, "count": filterLength, "length": filterLength, "list": filterList, "map": filterMap,
		"max": extreme(1), "min": extreme(-1), "reverse": filterReverse, "sort": filterSort, "sum": filterSum, "unique": filterUnique,
		"select": chooser(true, false), "reject": chooser(false, false), "selectattr": chooser(true, true), "rejectattr": chooser(false, true),
	}
}

func textFilter(to func(string) string) filter {
	return func(r *run, v Value, a args) Value {
		a.bind()
		return r.mapText(r.toText(v), to)
	}
}

// filterTitle begins each word with a capital; words end at white space,
// hyphens and opening brackets.
func filterTitle(s string) string {
	var b strings.Builder
	begin := 0
	flush := func(end int) {
		b.WriteString(capitalize(s[begin:end]))
		begin = end
	}
	for i, r := range s {
		if i > 0 && begin < i && (isSpace(r) || strings.ContainsRune("-({[<", r)) != strings.ContainsRune("-({[< \t\n\r\v\f", rune(s[begin])) {
			flush(i)
		}
	}
	flush(len(s))
	return b.String()
}

func filterAbs(r *run, v Value, a args) Value {
	a.bind()
	if n, ok := asInt(v); ok {
		if n < 0 {
			return intArithmetic("-", 0, n)
		}
		return n
	}
	f, ok := v.(float64)
	if !ok {
		failOperand("abs()", v, v)
	}
	return math.Abs(f)
}

func floatToInt(f float64) (int64, bool) {
	f = math.Trunc(f)
	if f >= -1<<63 && f < 1<<63 {
		return int64(f), true
	}
	return 0, false
}

func filterInt(r *run, v Value, a args) Value {
	failUndefined(v)
	b := a.bind("default", "base")
	def := b[0]
	if def == nil {
		def = int64(0)
	}
	switch v := v.(type) {
	case int64, bool:
		n, _ := asInt(v)
		return n
	case float64:
		if n, ok := floatToInt(v); ok {
			return n
		}
	case Text:
		r.scan(len(v.s))
		base := int(wantInt("base", b[1], 10))
		if base != 10 && base != 0 && base != 2 && base != 8 && base != 16 {
			fail("base %d is not supported", base)
		}
		s := strings.ToLower(strings.TrimFunc(v.s, isSpace))
		if base != 10 {
			s = strings.TrimPrefix(s, map[int]string{2: "0b", 8: "0o", 16: "0x"}[base])
		}
		if n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), base, 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			if n, ok := floatToInt(f); ok {
				return n
			}
		}
	}
	return def
}

func filterFloat(r *run, v Value, a args) Value {
	failUndefined(v)
	def := a.bind("default")[0]
	if def == nil {
		def = 0.0
	}
	if f, ok := asFloat(v); ok {
		return f
	}
	if t, ok := v.(Text); ok {
		r.scan(len(t.s))
		if f, err := strconv.ParseFloat(strings.TrimFunc(t.s, isSpace), 64); err == nil {
			return f
		}
	}
	return def
}

func filterRound(r *run, v Value, a args) Value {
	b := a.bind("precision", "method")
	precision := wantInt("precision", b[0], 0)
	method := "common"
	if b[1] != nil {
		method = wantText("method", b[1]).s
	}
	f, ok := asFloat(v)
	if !ok {
		failOperand("round()", v, v)
	}
	if precision < -300 || precision > 300 {
		fail("precision is out of range")
	}
	scale := math.Pow(10, float64(precision))
	switch method {
	case "common":
		if n, ok := asInt(v); ok && precision >= 0 {
			return n
		}
		// Python rounds the decimal expansion, halves to even.
		if precision >= 0 {
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(precision), 64), 64)
			return f
		}
		return math.RoundToEven(f*scale) / scale
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	}
	fail("method must be common, ceil or floor")
	return nil
}

func filterCenter(r *run, v Value, a args) Value {
	t := r.toText(v)
	width := wantInt("width", a.bind("width")[0], 80)
	pad := width - int64(r.runes(t.s))
	if pad <= 0 {
		return t
	}
	// CPython puts the odd space on the left if the width is odd.
	left := pad/2 + pad&width&1
	return r.concat(r.repeat(Trusted(" "), left).(Text), t, r.repeat(Trusted(" "), pad-left).(Text))
}

func filterFormat(r *run, v Value, a args) Value {
	t := r.toText(v)
	if len(a.kw) == 0 {
		return r.printf(t, &List{a.pos, isTuple})
	}
	if len(a.pos) > 0 {
		fail("can't handle positional and keyword arguments at the same time")
	}
	d := NewDict()
	for _, k := range a.kw {
		d.set(Trusted(k.name), k.value)
	}
	return r.printf(t, d)
}

func filterIndent(r *run, v Value, a args) Value {
	b := a.bind("width", "first", "blank")
	pad, isText := b[0].(Text)
	if !isText {
		pad = r.repeat(Trusted(" "), wantInt("width", b[0], 4)).(Text)
	}
	first := b[1] != nil && truthy(b[1])
	blank := b[2] != nil && truthy(b[2])
	out := builder{m: &r.meter}
	for i, line := range r.lines(r.concat(r.toText(v), Trusted("\n")), false) {
		line := line.(Text)
		if i > 0 {
			out.str("\n")
		}
		if i == 0 && first || i > 0 && (blank || line.s != "") {
			out.text(pad)
		}
		out.text(line)
	}
	return out.done()
}

func filterReplace(r *run, v Value, a args) Value {
	b := a.bind("old", "new", "count")
	if b[0] == nil || b[1] == nil {
		fail("replace expected at least 2 arguments")
	}
	count := int64(-1)
	if given(b[2]) {
		count = wantInt("count", b[2], -1)
	}
	return r.replace(r.toText(v), r.toText(b[0]), r.toText(b[1]), count)
}

func filterTrim(r *run, v Value, a args) Value {
	return r.strip(r.toText(v), r.inSet(optionalText("chars", a.bind("chars")[0])), true, true)
}

func filterEscape(r *run, v Value, a args) Value {
	a.bind()
	t := r.toText(v)
	r.walk(len(t.s))
	r.alloc(5 * len(t.s))
	return r.like(t, escapes.Replace(t.s))
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

func filterWordCount(r *run, v Value, a args) Value {
	a.bind()
	t := r.toText(v)
	r.walk(len(t.s))
	return int64(len(strings.Fields(t.s)))
}

func filterDefault(r *run, v Value, a args) Value {
	b := a.bind("default_value", "boolean")
	_, undefined := v.(Undefined)
	if !undefined && (b[1] == nil || !truthy(b[1]) || truthy(v)) {
		return v
	}
	if b[0] == nil {
		return Text{}
	}
	return b[0]
}

// filterJSON is transformers' tojson.
func filterJSON(r *run, v Value, a args) Value {
	b := a.bind("ensure_ascii", "indent", "separators", "sort_keys")
	if b[0] != nil && truthy(b[0]) {
		fail("tojson: ensure_ascii is not supported")
	}
	o := jsonStyle{comma: Trusted(", "), colon: Trusted(": "), sortKeys: b[3] != nil && truthy(b[3])}
	if given(b[1]) {
		o.indented, o.comma = true, Trusted(",")
		if t, ok := b[1].(Text); ok {
			o.indent = t
		} else {
			n := wantInt("indent", b[1], 0)
			if n > maxWidth {
				fail("tojson: indent is more than %d", maxWidth)
			}
			o.indent = Trusted(strings.Repeat(" ", int(max(n, 0))))
		}
	}
	if given(b[2]) {
		pair := r.iterate(b[2])
		if len(pair) != 2 {
			fail("tojson: separators must be two")
		}
		o.comma, o.colon = wantText("separator", pair[0]), wantText("separator", pair[1])
	}
	out := builder{m: &r.meter}
	out.json(v, o, 0)
	return out.done()
}
