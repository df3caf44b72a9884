package jinja

import "strings"

// loopVar is the name "loop" inside a loop.
type loopVar struct {
	items []Value
	at    int
	last  Value // of changed()
}

func (l *loopVar) attribute(name string) Value {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.at + 1)
	case "index0":
		return int64(l.at)
	case "revindex":
		return int64(n - l.at)
	case "revindex0":
		return int64(n - l.at - 1)
	case "first":
		return l.at == 0
	case "last":
		return l.at == n-1
	case "length":
		return int64(n)
	case "depth":
		return int64(1)
	case "depth0":
		return int64(0)
	case "previtem":
		if l.at > 0 {
			return l.items[l.at-1]
		}
		return Undefined{"there is no previous item"}
	case "nextitem":
		if l.at+1 < n {
			return l.items[l.at+1]
		}
		return Undefined{"there is no next item"}
	case "cycle":
		at := l.at
		return &function{"cycle", func(r *run, a args) Value {
			if len(a.pos) == 0 {
				fail("no items for cycling given")
			}
			return a.pos[at%len(a.pos)]
		}}
	case "changed":
		return &function{"changed", func(r *run, a args) Value {
			v := &List{a.pos, isTuple}
			same := l.last != nil && r.equal(l.last, v)
			l.last = v
			return !same
		}}
	}
	return Undefined{"loop." + name}
}

// failUndefined ends the render if v is undefined, as using it would in Python.
func failUndefined(v Value) {
	if u, ok := v.(Undefined); ok {
		fail("%s is undefined", u.what)
	}
}

// attribute is a.name: an attribute first, then an item.
func (r *run) attribute(v Value, name string) Value {
	failUndefined(v)
	r.scan(len(name))
	if m := method(v, name); m != nil {
		return m
	}
	switch v := v.(type) {
	case *Dict:
		if got, ok := v.get(Trusted(name)); ok {
			return got
		}
	case *Namespace:
		if got, ok := v.vars[name]; ok {
			return got
		}
	case *loopVar:
		return v.attribute(name)
	}
	if strings.HasPrefix(name, "_") {
		fail("access to attribute %q of '%s' object is unsafe", name, typeName(v))
	}
	return Undefined{"'" + typeName(v) + " object' has no attribute '" + name + "'"}
}

// item is v[key]: an item first, then an attribute.
func (r *run) item(v, key Value) Value {
	failUndefined(v)
	r.key(key)
	n, isInt := asInt(key)
	name, isText := key.(Text)
	switch v := v.(type) {
	case *List:
		if isInt && v.kind <= isTuple {
			if n < 0 {
				n += int64(len(v.items))
			}
			if n >= 0 && n < int64(len(v.items)) {
				return v.items[n]
			}
		}
	case Text:
		if isInt {
			return r.sliceRune(v, n)
		}
	case *Dict:
		if got, ok := v.get(key); ok {
			return got
		}
	}
	if isText {
		if _, ok := v.(*Dict); !ok || method(v, name.s) != nil {
			return r.attribute(v, name.s)
		}
		return Undefined{"'dict object' has no attribute '" + name.s + "'"}
	}
	return Undefined{"'" + typeName(v) + " object' has no such element"}
}
