package ptxemu

import (
	"math"
	"strconv"
	"strings"
)

// function reads .func or .entry: return values, name, parameters, launch
// bounds, body.
func (p *parser) function(entry bool) {
	f := &function{entry: entry, line: p.toks[p.pos-1].line}
	p.scopes = append(p.scopes, newScope())
	if p.peek() == "(" {
		f.rets = p.params(false)
	}
	f.name = p.next()
	if p.peek() == "(" {
		f.params = p.params(entry)
	}
	p.fn = f
	p.bounds(f)
	if p.accept(";") {
		f.declared = true
	} else {
		p.expect("{")
		p.block()
		p.resolve()
	}
	p.scopes = p.scopes[:len(p.scopes)-1]
	p.fn = nil
	top := p.scopes[0].funcs
	if old := top[f.name]; old == nil {
		p.src.funcs = append(p.src.funcs, f)
		top[f.name] = f
	} else if old.declared {
		*old = *f // calls so far point at the declaration
	} else if !f.declared {
		p.fail("%s is defined twice", f.name)
	}
}

func (p *parser) params(kernel bool) []*variable {
	var list []*variable
	p.expect("(")
	for !p.accept(")") {
		p.expect(".param")
		v := p.variable(spaceParam)
		v.kernel = kernel
		list = append(list, v)
		if !p.accept(",") && p.peek() != ")" {
			p.fail("%q among parameters", p.peek())
		}
	}
	return list
}

// bounds reads the directives between a signature and its body.
func (p *parser) bounds(f *function) {
	for {
		switch p.peek() {
		case ".maxntid":
			p.next()
			f.maxThread = p.triple()
		case ".reqntid":
			p.next()
			f.reqThread = p.triple()
		case ".minnctapersm", ".maxnreg", ".maxnctapersm":
			p.next()
			p.size()
		case ".noreturn":
			p.next()
		case ".pragma":
			for p.next() != ";" {
			}
		default:
			return
		}
	}
}

func (p *parser) triple() Dim3 {
	d := Dim3{1, 1, 1}
	for i, at := range []*int{&d.X, &d.Y, &d.Z} {
		if i > 0 && !p.accept(",") {
			break
		}
		*at = p.size()
	}
	return d
}

// block reads statements up to the closing brace, in a scope of their own.
func (p *parser) block() {
	defer p.deeper()()
	p.scopes = append(p.scopes, newScope())
	for !p.accept("}") {
		p.statement()
	}
	p.closeLabels(p.scopes[len(p.scopes)-1])
	p.scopes = p.scopes[:len(p.scopes)-1]
}

// closeLabels hands labels that a scope used and did not place to the scope
// around it: a branch may leave the braces of inline assembly.
func (p *parser) closeLabels(s *scope) {
	outer := p.scopes[len(p.scopes)-2]
	for name, l := range s.labels {
		if l.at >= 0 || l.table != nil {
			continue
		}
		if o := outer.labels[name]; o == nil {
			outer.labels[name] = l
		} else {
			l.outer = o
		}
	}
}

// resolve checks that every label of the body got a place.
func (p *parser) resolve() {
	for _, in := range p.fn.body {
		for i := range in.args {
			a := &in.args[i]
			if a.kind != argLabel {
				continue
			}
			if a.label = follow(a.label); a.label.table == nil {
				p.placed(a.label)
				continue
			}
			for k, l := range a.label.table {
				a.label.table[k] = follow(l)
				p.placed(a.label.table[k])
			}
		}
	}
}

func follow(l *label) *label {
	for l.outer != nil {
		l = l.outer
	}
	return l
}

func (p *parser) placed(l *label) {
	if l.at < 0 {
		panic(&LoadError{Line: l.line, Reason: "no label " + l.name})
	}
}

func (p *parser) statement() {
	word := p.next()
	switch {
	case word == "{":
		p.block()
	case word == ";":
	case word == ".reg":
		p.registers()
	case word == ".local" || word == ".shared" || word == ".param":
		v := p.variable(spaces[word[1:]])
		p.fn.vars = append(p.fn.vars, v)
		p.expect(";")
	case word == ".loc":
		if f, err := strconv.Atoi(p.next()); err == nil && f >= 0 {
			p.loc, _ = strconv.Atoi(p.peek())
		}
		p.skipLine()
	case word == ".pragma":
		for p.next() != ";" {
		}
	case word == "@":
		in := &instr{negated: p.accept("!"), line: p.toks[p.pos-1].line}
		g := p.operand()
		if g.kind != argReg || g.reg.typ.kind != kindPred {
			p.fail("guard is no predicate")
		}
		in.pred = g.reg
		p.instruction(in, p.next())
	case p.peek() == ":":
		p.next()
		p.place(word)
	case strings.HasPrefix(word, "."):
		p.pos--
		p.fail("unknown directive %q", word)
	default:
		p.instruction(&instr{line: p.toks[p.pos-1].line}, word)
	}
}

// place puts a label before the next instruction, or reads a table of labels.
func (p *parser) place(name string) {
	l := p.label(name)
	if l.at >= 0 || l.table != nil {
		p.fail("label %s is placed twice", name)
	}
	if !p.accept(".branchtargets") {
		l.at = len(p.fn.body)
		return
	}
	for {
		l.table = append(l.table, p.label(p.next()))
		if !p.accept(",") {
			break
		}
	}
	p.expect(";")
}

// label is the label of this name in the innermost scope; closeLabels moves it
// outwards if it is not placed there.
func (p *parser) label(name string) *label {
	for i := len(p.scopes) - 1; i >= 0; i-- {
		if l := p.scopes[i].labels[name]; l != nil && (l.at >= 0 || l.table != nil || i == len(p.scopes)-1) {
			return l
		}
	}
	l := &label{name: name, at: -1, line: p.toks[p.pos-1].line}
	p.scopes[len(p.scopes)-1].labels[name] = l
	return l
}

func (p *parser) registers() {
	t, ok := types[strings.TrimPrefix(p.next(), ".")]
	if !ok {
		p.pos--
		p.fail("register of type %q", p.peek())
	}
	s := p.scopes[len(p.scopes)-1]
	for {
		name := p.next()
		if p.accept("<") {
			n := p.size()
			if n > maxRegisters {
				p.fail("%d registers; at most %d", n, maxRegisters)
			}
			s.family[name] = family{t, n}
			p.expect(">")
		} else {
			s.regs[name] = p.newRegister(name, t)
		}
		if !p.accept(",") {
			break
		}
	}
	p.expect(";")
}

// maxRegisters bounds one .reg declaration.
const maxRegisters = 1 << 20

func (p *parser) newRegister(name string, t typ) *register {
	r := &register{name: name, typ: t, slot: -1}
	p.fn.regs = append(p.fn.regs, r)
	return r
}

// register finds a register by name, innermost scope first, or returns nil.
func (p *parser) register(name string) *register {
	stem := strings.TrimRight(name, "0123456789")
	for i := len(p.scopes) - 1; i >= 0; i-- {
		s := p.scopes[i]
		if r := s.regs[name]; r != nil {
			return r
		}
		if f, ok := s.family[stem]; ok && len(stem) < len(name) {
			if n, err := strconv.Atoi(name[len(stem):]); err == nil && n < f.n {
				s.regs[name] = p.newRegister(name, f.typ)
				return s.regs[name]
			}
		}
	}
	return nil
}

// instruction reads operands up to the semicolon.
func (p *parser) instruction(in *instr, word string) {
	parts := strings.Split(word, ".")
	in.op, in.mods, in.source = parts[0], parts[1:], p.loc
	for !p.accept(";") {
		in.args = append(in.args, p.operand())
		if !p.accept(",") && p.peek() != ";" {
			p.fail("%q after an operand of %s", p.peek(), word)
		}
	}
	if p.fn.body = append(p.fn.body, in); len(p.fn.body) > maxInstructions {
		p.fail("more than %d instructions in %s", maxInstructions, p.fn.name)
	}
}

// maxInstructions bounds a function's body.
const maxInstructions = 1 << 20

func (p *parser) operand() operand {
	defer p.deeper()()
	switch word := p.peek(); {
	case word == "{":
		return operand{kind: argVec, sub: p.list("{", "}")}
	case word == "(":
		return operand{kind: argList, sub: p.list("(", ")")}
	case word == "[":
		p.next()
		base := p.operand()
		a := operand{kind: argAddr, sub: []operand{base}, off: base.off + p.offset()}
		p.expect("]")
		return a
	case word == "!":
		p.next()
		a := p.operand()
		a.negated = true
		return a
	case word == "-" || word != "" && word[0] >= '0' && word[0] <= '9' && !p.toks[p.pos].str:
		return p.immediate()
	case word == "_":
		p.next()
		return operand{kind: argSink}
	}
	a := p.named(p.next())
	if p.accept("|") {
		return operand{kind: argPair, sub: []operand{a, p.operand()}}
	}
	if a.kind == argVar {
		a.off = p.offset()
	}
	return a
}

func (p *parser) list(open, end string) []operand {
	var sub []operand
	p.expect(open)
	for !p.accept(end) {
		sub = append(sub, p.operand())
		if !p.accept(",") && p.peek() != end {
			p.fail("%q in a list of operands", p.peek())
		}
		if len(sub) > 256 {
			p.fail("more than 256 operands in a list")
		}
	}
	return sub
}

// offset reads an optional "+ n" or "- n".
func (p *parser) offset() int64 {
	switch {
	case p.accept("+"):
		return int64(p.immediate().imm)
	case p.peek() == "-":
		return int64(p.immediate().imm)
	}
	return 0
}

// named is an operand that a name stands for.
func (p *parser) named(name string) operand {
	if r := p.register(name); r != nil {
		return operand{kind: argReg, reg: r}
	}
	if strings.HasPrefix(name, "%") || name == "WARP_SZ" {
		return operand{kind: argSpecial, name: name}
	}
	if v := p.lookup(name); v != nil {
		return operand{kind: argVar, sym: v}
	}
	if f := p.scopes[0].funcs[name]; f != nil {
		return operand{kind: argFunc, fn: f}
	}
	return operand{kind: argLabel, label: p.label(name)}
}

// immediate reads a number: decimal, hexadecimal, octal, binary, with a U
// suffix or a minus, 0f and 0d bit patterns, or decimal with a point.
func (p *parser) immediate() operand {
	minus := p.accept("-")
	text := p.next()
	sign := func(x uint64) uint64 {
		if minus {
			return -x
		}
		return x
	}
	low := strings.ToLower(text)
	if len(low) == 10 && strings.HasPrefix(low, "0f") {
		if x, err := strconv.ParseUint(low[2:], 16, 32); err == nil {
			if minus {
				x ^= 1 << 31
			}
			return operand{kind: argImm, imm: x, float: 32}
		}
	}
	if len(low) == 18 && strings.HasPrefix(low, "0d") {
		if x, err := strconv.ParseUint(low[2:], 16, 64); err == nil {
			if minus {
				x ^= 1 << 63
			}
			return operand{kind: argImm, imm: x, float: 64}
		}
	}
	if x, err := strconv.ParseUint(strings.TrimSuffix(low, "u"), 0, 64); err == nil {
		return operand{kind: argImm, imm: sign(x)}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		p.pos--
		p.fail("%q is no number", text)
	}
	if minus {
		f = -f
	}
	return operand{kind: argImm, imm: math.Float64bits(f), float: 64}
}

// floatBits is the literal x in the format t: as written where the widths
// agree, else converted.
func floatBits(x operand, t typ) uint64 {
	var f float64
	switch x.float {
	case t.bits:
		return x.imm
	case 0:
		return x.imm & t.mask() // bits, as for f16 constants
	case 32:
		f = float64(math.Float32frombits(uint32(x.imm)))
	default:
		f = math.Float64frombits(x.imm)
	}
	return encode(t, f, roundNearest)
}
