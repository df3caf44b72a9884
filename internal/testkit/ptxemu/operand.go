package ptxemu

import (
	"fmt"
	"math"
	"slices"
)

// comp compiles one instruction. What it does not understand it refuses, by
// panicking with a *LoadError: modifiers are taken out of mods as they are
// understood, and what is left is an error.
type comp struct {
	*compiler
	in   *instr
	mods []string
	inst *inst
}

func (c *comp) fail(format string, args ...any) {
	panic(&LoadError{Line: c.in.line, Reason: c.in.name() + ": " + fmt.Sprintf(format, args...)})
}

// flag takes a modifier if it is there.
func (c *comp) flag(name string) bool {
	i := slices.Index(c.mods, name)
	if i >= 0 {
		c.mods = slices.Delete(c.mods, i, i+1)
	}
	return i >= 0
}

// oneOf takes the first of the modifiers that is there, or returns "".
func (c *comp) oneOf(names ...string) string {
	for _, m := range c.mods {
		if slices.Contains(names, m) {
			c.flag(m)
			return m
		}
	}
	return ""
}

// typ takes the next type.
func (c *comp) typ() typ {
	for _, m := range c.mods {
		if t, ok := types[m]; ok {
			c.flag(m)
			return t
		}
	}
	c.fail("no type")
	return typ{}
}

// rounding takes a rounding mode; without one it is to nearest.
func (c *comp) rounding() (r rounding, given bool) {
	for _, m := range c.mods {
		if r, ok := roundings[m]; ok {
			c.flag(m)
			return r, true
		}
	}
	return roundNearest, false
}

// want fails unless there are n operands.
func (c *comp) want(n int) {
	if len(c.in.args) != n {
		c.fail("%d operands; it has %d", len(c.in.args), n)
	}
}

func (c *comp) arg(i int) operand {
	if i >= len(c.in.args) {
		c.fail("too few operands")
	}
	return c.in.args[i]
}

// dst is the row of a destination register, which must have t's width.
func (c *comp) dst(i int, t typ) int { return c.dstRow(c.arg(i), t) }

func (c *comp) dstRow(a operand, t typ) int {
	if a.kind == argSink {
		return c.sink
	}
	if a.kind != argReg || a.reg.typ.kind == kindPred || a.reg.typ.bits != t.bits {
		c.fail("destination is no register of %d bits", t.bits)
	}
	return c.row(a.reg)
}

// src is the row of a source operand of type t.
func (c *comp) src(i int, t typ) int { return c.srcRow(c.arg(i), t) }

func (c *comp) srcRow(a operand, t typ) int {
	switch a.kind {
	case argReg:
		if a.reg.typ.kind == kindPred || a.reg.typ.bits != t.bits {
			c.fail("%s has not %d bits", a.reg.name, t.bits)
		}
		return c.row(a.reg)
	case argImm:
		if t.float() && a.float != 0 {
			return c.constant(floatBits(a, t) & t.mask())
		}
		return c.constant(a.imm & t.mask())
	case argSpecial:
		return c.specialRow(a.name)
	case argVar:
		if a.sym.space == spaceParam && !a.sym.kernel {
			c.fail("the address of a function's parameter is not supported")
		}
		return c.constant((c.address(a.sym) + uint64(a.off)) & t.mask())
	}
	c.fail("operand is no value")
	return 0
}

// dstWide and srcWide are as dst and src, for registers at least as wide as t;
// dstWide gives the register's width too.
func (c *comp) dstWide(i int, t typ) (int, int) {
	if a := c.arg(i); a.kind == argReg && a.reg.typ.bits > t.bits {
		return c.row(a.reg), a.reg.typ.bits
	}
	return c.dst(i, t), t.bits
}

func (c *comp) srcWide(i int, t typ) int {
	if a := c.arg(i); a.kind == argReg && a.reg.typ.bits > t.bits {
		return c.row(a.reg)
	}
	return c.src(i, t)
}

// address is where a variable lies in its own space.
func (c *comp) address(v *variable) uint64 {
	switch v.space {
	case spaceGlobal, spaceConst:
		return v.addr
	}
	addr, ok := c.addrs[v]
	if !ok {
		c.fail("%s has no place", v.name)
	}
	return uint64(addr)
}

// vector is the elements of a vector operand, or the one of a scalar.
func (c *comp) vector(i, n int) []operand {
	a := c.arg(i)
	if n == 1 && a.kind != argVec {
		return []operand{a}
	}
	if a.kind != argVec || len(a.sub) != n {
		c.fail("operand %d is no vector of %d", i, n)
	}
	return a.sub
}

// rowsOf is the rows of a vector of registers, to read or to write.
func (c *comp) rowsOf(i, n int, t typ, write bool) []int {
	rows := make([]int, n)
	for k, a := range c.vector(i, n) {
		if write {
			rows[k] = c.dstRow(a, t)
		} else {
			rows[k] = c.srcRow(a, t)
		}
	}
	return rows
}

// condition is a predicate operand: its place and whether it is inverted.
type condition struct {
	pred int
	flip uint32
}

func (c condition) mask(w *warp) uint32 { return w.p[c.pred] ^ c.flip }

func (c *comp) cond(i int) condition {
	a := c.arg(i)
	var flip uint32
	if a.negated {
		flip = allLanes
	}
	if a.kind == argImm {
		if a.imm == 0 {
			flip = ^flip
		}
		return condition{predTrue, flip}
	}
	if a.kind != argReg || a.reg.typ.kind != kindPred {
		c.fail("operand %d is no predicate", i)
	}
	return condition{c.pred(a.reg), flip}
}

// pdst is the place of a destination predicate.
func (c *comp) pdst(a operand) int {
	if a.kind == argSink {
		return predSink
	}
	if a.kind != argReg || a.reg.typ.kind != kindPred {
		c.fail("destination is no predicate")
	}
	return c.pred(a.reg)
}

// pair splits d|p. Without p the predicate goes nowhere.
func (c *comp) pair(i int) (operand, int) {
	a := c.arg(i)
	if a.kind != argPair {
		return a, predSink
	}
	return a.sub[0], c.pdst(a.sub[1])
}

// place is an address operand: a row plus a constant.
type place struct {
	row  int
	off  uint64
	mask uint64
}

func (p place) of(w *warp, lane int) uint64 { return (w.r[p.row][lane] + p.off) & p.mask }

// mem is the address operand i; the variable is that which it names, if any.
func (c *comp) mem(i int) (place, *variable) {
	a := c.arg(i)
	if a.kind != argAddr {
		c.fail("operand %d is no address", i)
	}
	switch b := a.sub[0]; b.kind {
	case argReg:
		t := b.reg.typ
		if t.kind == kindPred || t.bits < 32 {
			c.fail("%s can hold no address", b.reg.name)
		}
		return place{c.row(b.reg), uint64(a.off), t.mask()}, nil
	case argVar:
		return place{c.constant(c.address(b.sym)), uint64(a.off), math.MaxUint64}, b.sym
	case argImm:
		return place{c.constant(b.imm), uint64(a.off), math.MaxUint64}, nil
	}
	c.fail("operand %d is no address", i)
	return place{}, nil
}
