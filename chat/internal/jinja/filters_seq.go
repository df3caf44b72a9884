package jinja

import (
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// sortBy sorts stably.
func sortBy[T any](items []T, less func(a, b T) bool) {
	sort.SliceStable(items, func(i, j int) bool { return less(items[i], items[j]) })
}

// path returns v.a.b or v.0.b for the attribute names of map, sort and join.
func (r *run) path(v Value, attribute Value, def Value) Value {
	t, ok := attribute.(Text)
	if !ok {
		return r.itemOr(v, attribute, def)
	}
	for name := range strings.SplitSeq(t.s, ".") {
		if n, err := strconv.ParseInt(name, 10, 64); err == nil {
			v = r.itemOr(v, n, def)
		} else {
			v = r.itemOr(v, Trusted(name), def)
		}
	}
	return v
}

// itemOr is v[key], or def where that is undefined, if there is one.
func (r *run) itemOr(v, key, def Value) Value {
	r.step(2)
	v = r.item(v, key)
	if _, ok := v.(Undefined); ok && def != nil {
		return def
	}
	return v
}

// ignoreCase makes texts comparable without regard to case.
func (r *run) ignoreCase(v Value) Value {
	if t, ok := v.(Text); ok {
		r.scan(len(t.s))
		r.alloc(len(t.s))
		return Text{s: strings.ToLower(t.s)}
	}
	return v
}

// keys returns what items are compared by.
func (r *run) keys(items []Value, attribute, caseSensitive Value) []Value {
	r.elements(len(items))
	keys := make([]Value, len(items))
	for i, v := range items {
		if given(attribute) {
			v = r.path(v, attribute, nil)
		}
		if caseSensitive == nil || !truthy(caseSensitive) {
			v = r.ignoreCase(v)
		}
		keys[i] = v
	}
	return keys
}

// sorted returns the order of keys as indexes.
func (r *run) sorted(keys []Value, reverse bool) []int {
	r.elements(len(keys))
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	sortBy(order, func(i, j int) bool {
		if reverse {
			i, j = j, i
		}
		sign, ok := r.order("<", keys[i], keys[j])
		return ok && sign < 0
	})
	return order
}

func (r *run) pick(items []Value, order []int) *List {
	r.elements(len(order))
	l := &List{make([]Value, len(order)), isList}
	for i, at := range order {
		l.items[i] = items[at]
	}
	return l
}

func filterSort(r *run, v Value, a args) Value {
	b := a.bind("reverse", "case_sensitive", "attribute")
	items := r.iterate(v)
	keys := r.keys(items, nil, b[1])
	if t, ok := b[2].(Text); ok && strings.Contains(t.s, ",") {
		// By several attributes: compare tuples of them.
		for i := range keys {
			keys[i] = &List{kind: isTuple}
		}
		for name := range strings.SplitSeq(t.s, ",") {
			r.step(1)
			for i, key := range r.keys(items, Trusted(name), b[1]) {
				tuple := keys[i].(*List)
				tuple.items = append(tuple.items, key)
			}
		}
	} else if given(b[2]) {
		keys = r.keys(items, b[2], b[1])
	}
	return r.pick(items, r.sorted(keys, b[0] != nil && truthy(b[0])))
}

func filterDictSort(r *run, v Value, a args) Value {
	b := a.bind("case_sensitive", "by", "reverse")
	d, ok := v.(*Dict)
	if !ok {
		failUndefined(v)
		fail("dictsort needs a mapping, not %s", typeName(v))
	}
	by := d.keys
	if b[1] != nil && wantText("by", b[1]).s == "value" {
		by = d.values
	}
	return r.pick(r.pairs(d).items, r.sorted(r.keys(by, nil, b[0]), b[2] != nil && truthy(b[2])))
}

func filterUnique(r *run, v Value, a args) Value {
	b := a.bind("case_sensitive", "attribute")
	items := r.iterate(v)
	keys := r.keys(items, b[1], b[0])
	seen := map[string]bool{}
	var order []int
	for i, key := range keys {
		r.key(key)
		k, ok := keyOf(key)
		if !ok {
			fail("unhashable type: %s", typeName(key))
		}
		if !seen[k] {
			seen[k] = true
			order = append(order, i)
		}
	}
	l := r.pick(items, order)
	l.kind = isIterator
	return l
}

// extreme is max (sign 1) or min (sign -1).
func extreme(sign int) filter {
	return func(r *run, v Value, a args) Value {
		b := a.bind("case_sensitive", "attribute")
		items := r.iterate(v)
		if len(items) == 0 {
			return Undefined{"the extreme of an empty sequence"}
		}
		keys := r.keys(items, b[1], b[0])
		best := 0
		for i := range keys {
			if c, ok := r.order("<", keys[i], keys[best]); ok && c*sign > 0 {
				best = i
			}
		}
		return items[best]
	}
}

func filterSum(r *run, v Value, a args) Value {
	b := a.bind("attribute", "start")
	sum := Value(int64(0))
	if b[1] != nil {
		sum = b[1]
	}
	for _, x := range r.iterate(v) {
		r.step(1)
		if given(b[0]) {
			x = r.path(x, b[0], nil)
		}
		sum = r.arithmetic("+", sum, x)
	}
	return sum
}

func filterJoin(r *run, v Value, a args) Value {
	b := a.bind("d", "attribute")
	sep := Text{}
	if b[0] != nil {
		sep = r.toText(b[0])
	}
	out := builder{m: &r.meter}
	for i, x := range r.iterate(v) {
		r.step(1)
		if i > 0 {
			out.text(sep)
		}
		if given(b[1]) {
			x = r.path(x, b[1], nil)
		}
		out.print(x)
	}
	return out.done()
}

func filterLength(r *run, v Value, a args) Value { a.bind(); return int64(r.length(v)) }

func filterList(r *run, v Value, a args) Value {
	a.bind()
	return &List{r.iterate(v), isList}
}

func filterFirst(r *run, v Value, a args) Value {
	a.bind()
	if t, ok := v.(Text); ok && t.s != "" {
		_, n := utf8.DecodeRuneInString(t.s)
		return r.slice(t, 0, n)
	}
	if items := r.iterate(v); len(items) > 0 {
		return items[0]
	}
	return Undefined{"the first item of an empty sequence"}
}

func filterLast(r *run, v Value, a args) Value {
	a.bind()
	if t, ok := v.(Text); ok && t.s != "" {
		_, n := utf8.DecodeLastRuneInString(t.s)
		return r.slice(t, len(t.s)-n, len(t.s))
	}
	if items := r.iterate(v); len(items) > 0 {
		return items[len(items)-1]
	}
	return Undefined{"the last item of an empty sequence"}
}

func filterReverse(r *run, v Value, a args) Value {
	a.bind()
	items := r.iterate(v)
	r.elements(len(items))
	out := make([]Value, len(items))
	for i, x := range items {
		out[len(items)-1-i] = x
	}
	if _, ok := v.(Text); !ok {
		return &List{out, isIterator}
	}
	b := builder{m: &r.meter}
	for _, x := range out {
		b.text(x.(Text))
	}
	return b.done()
}

func filterItems(r *run, v Value, a args) Value {
	a.bind()
	switch v := v.(type) {
	case Undefined:
		return &List{nil, isIterator}
	case *Dict:
		l := r.pairs(v)
		l.kind = isIterator
		return l
	}
	fail("Can only get item pairs from a mapping.")
	return nil
}

func filterBatch(r *run, v Value, a args) Value {
	b := a.bind("linecount", "fill_with")
	n := int(min(wantInt("linecount", b[0], 0), int64(r.limits.Steps)))
	if n < 1 {
		fail("batch: linecount must be positive")
	}
	items := r.iterate(v)
	r.elements(2 * len(items))
	out := &List{kind: isIterator}
	for at := 0; at < len(items); at += n {
		end := min(at+n, len(items))
		row := append([]Value{}, items[at:end]...)
		if given(b[1]) && len(row) < n {
			r.elements(n - len(row))
			for len(row) < n {
				row = append(row, b[1])
			}
		}
		out.items = append(out.items, &List{row, isList})
	}
	return out
}

func filterSlice(r *run, v Value, a args) Value {
	b := a.bind("slices", "fill_with")
	n := int(min(wantInt("slices", b[0], 0), int64(r.limits.Steps)+1))
	if n < 1 {
		fail("slice: slices must be positive")
	}
	items := r.iterate(v)
	r.elements(len(items) + 2*n)
	out := &List{kind: isIterator}
	per, extra := len(items)/n, len(items)%n
	at := 0
	for i := range n {
		end := at + per
		if i < extra {
			end++
		}
		row := append([]Value{}, items[at:end]...)
		if given(b[1]) && i >= extra && extra > 0 {
			row = append(row, b[1])
		}
		out.items = append(out.items, &List{row, isList})
		at = end
	}
	return out
}

func filterMap(r *run, v Value, a args) Value {
	items := r.iterate(v)
	r.elements(len(items))
	out := &List{make([]Value, len(items)), isIterator}
	if len(a.pos) == 0 {
		b := a.bind("attribute", "default")
		if b[0] == nil {
			fail("map requires a filter argument")
		}
		for i, x := range items {
			out.items[i] = r.path(x, b[0], b[1])
		}
		return out
	}
	name := wantText("name", a.pos[0]).s
	fn, ok := filters[name]
	if !ok {
		fail("No filter named '%s'.", name)
	}
	rest := args{pos: a.pos[1:], kw: a.kw}
	for i, x := range items {
		out.items[i] = r.applyFilter(name, fn, x, rest)
	}
	return out
}

// chooser is select, reject and, of an attribute, selectattr and rejectattr.
func chooser(keep, attr bool) filter {
	return func(r *run, v Value, a args) Value {
		var attribute Value
		if attr {
			if len(a.pos) == 0 {
				fail("missing parameter for attribute name")
			}
			attribute, a.pos = a.pos[0], a.pos[1:]
		}
		is := func(v Value) bool { return truthy(v) }
		if len(a.pos) > 0 {
			name := wantText("name", a.pos[0]).s
			fn, ok := tests[name]
			if !ok {
				fail("No test named '%s'.", name)
			}
			rest := args{name: name, pos: a.pos[1:], kw: a.kw}
			is = func(v Value) bool { return fn(r, v, rest) }
		}
		items := r.iterate(v)
		r.elements(len(items))
		out := &List{kind: isIterator}
		for _, x := range items {
			got := x
			if attr {
				got = r.path(x, attribute, nil)
			}
			if is(got) == keep {
				out.items = append(out.items, x)
			}
		}
		return out
	}
}
