package jinja

import "math"

func (s *textStmt) exec(f *frame, out *builder) flow { out.text(s.text); return goOn }

func (s *printStmt) exec(f *frame, out *builder) flow {
	defer at(s.line)
	out.print(f.value(s.of))
	return goOn
}

func (s *ifStmt) exec(f *frame, out *builder) flow {
	for i, cond := range s.conds {
		if truthy(f.value(cond)) {
			return exec(s.bodies[i], f, out)
		}
	}
	if len(s.bodies) > len(s.conds) {
		return exec(s.bodies[len(s.conds)], f, out)
	}
	return goOn
}

func (s *forStmt) exec(f *frame, out *builder) flow {
	items := s.items(f)
	if len(items) == 0 {
		return exec(s.orElse, f, out)
	}
	loop := &loopVar{items: items}
	for i := range items {
		f.step(1)
		loop.at = i
		round := f.child()
		round.set("loop", loop)
		s.assign(round, items[i])
		if exec(s.body, round, out) == breakLoop {
			break
		}
	}
	return goOn
}

func (s *forStmt) assign(f *frame, v Value) {
	defer at(s.line)
	s.target.assign(f, v)
}

// items returns what the loop runs over, after its condition.
func (s *forStmt) items(f *frame) []Value {
	defer at(s.line)
	items := f.iterate(f.value(s.iter))
	if s.cond == nil {
		return items
	}
	f.elements(len(items))
	kept := make([]Value, 0, len(items))
	for _, v := range items {
		round := f.child()
		s.target.assign(round, v)
		if truthy(round.value(s.cond)) {
			kept = append(kept, v)
		}
	}
	return kept
}

func (t target) assign(f *frame, v Value) {
	switch {
	case t.tuple != nil:
		items := f.iterate(v)
		if len(items) != len(t.tuple) {
			fail("cannot unpack %d values into %d names", len(items), len(t.tuple))
		}
		for i, part := range t.tuple {
			part.assign(f, items[i])
		}
	case t.attr != "":
		owner, _ := f.get(t.name)
		ns, ok := owner.(*Namespace)
		if !ok {
			fail("cannot assign attribute on non-namespace object")
		}
		if _, ok := ns.vars[t.attr]; !ok {
			f.elements(1)
		}
		ns.vars[t.attr] = v
	default:
		f.set(t.name, v)
	}
}

func (s *setStmt) exec(f *frame, out *builder) flow {
	defer at(s.line)
	s.target.assign(f, f.value(s.value))
	return goOn
}

func (s *setBlock) exec(f *frame, out *builder) flow {
	defer at(s.line)
	v := f.capture(s.body)
	if s.filter != nil {
		v = f.filtered(s.filter, v)
	}
	s.target.assign(f, v)
	return goOn
}

// capture returns what body renders in a scope of its own.
func (f *frame) capture(body []stmt) Value {
	out := &builder{m: &f.meter}
	exec(body, f.child(), out)
	return out.done()
}

// filtered applies a block's filters to v.
func (f *frame) filtered(e *filterExpr, v Value) Value {
	inner := f.child()
	inner.block = v
	return inner.value(e)
}

func (s *filterStmt) exec(f *frame, out *builder) flow {
	out.print(f.filtered(s.filter, f.capture(s.body)))
	return goOn
}

func (s *withStmt) exec(f *frame, out *builder) flow {
	inner := f.child()
	for i, e := range s.values {
		s.targets[i].assign(inner, f.value(e))
	}
	return exec(s.body, inner, out)
}

func (s *flowStmt) exec(*frame, *builder) flow { return s.flow }

func (e *literal) eval(*frame) Value { return e.v }

func (e *nameExpr) eval(f *frame) Value {
	if v, ok := f.get(e.name); ok {
		return v
	}
	return Undefined{e.name}
}

func (e *unaryExpr) eval(f *frame) Value {
	defer at(e.line)
	v := f.value(e.of)
	if e.op == "not" {
		return !truthy(v)
	}
	if n, ok := asInt(v); ok {
		if e.op == "-" {
			if n == math.MinInt64 {
				fail("integer overflow")
			}
			n = -n
		}
		return n
	}
	x, ok := v.(float64)
	if !ok {
		failOperand("unary "+e.op, v, v)
	}
	if e.op == "-" {
		x = -x
	}
	return x
}

func (e *logicExpr) eval(f *frame) Value {
	v := f.value(e.left)
	if truthy(v) == e.or {
		return v
	}
	return f.value(e.right)
}

func (e *condExpr) eval(f *frame) Value {
	if truthy(f.value(e.cond)) {
		return f.value(e.yes)
	}
	if e.no == nil {
		return Undefined{"the inline if-expression"}
	}
	return f.value(e.no)
}

func (e *compareExpr) eval(f *frame) Value {
	defer at(e.line)
	left := f.value(e.first)
	for i, op := range e.ops {
		right := f.value(e.rest[i])
		if !f.compare(op, left, right) {
			return false
		}
		left = right
	}
	return true
}

func (e *concatExpr) eval(f *frame) Value {
	defer at(e.line)
	b := builder{m: &f.meter}
	for _, part := range e.parts {
		b.print(f.value(part))
	}
	return b.done()
}

func (e *listExpr) eval(f *frame) Value {
	f.elements(len(e.items))
	l := &List{make([]Value, len(e.items)), e.kind}
	for i, item := range e.items {
		l.items[i] = f.value(item)
	}
	return l
}

func (e *dictExpr) eval(f *frame) Value {
	defer at(e.line)
	f.elements(2*len(e.keys) + 1)
	d := NewDict()
	for i, key := range e.keys {
		k := f.value(key)
		f.key(k)
		d.set(k, f.value(e.values[i]))
	}
	return d
}

func (e *attrExpr) eval(f *frame) Value {
	defer at(e.line)
	return f.attribute(f.value(e.of), e.name)
}

func (e *itemExpr) eval(f *frame) Value {
	defer at(e.line)
	of := f.value(e.of)
	return f.item(of, f.value(e.key))
}

func (e *sliceExpr) eval(f *frame) Value {
	defer at(e.line)
	of := f.value(e.of)
	bound := func(e expr) *int64 {
		if e == nil {
			return nil
		}
		v := f.value(e)
		if _, ok := v.(None); ok {
			return nil
		}
		n, ok := asInt(v)
		if !ok {
			fail("slice indices must be integers or None, not %s", typeName(v))
		}
		return &n
	}
	return f.sliceOf(of, bound(e.start), bound(e.stop), bound(e.step))
}

func (e *callExpr) eval(f *frame) Value {
	defer at(e.line)
	fn := f.callee(e)
	return f.call(fn, f.args(e.args, e.kwargs))
}

func (f *frame) callee(e *callExpr) *function {
	v := f.value(e.of)
	fn, ok := v.(*function)
	if !ok {
		if u, ok := v.(Undefined); ok {
			fail("%s is undefined", u.what)
		}
		fail("'%s' object is not callable", typeName(v))
	}
	return fn
}

// call calls fn one level deeper.
func (r *run) call(fn *function, a args) Value {
	r.enter()
	v := fn.call(r, a)
	r.leave()
	return v
}

func (f *frame) args(list []expr, kwargs []kwarg) args {
	f.step(len(list) + len(kwargs))
	a := args{pos: make([]Value, len(list))}
	for i, e := range list {
		a.pos[i] = f.value(e)
	}
	for _, k := range kwargs {
		a.kw = append(a.kw, namedValue{k.name, f.value(k.value)})
	}
	return a
}

func (e *filterExpr) eval(f *frame) Value {
	defer at(e.line)
	v := f.block
	if e.of != nil {
		v = f.value(e.of)
	}
	return f.applyFilter(e.name, e.filter, v, f.args(e.args, e.kwargs))
}

// applyFilter calls a filter one level deeper.
func (r *run) applyFilter(name string, fn filter, v Value, a args) Value {
	r.enter()
	a.name = name
	v = fn(r, v, a)
	r.leave()
	return v
}

func (e *testExpr) eval(f *frame) Value {
	defer at(e.line)
	v := f.value(e.of)
	a := f.args(e.args, nil)
	a.name = e.name
	return e.test(f.run, v, a)
}

func (e *binaryExpr) eval(f *frame) Value {
	defer at(e.line)
	left := f.value(e.left)
	return f.arithmetic(e.op, left, f.value(e.right))
}
