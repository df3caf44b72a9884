package ptxemu

import "math/bits"

func opBra(c *comp) op {
	c.want(1)
	c.flag("uni")
	if a := c.arg(0); a.kind != argLabel || a.label.at < 0 {
		c.fail("target is no place")
	}
	c.inst.kind = instBranch
	return nil
}

func opBrx(c *comp) op {
	c.want(2)
	c.flag("uni")
	if !c.flag("idx") || c.arg(1).kind != argLabel || c.arg(1).label.table == nil {
		c.fail("no table of targets")
	}
	c.inst.kind = instTable
	c.inst.row = int32(c.src(0, types["b32"]))
	return nil
}

// control compiles ret and exit.
func control(k instKind) func(c *comp) op {
	return func(c *comp) op {
		c.want(0)
		c.flag("uni")
		c.inst.kind = k
		return nil
	}
}

func opTrap(c *comp) op {
	c.want(0)
	return func(w *warp, m uint32) { w.fault(&Fault{Kind: Trap, Detail: "the kernel trapped"}, m) }
}

// opIgnore covers nanosleep, pmevent and the like: time does not pass here.
func opIgnore(c *comp) op {
	c.mods = nil
	return nothing
}

// callParts are the operands of call: results, arguments.
func (c *comp) callParts() (rets, args []operand) {
	seen := false
	for _, a := range c.in.args {
		switch {
		case a.kind == argFunc:
			seen = true
		case a.kind == argList && !seen:
			rets = a.sub
		case a.kind == argList:
			args = a.sub
		default:
			c.fail("only direct calls are supported")
		}
	}
	return rets, args
}

// opCall copies arguments into the callee's parameters, which lie in local
// memory as all parameters of device functions do.
func opCall(c *comp) op {
	c.flag("uni")
	c.inst.kind = instCall
	_, args := c.callParts()
	return c.copyParams(args, callee(c.in).params, false)
}

// fetch copies what a call returned.
func (c *comp) fetch() op {
	rets, _ := c.callParts()
	return c.copyParams(rets, callee(c.in).rets, true)
}

func (c *comp) copyParams(ours []operand, theirs []*variable, back bool) op {
	if len(ours) != len(theirs) {
		c.fail("%d parameters; the function has %d", len(ours), len(theirs))
	}
	type move struct{ to, from, size int }
	var moves []move
	for i, a := range ours {
		if a.kind != argVar || a.sym.space != spaceParam || a.sym.size != theirs[i].size {
			c.fail("parameter %d does not fit", i)
		}
		mv := move{to: c.addrs[theirs[i]], from: c.addrs[a.sym], size: a.sym.size}
		if back {
			mv.to, mv.from = mv.from, mv.to
		}
		moves = append(moves, mv)
	}
	return func(w *warp, m uint32) {
		n := w.blk.prog.local
		for ; m != 0; m &= m - 1 {
			frame := w.local[bits.TrailingZeros32(m)*n:][:n]
			for _, mv := range moves {
				copy(frame[mv.to:mv.to+mv.size], frame[mv.from:])
			}
		}
	}
}

// opBar covers bar and barrier: sync, arrive, red, and bar.warp.sync.
func opBar(c *comp) op {
	if c.flag("warp") {
		c.flag("sync")
		c.want(1)
		c.members(0)
		return func(w *warp, m uint32) { w.tick() }
	}
	c.flag("cta")
	c.inst.kind, c.inst.needs = instBarrier, needWarp
	if !c.flag("aligned") && c.in.op == "barrier" {
		c.inst.needs = needNone
	}
	switch c.oneOf("sync", "arrive", "red") {
	case "sync":
		return c.barrier(0, len(c.in.args), true, nil, nil)
	case "arrive":
		c.want(2)
		return c.barrier(0, 2, false, nil, nil)
	case "red":
		return c.barrierReduce()
	}
	c.fail("unknown kind of barrier")
	return nil
}

// barrier compiles an arrival with the operands [first, first+n): number and,
// perhaps, count of threads.
func (c *comp) barrier(first, n int, stay bool, votes func(w *warp) uint32, done func(w *warp, lanes uint32, votes, arrived int)) op {
	t := types["b32"]
	if n < 1 || n > 2 {
		c.fail("wrong number of operands")
	}
	number, count := c.src(first, t), c.constant(0)
	if n == 2 {
		count = c.src(first+1, t)
	}
	aligned := c.inst.needs == needWarp
	return func(w *warp, m uint32) {
		l := bits.TrailingZeros32(m)
		a := arrival{waiter: waiter{w: w, lanes: m, done: done}, bar: int(w.r[number][l]), need: int(w.r[count][l]), stay: stay, threads: bits.OnesCount32(m)}
		if a.bar >= len(w.blk.bars) || a.need%32 != 0 || n == 2 && a.need == 0 {
			w.fault(&Fault{Kind: Undefined, Detail: "barrier number past 15, or count of threads that is no multiple of 32"}, m)
		}
		if a.need != 0 && aligned {
			a.threads = 32
		}
		if votes != nil {
			a.votes = votes(w) & m
		}
		w.blk.arrive(a)
	}
}

// barrierReduce is bar.red: every thread gets the count, or whether all or some
// of the predicates were true.
func (c *comp) barrierReduce() op {
	how := c.oneOf("popc", "and", "or")
	t := c.typ()
	last := len(c.in.args) - 1
	if last < 2 {
		c.fail("too few operands")
	}
	p := c.cond(last)
	votes := func(w *warp) uint32 { return p.mask(w) }
	if how == "popc" {
		d := c.dst(0, t)
		return c.barrier(1, last-1, true, votes, func(w *warp, m uint32, n, _ int) {
			for ; m != 0; m &= m - 1 {
				w.r[d][bits.TrailingZeros32(m)] = uint64(n)
			}
		})
	}
	d := c.pdst(c.arg(0))
	return c.barrier(1, last-1, true, votes, func(w *warp, m uint32, n, arrived int) {
		w.p[d] &^= m
		if how == "or" && n > 0 || how == "and" && n == arrived {
			w.p[d] |= m
		}
	})
}

// opGriddep is griddepcontrol: after wait the grids before this one are done.
func opGriddep(c *comp) op {
	c.want(0)
	switch c.oneOf("wait", "launch_dependents") {
	case "wait":
		return func(w *warp, m uint32) { w.waited = true }
	case "launch_dependents":
		return nothing
	}
	c.fail("unknown action")
	return nil
}
