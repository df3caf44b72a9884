package jinja

import (
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"
)

func failOperand(op string, a, b Value) {
	failUndefined(a)
	failUndefined(b)
	fail("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
}

// arithmetic computes a op b as Python does, for 64-bit integers.
func (r *run) arithmetic(op string, a, b Value) Value {
	if x, ok := asInt(a); ok {
		if y, ok := asInt(b); ok {
			return intArithmetic(op, x, y)
		}
	}
	if x, ok := asFloat(a); ok {
		if y, ok := asFloat(b); ok {
			return floatArithmetic(op, x, y)
		}
	}
	switch x := a.(type) {
	case Text:
		switch op {
		case "+":
			if y, ok := b.(Text); ok {
				return r.concat(x, y)
			}
		case "*":
			if n, ok := asInt(b); ok {
				return r.repeat(x, n)
			}
		case "%":
			return r.printf(x, b)
		}
	case *List:
		if y, ok := b.(*List); ok && op == "+" && x.kind <= isTuple && x.kind == y.kind {
			r.elements(len(x.items) + len(y.items))
			items := make([]Value, 0, len(x.items)+len(y.items))
			return &List{append(append(items, x.items...), y.items...), x.kind}
		}
		if n, ok := asInt(b); ok && op == "*" && x.kind <= isTuple {
			return r.repeatList(x, n)
		}
	}
	if n, ok := asInt(a); ok && op == "*" {
		switch y := b.(type) {
		case Text:
			return r.repeat(y, n)
		case *List:
			return r.repeatList(y, n)
		}
	}
	failOperand(op, a, b)
	return nil
}

// fits ends the render unless n things of the given size fit in limit.
func fits(n int64, size, limit int) bool {
	hi, lo := bits.Mul64(uint64(max(n, 0)), uint64(size))
	return hi == 0 && lo <= uint64(limit)
}

func (r *run) repeat(t Text, n int64) Value {
	if !fits(n, len(t.s)+16*len(t.marks), r.bytes) || !fits(n, 1, r.bytes) {
		r.alloc(r.bytes + 1) // ends the render
	}
	if t.s == "" || n <= 0 {
		return Text{}
	}
	b := builder{m: &r.meter, b: make([]byte, 0, int(n)*len(t.s))}
	r.step(int(n) / 8)
	for range n {
		b.text(t)
	}
	return b.done()
}

func (r *run) repeatList(l *List, n int64) Value {
	if !fits(n, len(l.items)*elementBytes, r.bytes) || !fits(n, 1, r.steps) {
		r.alloc(r.bytes + 1) // ends the render
	}
	r.step(int(max(n, 0)))
	r.elements(len(l.items) * int(max(n, 0)))
	var items []Value
	for range n {
		items = append(items, l.items...)
	}
	return &List{items, l.kind}
}

func intArithmetic(op string, x, y int64) Value {
	switch op {
	case "+":
		if s := x + y; (s > x) == (y > 0) {
			return s
		}
	case "-":
		if d := x - y; (d < x) == (y > 0) {
			return d
		}
	case "*":
		if x == 0 || y == 0 {
			return int64(0)
		}
		if p := x * y; p/y == x && !(x == -1 && y == math.MinInt64) && !(y == -1 && x == math.MinInt64) {
			return p
		}
	case "/":
		if y == 0 {
			fail("division by zero")
		}
		return float64(x) / float64(y)
	case "//", "%":
		if y == 0 {
			fail("integer division or modulo by zero")
		}
		if y == -1 { // avoids the one quotient that overflows
			if op == "%" {
				return int64(0)
			}
			return intArithmetic("-", 0, x)
		}
		q, m := x/y, x%y
		if m != 0 && (m < 0) != (y < 0) {
			q, m = q-1, m+y
		}
		if op == "//" {
			return q
		}
		return m
	case "**":
		return intPower(x, y)
	}
	fail("integer overflow")
	return nil
}

func intPower(x, y int64) Value {
	if y < 0 {
		return floatArithmetic("**", float64(x), float64(y))
	}
	if x == 0 || x == 1 || x == -1 {
		if y == 0 || x == -1 && y%2 == 0 {
			return int64(1)
		}
		return x
	}
	if y > 62 {
		fail("integer overflow")
	}
	for result := int64(1); ; x = intArithmetic("*", x, x).(int64) {
		if y&1 != 0 {
			result = intArithmetic("*", result, x).(int64)
		}
		if y >>= 1; y == 0 {
			return result
		}
	}
}

func floatArithmetic(op string, x, y float64) Value {
	if y == 0 && (op == "/" || op == "//" || op == "%") || op == "**" && x == 0 && y < 0 {
		fail("float division by zero")
	}
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	case "%":
		m := math.Mod(x, y)
		if m != 0 && (m < 0) != (y < 0) {
			m += y
		}
		return m
	}
	p := math.Pow(x, y)
	if math.IsNaN(p) && !math.IsNaN(x) && !math.IsNaN(y) {
		fail("complex numbers are not supported")
	}
	return p
}

// compare is a op b.
func (r *run) compare(op string, a, b Value) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	}
	c, ok := r.order(op, a, b)
	if !ok {
		return false // NaN
	}
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// order returns the sign of a - b; not ok if either is NaN. op is for the
// error of what cannot be ordered.
func (r *run) order(op string, a, b Value) (sign int, ok bool) {
	r.step(1)
	if x, ok := asInt(a); ok {
		if y, ok := asInt(b); ok {
			return cmp(x, y), true
		}
	}
	if x, ok := asFloat(a); ok {
		if y, ok := asFloat(b); ok {
			return cmp(x, y), x == x && y == y
		}
	}
	switch x := a.(type) {
	case Text:
		if y, ok := b.(Text); ok {
			r.scan(min(len(x.s), len(y.s)))
			return strings.Compare(x.s, y.s), true
		}
	case *List:
		if y, ok := b.(*List); ok && x.kind == y.kind && x.kind <= isTuple {
			r.enter()
			defer r.leave()
			for i := range min(len(x.items), len(y.items)) {
				if !r.equal(x.items[i], y.items[i]) {
					return r.order(op, x.items[i], y.items[i])
				}
			}
			return cmp(len(x.items), len(y.items)), true
		}
	}
	failUndefined(a)
	failUndefined(b)
	fail("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return 0, false
}

func cmp[T int | int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// contains is "item in v".
func (r *run) contains(v, item Value) bool {
	switch v := v.(type) {
	case Text:
		part, ok := item.(Text)
		if !ok {
			failUndefined(item)
			fail("'in <string>' requires string as left operand, not %s", typeName(item))
		}
		r.scan(len(v.s) + len(part.s))
		return strings.Contains(v.s, part.s)
	case *Dict:
		r.key(item)
		_, ok := v.get(item)
		return ok
	case *Namespace:
		fail("argument of type 'Namespace' is not iterable")
	}
	for _, x := range r.iterate(v) {
		if r.equal(x, item) {
			return true
		}
	}
	return false
}

// sliceRune is t[n] by code points.
func (r *run) sliceRune(t Text, n int64) Value {
	count := r.runes(t.s)
	if n < 0 {
		n += int64(count)
	}
	if n < 0 || n >= int64(count) {
		return Undefined{"str object has no such element"}
	}
	if count == len(t.s) {
		return r.slice(t, int(n), int(n)+1)
	}
	at := 0
	for range n {
		_, size := utf8.DecodeRuneInString(t.s[at:])
		at += size
	}
	_, size := utf8.DecodeRuneInString(t.s[at:])
	return r.slice(t, at, at+size)
}

// sliceOf is v[start:stop:step]; nil is what was left out.
func (r *run) sliceOf(v Value, start, stop, step *int64) Value {
	failUndefined(v)
	by := int64(1)
	if step != nil {
		if by = *step; by == 0 {
			fail("slice step cannot be zero")
		}
	}
	text, isText := v.(Text)
	list, ok := v.(*List)
	if !isText && (!ok || list.kind > isTuple) {
		return Undefined{"'" + typeName(v) + " object' cannot be sliced"}
	}
	n := r.length(v)
	from, to := sliceBounds(start, stop, by, int64(n))
	if isText && by == 1 && n == len(text.s) {
		return r.slice(text, int(from), int(max(from, to)))
	}
	var items []Value
	if isText {
		items = r.iterate(text)
	} else {
		items = list.items
	}
	var picked []Value
	count := 0
	if by > 0 && to > from {
		count = int((to-from-1)/by) + 1
	} else if by < 0 && from > to {
		count = int((from-to-1)/-by) + 1
	}
	r.elements(count)
	picked = make([]Value, 0, count)
	for i := range int64(count) {
		picked = append(picked, items[from+i*by])
	}
	if !isText {
		return &List{picked, list.kind}
	}
	b := builder{m: &r.meter}
	for _, v := range picked {
		b.text(v.(Text))
	}
	return b.done()
}

// sliceBounds returns where a slice of n elements begins and ends, as Python's
// slice.indices does.
func sliceBounds(start, stop *int64, step, n int64) (from, to int64) {
	low, high := int64(0), n
	if step < 0 {
		low, high = -1, n-1
	}
	clamp := func(at *int64, def int64) int64 {
		if at == nil {
			return def
		}
		i := *at
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	if step > 0 {
		return clamp(start, 0), clamp(stop, n)
	}
	return clamp(start, n-1), clamp(stop, -1)
}
