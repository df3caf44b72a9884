package ptxemu

import "math/bits"

func opMov(c *comp) op {
	c.want(2)
	t := c.typ()
	to, from := c.arg(0), c.arg(1)
	switch {
	case t.kind == kindPred:
		d, a := c.pdst(to), c.cond(1)
		return func(w *warp, m uint32) { w.p[d] = w.p[d]&^m | a.mask(w)&m }
	case from.kind == argVec && to.kind != argVec:
		return c.pack(t)
	case to.kind == argVec && from.kind != argVec:
		return c.unpack(t)
	case from.kind == argSpecial && tickers[from.name] != nil:
		return c.tick(t)
	}
	return fastMove(c.dst(0, t), c.src(1, t))
}

// pack makes a register of the elements of a vector, first lowest.
func (c *comp) pack(t typ) op {
	n := len(c.arg(1).sub)
	el := c.element(t, n)
	d, rows := c.dst(0, t), c.rowsOf(1, n, el, false)
	return func(w *warp, m uint32) {
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			var v uint64
			for i, r := range rows {
				v |= w.r[r][l] << (i * el.bits)
			}
			w.r[d][l] = v
		}
	}
}

func (c *comp) unpack(t typ) op {
	n := len(c.arg(0).sub)
	el := c.element(t, n)
	rows, a := c.rowsOf(0, n, el, true), c.src(1, t)
	return func(w *warp, m uint32) {
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			v := w.r[a][l]
			for i, r := range rows {
				w.r[r][l] = v >> (i * el.bits) & el.mask()
			}
		}
	}
}

func (c *comp) element(t typ, n int) typ {
	if n == 0 || t.bits%n != 0 || t.bits/n < 8 {
		c.fail("vector of %d in %d bits", n, t.bits)
	}
	return typ{kind: kindB, bits: t.bits / n}
}

// tickers are the special registers that change. A tick is one warp
// instruction of the block, and counts as a nanosecond and as a cycle.
var tickers = map[string]func(uint64) uint64{
	"%clock":          func(t uint64) uint64 { return t & 0xffffffff },
	"%clock_hi":       func(t uint64) uint64 { return t >> 32 },
	"%clock64":        func(t uint64) uint64 { return t },
	"%globaltimer":    func(t uint64) uint64 { return t },
	"%globaltimer_lo": func(t uint64) uint64 { return t & 0xffffffff },
	"%globaltimer_hi": func(t uint64) uint64 { return t >> 32 },
}

func (c *comp) tick(t typ) op {
	d, f := c.dst(0, t), tickers[c.arg(1).name]
	return func(w *warp, m uint32) {
		w.blk.ticks += 100 // a read takes time, so that a wait for a time ends
		v := f(uint64(w.blk.steps + w.blk.ticks))
		for ; m != 0; m &= m - 1 {
			w.r[d][bits.TrailingZeros32(m)] = v
		}
	}
}

func opSelp(c *comp) op {
	c.want(4)
	t := c.typ()
	d, a, b, p := c.dst(0, t), c.src(1, t), c.src(2, t), c.cond(3)
	return func(w *warp, m uint32) {
		x, y, z, q := &w.r[d], &w.r[a], &w.r[b], p.mask(w)
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			if q>>l&1 != 0 {
				x[l] = y[l]
			} else {
				x[l] = z[l]
			}
		}
	}
}

func opSlct(c *comp) op {
	c.want(4)
	ftz := c.flag("ftz")
	t, by := c.typ(), c.typ()
	return lift3(c.dst(0, t), c.src(1, t), c.src(2, t), c.src(3, by), t.mask(), func(a, b, s uint64) uint64 {
		first := signed(s, 32) >= 0
		if by.float() {
			if ftz {
				s = flush(s)
			}
			first = f32(s) >= 0
		}
		if first {
			return a
		}
		return b
	})
}

// opCvta turns an address in a space into a generic one, or back with .to.
func opCvta(c *comp) op {
	c.want(2)
	to := c.flag("to")
	var s space
	for _, m := range c.mods {
		if sp, ok := spaces[m]; ok {
			s = sp
			c.flag(m)
			break
		}
	}
	if s == spaceGeneric {
		c.fail("no state space")
	}
	t := c.typ()
	base := window(s)
	if to {
		base = -base
	}
	return lift1(c.dst(0, t), c.src(1, t), t.mask(), func(a uint64) uint64 { return a + base })
}

func opIsspacep(c *comp) op {
	c.want(2)
	s, ok := spaces[c.oneOf("global", "const", "shared", "local", "param", "shared::cta")]
	if !ok {
		c.fail("no state space")
	}
	a := c.src(1, types["b64"])
	return liftPred(c.pdst(c.arg(0)), a, a, func(x, _ uint64) bool { got, _ := split(x); return got == s })
}

// specialRow is the row of a special register that does not change while a
// block runs.
func (c *comp) specialRow(name string) int {
	if specials[name] == nil {
		c.fail("unknown special register %s", name)
	}
	row, ok := c.special[name]
	if !ok {
		row = c.newRow()
		c.special[name] = row
		c.prog.specials = append(c.prog.specials, specialRow{row, name})
	}
	return row
}

// specials fills the rows of special registers for a new block.
func (w *warp) specials() {
	for _, s := range w.blk.prog.specials {
		f := specials[s.name]
		for l := range 32 {
			w.r[s.row][l] = f(w, l)
		}
	}
}

func (w *warp) tid(l int) Dim3 { return w.blk.grid.cfg.Block.place(32*w.id + l) }

// specials gives the value of a special register in a lane.
var specials = map[string]func(w *warp, l int) uint64{
	"%tid.x":               func(w *warp, l int) uint64 { return uint64(w.tid(l).X) },
	"%tid.y":               func(w *warp, l int) uint64 { return uint64(w.tid(l).Y) },
	"%tid.z":               func(w *warp, l int) uint64 { return uint64(w.tid(l).Z) },
	"%ntid.x":              func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.Block.X) },
	"%ntid.y":              func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.Block.Y) },
	"%ntid.z":              func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.Block.Z) },
	"%ctaid.x":             func(w *warp, l int) uint64 { return uint64(w.blk.id.X) },
	"%ctaid.y":             func(w *warp, l int) uint64 { return uint64(w.blk.id.Y) },
	"%ctaid.z":             func(w *warp, l int) uint64 { return uint64(w.blk.id.Z) },
	"%nctaid.x":            func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.Grid.X) },
	"%nctaid.y":            func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.Grid.Y) },
	"%nctaid.z":            func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.Grid.Z) },
	"%laneid":              func(w *warp, l int) uint64 { return uint64(l) },
	"%warpid":              func(w *warp, l int) uint64 { return uint64(w.id) },
	"%nwarpid":             func(w *warp, l int) uint64 { return maxThreads / 32 },
	"%smid":                func(w *warp, l int) uint64 { return uint64(w.blk.id.X % 132) },
	"%nsmid":               func(w *warp, l int) uint64 { return 132 },
	"%gridid":              func(w *warp, l int) uint64 { return uint64(w.blk.grid.number) },
	"%lanemask_eq":         func(w *warp, l int) uint64 { return 1 << l },
	"%lanemask_lt":         func(w *warp, l int) uint64 { return 1<<l - 1 },
	"%lanemask_le":         func(w *warp, l int) uint64 { return 2<<l - 1 },
	"%lanemask_gt":         func(w *warp, l int) uint64 { return allLanes &^ (2<<l - 1) },
	"%lanemask_ge":         func(w *warp, l int) uint64 { return allLanes &^ (1<<l - 1) },
	"%dynamic_smem_size":   func(w *warp, l int) uint64 { return uint64(w.blk.grid.cfg.SharedBytes) },
	"%total_smem_size":     func(w *warp, l int) uint64 { return uint64(len(w.blk.shared.data)) },
	"%cluster_ctarank":     func(w *warp, l int) uint64 { return 0 },
	"%cluster_nctarank":    func(w *warp, l int) uint64 { return 1 },
	"%is_explicit_cluster": func(w *warp, l int) uint64 { return 0 },
	"WARP_SZ":              func(w *warp, l int) uint64 { return 32 },
}
