package ptxemu

import "math/bits"

func opAtom(c *comp) op { return c.atomic(1) }
func opRed(c *comp) op  { return c.atomic(0) }

// atomic compiles atom (first is 1: after the destination) and red. Lanes take
// turns in ascending order; blocks exclude each other.
func (c *comp) atomic(first int) op {
	x := c.memoryMods()
	c.flag("noftz")
	f, t, operands := c.update()
	want := first + 1 + operands
	if x.policy {
		want++
	}
	c.want(want)
	d := c.sink
	if first == 1 {
		d = c.dst(0, t)
	}
	at := c.where(first, &x)
	a := c.src(first+1, t)
	b := a
	if operands == 2 {
		b = c.src(first+2, t)
	}
	if x.space == spaceLocal || x.space == spaceParam || x.space == spaceConst {
		c.fail("atomics are for global and shared memory")
	}
	return func(w *warp, m uint32) {
		w.blk.grid.mem.atomic.Lock()
		defer w.blk.grid.mem.atomic.Unlock()
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			p := w.at(x.space, l, at.of(w, l), t.bytes(), accessRead|accessWrite|accessStrong, nil)
			old := little(p)
			putLittle(p, f(old, w.r[a][l], w.r[b][l])&t.mask())
			w.r[d][l] = old
		}
	}
}

// update returns what an atomic makes of the old value and its operands, and
// how many of these it has.
func (c *comp) update() (f func(old, a, b uint64) uint64, t typ, operands int) {
	name := c.oneOf("add", "and", "or", "xor", "exch", "cas", "inc", "dec", "min", "max")
	switch name {
	case "min", "max":
		g, t := c.minMaxOf(name == "max")
		return func(old, a, _ uint64) uint64 { return g(old, a) }, t, 1
	case "":
		c.fail("unknown operation")
	}
	t = c.typ()
	operands = 1
	switch name {
	case "add":
		f = func(old, a, _ uint64) uint64 { return old + a }
		if t.float() {
			f = floatUpdate(t)
		}
	case "and":
		f = func(old, a, _ uint64) uint64 { return old & a }
	case "or":
		f = func(old, a, _ uint64) uint64 { return old | a }
	case "xor":
		f = func(old, a, _ uint64) uint64 { return old ^ a }
	case "exch":
		f = func(_, a, _ uint64) uint64 { return a }
	case "cas":
		operands = 2
		f = func(old, a, b uint64) uint64 {
			if old == a {
				return b
			}
			return old
		}
	case "inc":
		f = func(old, a, _ uint64) uint64 {
			if old >= a {
				return 0
			}
			return old + 1
		}
	case "dec":
		f = func(old, a, _ uint64) uint64 {
			if old == 0 || old > a {
				return a
			}
			return old - 1
		}
	}
	return f, t, operands
}

// floatUpdate is the addition of floats, rounded to nearest.
func floatUpdate(t typ) func(old, a, b uint64) uint64 {
	el := t
	if t.x2 {
		el = t.half()
	}
	add := func(x, y uint64) uint64 {
		if el.bits == 64 {
			return encode(el, decode(el, x)+decode(el, y), roundNearest)
		}
		return encode(el, addOdd(decode(el, x), decode(el, y)), roundNearest)
	}
	if t.x2 {
		add = halves2(add)
	}
	return func(old, a, _ uint64) uint64 { return add(old, a) }
}
