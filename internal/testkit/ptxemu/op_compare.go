package ptxemu

import "math"

// comparison returns the test of setp and set for two values of type t.
func (c *comp) comparison(t typ, name string, ftz bool) func(a, b uint64) bool {
	if t.float() {
		return c.floatComparison(arith{t: t, ftz: ftz}, name)
	}
	less := func(a, b uint64) bool { return t.value(a) < t.value(b) }
	if t.kind == kindS && name[0] != 'h' && name != "lo" && name != "ls" {
		less = func(a, b uint64) bool { return int64(t.value(a)) < int64(t.value(b)) }
	}
	switch name {
	case "eq":
		return func(a, b uint64) bool { return t.value(a) == t.value(b) }
	case "ne":
		return func(a, b uint64) bool { return t.value(a) != t.value(b) }
	case "lt", "lo":
		return less
	case "le", "ls":
		return func(a, b uint64) bool { return !less(b, a) }
	case "gt", "hi":
		return func(a, b uint64) bool { return less(b, a) }
	case "ge", "hs":
		return func(a, b uint64) bool { return !less(a, b) }
	}
	c.fail("comparison .%s of integers", name)
	return nil
}

// floatComparison: with u at the end a NaN makes it true, without it false.
func (c *comp) floatComparison(a arith, name string) func(x, y uint64) bool {
	unordered := len(name) == 3 && name[2] == 'u'
	if unordered {
		name = name[:2]
	}
	f := map[string]func(x, y float64) bool{
		"eq":  func(x, y float64) bool { return x == y },
		"ne":  func(x, y float64) bool { return x != y },
		"lt":  func(x, y float64) bool { return x < y },
		"le":  func(x, y float64) bool { return x <= y },
		"gt":  func(x, y float64) bool { return x > y },
		"ge":  func(x, y float64) bool { return x >= y },
		"num": func(x, y float64) bool { return true },
		"nan": func(x, y float64) bool { return false },
	}[name]
	if f == nil {
		c.fail("comparison .%s of floats", name)
	}
	unordered = unordered || name == "nan"
	return func(x, y uint64) bool {
		u, v := a.in(x), a.in(y)
		if u != u || v != v {
			return unordered
		}
		return f(u, v)
	}
}

// opSetp sets a predicate, and with p|q also q from the inverse; a packed type
// sets p from the low halves and q from the high.
func opSetp(c *comp) op {
	name, combine, ftz := c.compareMods()
	t := c.typ()
	third := condition{pred: predTrue}
	if combine == nil && !t.float() && t.bits >= 32 && c.arg(0).kind == argReg {
		return c.setpInt(name, t)
	}
	if combine != nil {
		c.want(4)
		third = c.cond(3)
	} else {
		c.want(3)
		combine = func(a, _ uint32) uint32 { return a }
	}
	p, q := c.arg(0), operand{kind: argSink}
	if p.kind == argPair {
		p, q = p.sub[0], p.sub[1]
	}
	dp, dq := c.pdst(p), c.pdst(q)
	a, b := c.src(1, t), c.src(2, t)
	el := t
	if t.x2 {
		el = t.half()
	}
	test := c.comparison(el, name, ftz)
	mask := el.mask()
	return func(w *warp, m uint32) {
		x, y, also := &w.r[a], &w.r[b], third.mask(w)
		var r, s uint32
		for l := range 32 {
			if m>>l&1 == 0 {
				continue
			}
			if test(x[l]&mask, y[l]&mask) {
				r |= 1 << l
			}
			if t.x2 && test(x[l]>>16, y[l]>>16) {
				s |= 1 << l
			}
		}
		if !t.x2 {
			s = ^r
		}
		w.p[dp] = w.p[dp]&^m | combine(r, also)&m
		w.p[dq] = w.p[dq]&^m | combine(s, also)&m
	}
}

// setpInt is the commonest form: one predicate from whole registers.
func (c *comp) setpInt(name string, t typ) op {
	c.want(3)
	c.comparison(t, name, false) // refuses what is none
	var flip uint64
	if t.kind == kindS {
		flip = 1 << (t.bits - 1)
	}
	return fastCompare(name, c.pdst(c.arg(0)), c.src(1, t), c.src(2, t), flip)
}

// compareMods takes the comparison, the combination with a third predicate or
// nil, and .ftz.
func (c *comp) compareMods() (name string, combine func(a, b uint32) uint32, ftz bool) {
	if len(c.mods) == 0 {
		c.fail("no comparison")
	}
	name = c.mods[0]
	c.flag(name)
	switch c.oneOf("and", "or", "xor") {
	case "and":
		combine = func(a, b uint32) uint32 { return a & b }
	case "or":
		combine = func(a, b uint32) uint32 { return a | b }
	case "xor":
		combine = func(a, b uint32) uint32 { return a ^ b }
	}
	return name, combine, c.flag("ftz")
}

// opSet writes a comparison as a value: all ones, or 1.0 in a float.
func opSet(c *comp) op {
	name, combine, ftz := c.compareMods()
	if combine != nil {
		c.fail("a third operand is not supported")
	}
	c.want(3)
	to, t := c.typ(), c.typ()
	el, one := t, to.mask()
	if t.x2 {
		el = t.half()
		one = 0xffff
	}
	switch {
	case to.kind == kindF && to.bits == 32 && !to.x2:
		one = uint64(math.Float32bits(1))
	case to.kind == kindF:
		one = 0x3c00
	case to.kind == kindBF:
		one = 0x3f80
	}
	if t.x2 && to.bits != 32 || to.x2 && !t.x2 {
		c.fail("result of %d bits", to.bits)
	}
	test := c.comparison(el, name, ftz)
	f := func(a, b uint64) uint64 {
		if test(a, b) {
			return one
		}
		return 0
	}
	if t.x2 {
		f = halves2(f)
	}
	return lift2(c.dst(0, to), c.src(1, t), c.src(2, t), to.mask(), f)
}
