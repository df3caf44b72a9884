package jinja

import "time"

// run is one render.
type run struct {
	meter
	now time.Time
}

// frame is a scope: a loop's body, a macro's, a block's. Names that it lacks
// are its parent's.
type frame struct {
	*run
	vars   map[string]Value
	parent *frame
	block  Value // what a filter block rendered, for its filters
}

// nameBytes is what a name in a scope is taken to weigh. Most die at once.
const nameBytes = 32

func (f *frame) child() *frame { return &frame{run: f.run, parent: f} }

func (f *frame) get(name string) (Value, bool) {
	for ; f != nil; f = f.parent {
		if v, ok := f.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func (f *frame) set(name string, v Value) {
	if f.vars == nil {
		f.vars = make(map[string]Value, 4)
	}
	if _, ok := f.vars[name]; !ok {
		f.alloc(nameBytes)
	}
	f.vars[name] = v
}

// Options are what a render takes besides its values.
type Options struct {
	Limits Limits
	Now    time.Time // what strftime_now tells
}

// Render executes the template. vars are its global names; their values must
// not change meanwhile. The error is an *Error or matches ErrBudget.
func (t *Template) Render(vars map[string]Value, o Options) (text Text, err error) {
	r := &run{meter: meter{limits: o.Limits, steps: o.Limits.Steps, bytes: o.Limits.Bytes}, now: o.Now}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case abort:
			text, err = Text{}, e.err
		default:
			panic(e)
		}
	}()
	top := &frame{run: r, parent: &frame{run: r, vars: vars, parent: &frame{run: r, vars: globals}}}
	out := &builder{m: &r.meter}
	exec(t.body, top, out)
	return out.done(), nil
}

func exec(body []stmt, f *frame, out *builder) flow {
	for _, s := range body {
		f.step(1)
		if how := s.exec(f, out); how != goOn {
			return how
		}
	}
	return goOn
}

// value evaluates e.
func (f *frame) value(e expr) Value {
	f.step(1)
	return e.eval(f)
}

// at fills in the line of errors that come out of what follows. Use: defer
// at(line).
func at(line int) {
	if e := recover(); e != nil {
		if a, ok := e.(abort); ok {
			if err, ok := a.err.(*Error); ok && err.Line == 0 {
				err.Line = line
			}
		}
		panic(e)
	}
}
