package jinja

import "slices"

// args are the arguments of a call. name is the callee's, for errors.
type args struct {
	name string
	pos  []Value
	kw   []namedValue
}

type namedValue struct {
	name  string
	value Value
}

// bind sorts the arguments under the names of parameters; nil where there is
// none.
func (a args) bind(names ...string) []Value {
	if len(a.pos) > len(names) {
		fail("%s takes %d arguments, got %d", a.name, len(names), len(a.pos))
	}
	out := make([]Value, len(names))
	copy(out, a.pos)
	for _, k := range a.kw {
		at := slices.Index(names, k.name)
		if at < 0 {
			fail("%s got an unexpected keyword argument '%s'", a.name, k.name)
		}
		if out[at] != nil {
			fail("%s got several values for argument '%s'", a.name, k.name)
		}
		out[at] = k.value
	}
	return out
}

// one binds a single required argument.
func (a args) one(name string) Value {
	v := a.bind(name)[0]
	if v == nil {
		fail("%s lacks argument '%s'", a.name, name)
	}
	return v
}

// given reports whether v is an argument other than None.
func given(v Value) bool {
	_, none := v.(None)
	return v != nil && !none
}

func wantText(what string, v Value) Text {
	t, ok := v.(Text)
	if !ok {
		failUndefined(v)
		fail("%s must be str, not %s", what, typeName(v))
	}
	return t
}

func wantInt(what string, v Value, def int64) int64 {
	if v == nil {
		return def
	}
	n, ok := asInt(v)
	if !ok {
		failUndefined(v)
		fail("%s must be int, not %s", what, typeName(v))
	}
	return n
}

// optionalText returns a text argument, nil if it is not given.
func optionalText(what string, v Value) *Text {
	if !given(v) {
		return nil
	}
	t := wantText(what, v)
	return &t
}

// macroBytes is what a macro is taken to weigh: it keeps its scope alive.
const macroBytes = 512

func (s *macroStmt) exec(f *frame, out *builder) flow {
	f.alloc(macroBytes)
	f.set(s.macro.name, f.closure(s.macro))
	return goOn
}

// closure makes a macro callable in the scope f.
func (f *frame) closure(m *macro) *function {
	return &function{m.name, func(r *run, a args) Value {
		a.name = "macro '" + m.name + "'"
		inner := f.child()
		m.bind(inner, a)
		out := &builder{m: &r.meter}
		exec(m.body, inner, out)
		return out.done()
	}}
}

// bind sets the parameters in the scope of a call.
func (m *macro) bind(f *frame, a args) {
	defer at(m.line)
	first := len(m.params) - len(m.defaults)
	rest := a.kw
	for i, name := range m.params {
		f.step(len(rest)) // each is looked at, and may be moved
		var v Value
		if i < len(a.pos) {
			v = a.pos[i]
		}
		if at := slices.IndexFunc(rest, func(k namedValue) bool { return k.name == name }); at >= 0 {
			if v != nil {
				fail("%s got several values for argument '%s'", a.name, name)
			}
			v = rest[at].value
			rest = slices.Delete(slices.Clone(rest), at, at+1)
		}
		switch {
		case v != nil:
		case i >= first:
			v = f.value(m.defaults[i-first])
		default:
			v = Undefined{"parameter '" + name + "'"}
		}
		f.set(name, v)
	}
	extra := a.pos[min(len(m.params), len(a.pos)):]
	if m.usesVarargs {
		f.elements(len(extra))
		f.set("varargs", &List{slices.Clone(extra), isTuple})
	} else if len(extra) > 0 {
		fail("%s takes not more than %d argument(s)", a.name, len(m.params))
	}
	var caller Value = Undefined{"No caller defined"}
	kwargs := NewDict()
	for _, k := range rest {
		switch {
		case k.name == "caller" && m.usesCaller:
			caller = k.value
		case m.usesKwargs:
			f.elements(1)
			kwargs.set(Trusted(k.name), k.value)
		default:
			fail("%s takes no keyword argument '%s'", a.name, k.name)
		}
	}
	if m.usesCaller {
		f.set("caller", caller)
	}
	if m.usesKwargs {
		f.set("kwargs", kwargs)
	}
}

func (s *callStmt) exec(f *frame, out *builder) flow {
	defer at(s.line)
	fn := f.callee(s.call)
	a := f.args(s.call.args, s.call.kwargs)
	a.kw = append(a.kw, namedValue{"caller", f.closure(s.caller)})
	out.print(f.call(fn, a))
	return goOn
}
