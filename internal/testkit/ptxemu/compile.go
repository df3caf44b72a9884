package ptxemu

import (
	"fmt"
	"slices"
)

// compiler turns an entry and the functions that it calls into a program.
type compiler struct {
	prog    *program
	rows    map[uint64]int    // of constants
	special map[string]int    // rows of special registers
	addrs   map[*variable]int // in shared, local and parameter space
	start   map[*function]int // of compiled functions, in code
	sink    int               // the row that nobody reads
}

// Predicates 0 and 1 are always true and a place for what nobody reads.
const (
	predTrue = iota
	predSink
	predFirst
)

// compile makes a program of an entry. It panics with a *LoadError.
func compile(f *function) *program {
	c := &compiler{
		prog: &program{fn: f, preds: predFirst},
		rows: map[uint64]int{}, special: map[string]int{}, addrs: map[*variable]int{}, start: map[*function]int{},
	}
	c.sink = c.newRow()
	fns := reachable(f, nil, nil)
	for _, fn := range fns {
		for _, r := range fn.regs {
			r.slot = -1 // another entry's program may have used the function
		}
	}
	c.layout(fns)
	for _, fn := range fns {
		c.function(fn)
	}
	for i := range c.prog.code {
		if in := &c.prog.code[i]; in.kind == instCall {
			in.target = int32(c.start[callee(in.from)])
		}
	}
	return c.prog
}

// reachable lists f and what it calls, f first. Recursion is refused, because
// registers and local memory are laid out once.
func reachable(f *function, path, list []*function) []*function {
	if slices.Contains(path, f) {
		panic(&LoadError{Line: f.line, Reason: "recursion in " + f.name})
	}
	if f.declared {
		panic(&LoadError{Line: f.line, Reason: "function " + f.name + " has no body"})
	}
	if len(path) > 64 {
		panic(&LoadError{Line: f.line, Reason: "calls deeper than 64"})
	}
	if slices.Contains(list, f) {
		return list // with what it calls
	}
	list = append(list, f)
	for _, in := range f.body {
		if in.op == "call" {
			list = reachable(callee(in), append(path, f), list)
		}
	}
	return list
}

// callee is the function that a call names.
func callee(in *instr) *function {
	for _, a := range in.args {
		if a.kind == argFunc {
			return a.fn
		}
	}
	panic(&LoadError{Line: in.line, Reason: "call of no known function"})
}

// layout gives every variable of the functions its address: static shared
// memory, then the dynamic part that all extern arrays share; local memory and
// the parameters of calls; the kernel's parameters.
func (c *compiler) layout(fns []*function) {
	place := func(total *int, v *variable) {
		if _, ok := c.addrs[v]; ok {
			return
		}
		*total = (*total + v.align - 1) &^ (v.align - 1)
		c.addrs[v] = *total
		if *total += v.size; *total > maxVariable {
			panic(&LoadError{Line: v.line, Reason: "too much memory for " + v.name})
		}
	}
	var dynamic []*variable
	for i, fn := range fns {
		params := 0
		for _, v := range fn.params {
			if i == 0 {
				place(&params, v)
			} else {
				place(&c.prog.local, v)
			}
		}
		for _, v := range slices.Concat(fn.rets, fn.vars) {
			if v.space == spaceShared {
				place(&c.prog.shared, v)
			} else {
				place(&c.prog.local, v)
			}
		}
		eachVariable(fn, func(v *variable) {
			if v.space == spaceShared && v.extern {
				dynamic = append(dynamic, v)
			} else if v.space == spaceShared {
				place(&c.prog.shared, v)
			}
		})
	}
	align := 16
	for _, v := range dynamic {
		align = max(align, v.align)
	}
	if len(dynamic) > 0 {
		c.prog.shared = (c.prog.shared + align - 1) &^ (align - 1)
	}
	for _, v := range dynamic {
		c.addrs[v] = c.prog.shared
	}
	c.prog.local = (c.prog.local + 15) &^ 15
	if c.prog.shared > maxStatic {
		panic(&LoadError{Line: fns[0].line, Reason: fmt.Sprintf("%d bytes of static shared memory; at most %d", c.prog.shared, maxStatic)})
	}
}

func eachVariable(fn *function, do func(*variable)) {
	var walk func(args []operand)
	walk = func(args []operand) {
		for _, a := range args {
			if a.kind == argVar {
				do(a.sym)
			}
			walk(a.sub)
		}
	}
	for _, in := range fn.body {
		walk(in.args)
	}
}

// function appends a function's code.
func (c *compiler) function(fn *function) {
	c.start[fn] = len(c.prog.code)
	at := make([]int, len(fn.body)+1)
	for i, in := range fn.body {
		at[i] = len(c.prog.code)
		c.instruction(fn, in)
	}
	at[len(fn.body)] = len(c.prog.code)
	end := &instr{op: "ret", line: fn.line} // a body may end without
	c.prog.code = append(c.prog.code, inst{kind: instReturn, pred: -1, from: end})
	place := func(l *label) int32 { return int32(at[l.at]) }
	for i := c.start[fn]; i < len(c.prog.code); i++ {
		switch in := &c.prog.code[i]; in.kind {
		case instBranch:
			in.target = place(in.from.args[0].label)
		case instTable:
			for _, l := range in.from.args[1].label.table {
				in.table = append(in.table, place(l))
			}
		}
	}
}

// instruction appends one instruction's code: one inst, or for a call one to
// enter and one to fetch what was returned.
func (c *compiler) instruction(fn *function, in *instr) {
	x := inst{pred: -1, from: in, negated: in.negated}
	if in.pred != nil {
		x.pred = int32(c.pred(in.pred))
	}
	k := &comp{compiler: c, in: in, mods: slices.Clone(in.mods), inst: &x}
	build := opcodes[in.op]
	if build == nil {
		k.fail("unknown opcode")
	}
	x.do = build(k)
	if len(k.mods) > 0 {
		k.fail("unknown modifier .%s", k.mods[0])
	}
	c.prog.code = append(c.prog.code, x)
	if in.op == "call" {
		c.prog.code = append(c.prog.code, inst{do: k.fetch(), pred: x.pred, negated: x.negated, from: in})
	}
}

func (c *compiler) newRow() int {
	c.prog.rows++
	return c.prog.rows - 1
}

func (c *compiler) pred(r *register) int {
	if r.slot < 0 {
		r.slot = c.prog.preds
		c.prog.preds++
	}
	return r.slot
}

func (c *compiler) row(r *register) int {
	if r.slot < 0 {
		r.slot = c.newRow()
	}
	return r.slot
}

// constant is the row that holds v in every lane.
func (c *compiler) constant(v uint64) int {
	row, ok := c.rows[v]
	if !ok {
		row = c.newRow()
		c.rows[v] = row
		c.prog.consts = append(c.prog.consts, constRow{row, v})
	}
	return row
}

// paramBytes is the size of the kernel's parameters.
func (p *program) paramBytes() int {
	n := 0
	for _, v := range p.fn.params {
		n = (n+v.align-1)&^(v.align-1) + v.size
	}
	return n
}
