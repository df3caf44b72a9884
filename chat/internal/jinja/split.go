package jinja

import "strings"

func splitter(fromRight bool) textMethod {
	return func(r *run, t Text, a args) Value {
		b := a.bind("sep", "maxsplit")
		limit := wantInt("maxsplit", b[1], -1)
		sep := optionalText("sep", b[0])
		if sep == nil {
			return &List{r.fields(t, limit, fromRight), isList}
		}
		if sep.s == "" {
			fail("empty separator")
		}
		r.walk(len(t.s))
		n := int64(strings.Count(t.s, sep.s))
		if limit >= 0 {
			n = min(n, limit)
		}
		r.elements(int(n) + 1)
		items := make([]Value, n+1)
		from, to := 0, len(t.s)
		for i := range n {
			if fromRight {
				at := strings.LastIndex(t.s[:to], sep.s)
				items[n-i] = r.slice(t, at+len(sep.s), to)
				to = at
				continue
			}
			at := from + strings.Index(t.s[from:], sep.s)
			items[i] = r.slice(t, from, at)
			from = at + len(sep.s)
		}
		if fromRight {
			items[0] = r.slice(t, 0, to)
		} else {
			items[n] = r.slice(t, from, len(t.s))
		}
		return &List{items, isList}
	}
}

// fields splits at runs of white space, at most limit times unless it is
// negative.
func (r *run) fields(t Text, limit int64, fromRight bool) []Value {
	r.walk(len(t.s))
	var items []Value
	if fromRight {
		to := len(strings.TrimRightFunc(t.s, isSpace))
		for to > 0 {
			at := strings.LastIndexFunc(t.s[:to], isSpace)
			if limit >= 0 && int64(len(items)) == limit {
				at = -1
			}
			from := 0
			if at >= 0 {
				from = at + runeLenAt(t.s, at)
			}
			r.elements(1)
			items = append(items, r.slice(t, from, to))
			if at < 0 {
				break
			}
			to = len(strings.TrimRightFunc(t.s[:at], isSpace))
		}
		for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
			items[i], items[j] = items[j], items[i]
		}
		return items
	}
	rest := strings.TrimLeftFunc(t.s, isSpace)
	for rest != "" {
		from := len(t.s) - len(rest)
		n := strings.IndexFunc(rest, isSpace)
		if limit >= 0 && int64(len(items)) == limit {
			n = len(rest) // the remainder, with its trailing white space
		}
		if n < 0 {
			n = len(rest)
		}
		r.elements(1)
		items = append(items, r.slice(t, from, from+n))
		rest = strings.TrimLeftFunc(rest[n:], isSpace)
	}
	return items
}

func runeLenAt(s string, at int) int {
	for i := range s[at:] {
		if i > 0 {
			return i
		}
	}
	return len(s) - at
}

// lines is str.splitlines.
func (r *run) lines(t Text, keepEnds bool) []Value {
	r.walk(len(t.s))
	var items []Value
	isEnd := func(c rune) bool {
		return c >= '\n' && c <= '\r' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
	}
	for from := 0; from < len(t.s); {
		n := strings.IndexFunc(t.s[from:], isEnd)
		end, next := len(t.s), len(t.s)
		if n >= 0 {
			end = from + n
			next = end + runeLenAt(t.s, end)
			if strings.HasPrefix(t.s[end:], "\r\n") {
				next = end + 2
			}
		}
		if keepEnds {
			end = next
		}
		r.elements(1)
		items = append(items, r.slice(t, from, end))
		from = next
	}
	return items
}

func partition(fromRight bool) textMethod {
	return func(r *run, t Text, a args) Value {
		sep := wantText("sep", a.one("sep"))
		if sep.s == "" {
			fail("empty separator")
		}
		r.scan(len(t.s))
		r.elements(3)
		at := strings.Index(t.s, sep.s)
		if fromRight {
			at = strings.LastIndex(t.s, sep.s)
		}
		switch {
		case at >= 0:
			end := at + len(sep.s)
			return &List{[]Value{r.slice(t, 0, at), r.slice(t, at, end), r.slice(t, end, len(t.s))}, isTuple}
		case fromRight:
			return &List{[]Value{Text{}, Text{}, t}, isTuple}
		}
		return &List{[]Value{t, Text{}, Text{}}, isTuple}
	}
}

// replace puts new for old, at most limit times unless it is negative.
func (r *run) replace(t, old, new Text, limit int64) Text {
	r.walk(len(t.s))
	n := int64(strings.Count(t.s, old.s)) // old == "": before each rune and at the end
	if limit >= 0 {
		n = min(n, limit)
	}
	r.step(int(n))
	if n == 0 {
		return t
	}
	b := builder{m: &r.meter}
	from := 0
	for i := range n {
		at := from
		if old.s == "" {
			if i > 0 {
				at += runeLenAt(t.s, from)
			}
		} else {
			at += strings.Index(t.s[from:], old.s)
		}
		b.text(r.slice(t, from, at))
		b.text(new)
		from = at + len(old.s)
	}
	b.text(r.slice(t, from, len(t.s)))
	return b.done()
}
