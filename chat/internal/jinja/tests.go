package jinja

import "strings"

// test is "v is name(args)".
type test func(r *run, v Value, a args) bool

var tests = map[string]test{
	"defined":   func(r *run, v Value, a args) bool { a.bind(); _, u := v.(Undefined); return !u },
	"undefined": kindTest(func(v Value) bool { _, ok := v.(Undefined); return ok }),
	"none":      kindTest(func(v Value) bool { _, ok := v.(None); return ok }),
	"boolean":   kindTest(func(v Value) bool { _, ok := v.(bool); return ok }),
	"true":      kindTest(func(v Value) bool { return v == Value(true) }),
	"false":     kindTest(func(v Value) bool { return v == Value(false) }),
	"integer":   kindTest(func(v Value) bool { _, ok := v.(int64); return ok }),
	"float":     kindTest(func(v Value) bool { _, ok := v.(float64); return ok }),
	"number":    kindTest(func(v Value) bool { _, ok := asFloat(v); return ok }),
	"string":    kindTest(func(v Value) bool { _, ok := v.(Text); return ok }),
	"mapping":   kindTest(func(v Value) bool { _, ok := v.(*Dict); return ok }),
	"callable":  kindTest(func(v Value) bool { _, ok := v.(*function); return ok }),
	"iterable": kindTest(func(v Value) bool {
		switch v.(type) {
		case Undefined, Text, *List, *Dict:
			return true
		}
		return false
	}),
	"sequence": kindTest(func(v Value) bool {
		switch v := v.(type) {
		case Text, *Dict:
			return true
		case *List:
			return v.kind <= isTuple
		}
		return false
	}),
	"odd":   parity(1),
	"even":  parity(0),
	"upper": caseTest(strings.ToUpper),
	"lower": caseTest(strings.ToLower),
	"divisibleby": func(r *run, v Value, a args) bool {
		return r.equal(r.arithmetic("%", v, a.one("num")), int64(0))
	},
	"sameas": func(r *run, v Value, a args) bool {
		other := a.one("other")
		return typeName(v) == typeName(other) && r.equal(v, other)
	},
	"filter": func(r *run, v Value, a args) bool {
		a.bind()
		r.key(v)
		_, ok := filters[wantText("name", v).s]
		return ok
	},
	"test": func(r *run, v Value, a args) bool { a.bind(); r.key(v); return isTest(wantText("name", v).s) },
	"in":   comparison("in"),
	"eq":   comparison("=="), "equalto": comparison("=="), "==": comparison("=="),
	"ne": comparison("!="), "!=": comparison("!="),
	"lt": comparison("<"), "lessthan": comparison("<"), "<": comparison("<"),
	"le": comparison("<="), "<=": comparison("<="),
	"gt": comparison(">"), "greaterthan": comparison(">"), ">": comparison(">"),
	"ge": comparison(">="), ">=": comparison(">="),
}

// isTest is apart from tests so that tests may call it.
var isTest func(name string) bool

func init() {
	isTest = func(name string) bool { _, ok := tests[name]; return ok }
}

func kindTest(is func(v Value) bool) test {
	return func(r *run, v Value, a args) bool {
		a.bind()
		return is(v)
	}
}

func parity(want int64) test {
	return func(r *run, v Value, a args) bool {
		a.bind()
		return r.equal(r.arithmetic("%", v, int64(2)), want)
	}
}

func caseTest(to func(string) string) test {
	return func(r *run, v Value, a args) bool {
		a.bind()
		t := r.toText(v)
		r.walk(len(t.s))
		return isCased(t.s, to)
	}
}

func comparison(op string) test {
	return func(r *run, v Value, a args) bool { return r.compare(op, v, a.one("other")) }
}
