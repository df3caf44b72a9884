package jinja

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// Value is what a template computes with, one of: Undefined, None, bool,
// int64, float64, Text, *List, *Dict, *Namespace, *function. All but
// Namespace are immutable once a render has begun.
type Value any

// Undefined is the value of a name, attribute or item that is not there.
type Undefined struct{ what string }

// None is Python's None.
type None struct{}

type listKind uint8

const (
	isList listKind = iota
	isTuple
	isView     // dict.items() and its kin: has a length, no index
	isIterator // what Python makes lazily: no length, always true
)

// List is a list, or what behaves like one.
type List struct {
	items []Value
	kind  listKind
}

// NewList returns a list that owns items.
func NewList(items ...Value) *List { return &List{items: items} }

// Dict is a mapping that keeps the order of insertion.
type Dict struct {
	keys   []Value // Text, int64, bool or None
	values []Value
	index  map[string]int // by keyOf
}

// NewDict returns an empty mapping, to be filled by Set before a render.
func NewDict() *Dict { return &Dict{index: map[string]int{}} }

// Set adds a value under key, or replaces the one there.
func (d *Dict) Set(key Text, v Value) { d.set(key, v) }

func (d *Dict) set(key, v Value) {
	k, ok := keyOf(key)
	if !ok {
		fail("unhashable type: %s", typeName(key))
	}
	if at, ok := d.index[k]; ok {
		d.values[at] = v
		return
	}
	d.index[k] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, v)
}

func (d *Dict) get(key Value) (Value, bool) {
	k, ok := keyOf(key)
	if !ok {
		return nil, false
	}
	at, ok := d.index[k]
	if !ok {
		return nil, false
	}
	return d.values[at], true
}

// keyOf returns what makes two keys equal.
func keyOf(v Value) (string, bool) {
	switch v := v.(type) {
	case Text:
		return v.s, true
	case None:
		return "\xffnone", true // no Text from JSON holds 0xff
	}
	if n, ok := asInt(v); ok {
		return "\xff" + strconv.FormatInt(n, 10), true
	}
	return "", false
}

// Namespace is the one thing that a template can change: namespace().
type Namespace struct{ vars map[string]Value }

// function is a macro, a bound method or a global.
type function struct {
	name string
	call func(r *run, a args) Value
}

func typeName(v Value) string {
	switch v := v.(type) {
	case Undefined:
		return "Undefined"
	case None:
		return "NoneType"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case Text:
		return "str"
	case *List:
		return [...]string{"list", "tuple", "dict_items", "generator"}[v.kind]
	case *Dict:
		return "dict"
	case *Namespace:
		return "Namespace"
	case *function:
		return "function"
	}
	return fmt.Sprintf("%T", v)
}

func truthy(v Value) bool {
	switch v := v.(type) {
	case Undefined, None:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case Text:
		return v.s != ""
	case *List:
		return len(v.items) > 0 || v.kind == isIterator
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// asInt returns the value of an int or bool.
func asInt(v Value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func asFloat(v Value) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	n, ok := asInt(v)
	return float64(n), ok
}

// equal compares as Python's == does.
func (r *run) equal(a, b Value) bool {
	r.step(1)
	if x, ok := asFloat(a); ok {
		y, ok := asFloat(b)
		if n, ok := asInt(a); ok {
			if m, ok := asInt(b); ok {
				return n == m
			}
		}
		return ok && x == y
	}
	switch a := a.(type) {
	case Undefined:
		_, ok := b.(Undefined)
		return ok
	case None:
		_, ok := b.(None)
		return ok
	case Text:
		b, ok := b.(Text)
		if !ok || len(a.s) != len(b.s) {
			return false
		}
		r.scan(len(a.s))
		return a.s == b.s
	case *List:
		b, ok := b.(*List)
		if !ok || len(a.items) != len(b.items) || a.kind != b.kind {
			return false
		}
		r.enter()
		defer r.leave()
		for i := range a.items {
			if !r.equal(a.items[i], b.items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		b, ok := b.(*Dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		r.enter()
		defer r.leave()
		for i, key := range a.keys {
			r.key(key)
			v, ok := b.get(key)
			if !ok || !r.equal(a.values[i], v) {
				return false
			}
		}
		return true
	}
	return a == b
}

// iterate returns the elements that a loop over v sees.
func (r *run) iterate(v Value) []Value {
	switch v := v.(type) {
	case Undefined:
		return nil
	case *List:
		return v.items
	case *Dict:
		return v.keys
	case Text:
		r.elements(r.runes(v.s))
		out := make([]Value, 0, len(v.s))
		for at := 0; at < len(v.s); {
			_, n := utf8.DecodeRuneInString(v.s[at:])
			out = append(out, r.slice(v, at, at+n))
			at += n
		}
		return out
	}
	fail("'%s' object is not iterable", typeName(v))
	return nil
}

// length returns what len(v) is.
func (r *run) length(v Value) int {
	switch v := v.(type) {
	case Undefined:
		return 0
	case Text:
		return r.runes(v.s)
	case *List:
		if v.kind != isIterator {
			return len(v.items)
		}
	case *Dict:
		return len(v.keys)
	}
	fail("object of type '%s' has no len()", typeName(v))
	return 0
}

// formatFloat writes a float as Python's repr does.
func formatFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if f == math.Trunc(f) {
		s += ".0"
	}
	return s
}
