package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// The methods of this file read expressions, loosest binding first, in the
// order of Jinja's grammar: cond, or, and, not, comparison, + -, ~, * / // %,
// **, sign, primary with its postfixes, filters and tests.

// tuple reads an expression, or several with commas.
func (p *parser) tuple(cond bool) expr {
	var items []expr
	comma := false
	for !p.tupleEnd() {
		items = append(items, p.expression(cond))
		if !p.takeOp(",") {
			break
		}
		comma = true
	}
	switch {
	case comma:
		return &listExpr{isTuple, items}
	case len(items) == 0:
		p.fail("expected an expression, got %s", p.peek().describe())
	}
	return items[0]
}

func (p *parser) tupleEnd() bool {
	k := p.peek().kind
	return k == tokVarEnd || k == tokBlockEnd || p.isOp(")") || p.isName("recursive")
}

func (p *parser) expression(cond bool) expr {
	defer p.deeper()()
	e := p.or()
	for cond && p.takeName("if") {
		c := &condExpr{yes: e, cond: p.or()}
		if p.takeName("else") {
			c.no = p.expression(true)
		}
		e = c
	}
	return e
}

// chain counts the operators of a left-deep chain as nesting, which they are
// when the chain is evaluated.
func (p *parser) chain(first expr, again func(left expr) expr) expr {
	height := p.height
	for {
		next := again(first)
		if next == nil {
			p.height = height
			return first
		}
		first = next
		p.deeper()
	}
}

func (p *parser) or() expr {
	return p.chain(p.and(), func(left expr) expr {
		if !p.takeName("or") {
			return nil
		}
		return &logicExpr{true, left, p.and()}
	})
}

func (p *parser) and() expr {
	return p.chain(p.not(), func(left expr) expr {
		if !p.takeName("and") {
			return nil
		}
		return &logicExpr{false, left, p.not()}
	})
}

func (p *parser) not() expr {
	line := p.peek().line
	if p.takeName("not") {
		defer p.deeper()()
		return &unaryExpr{line, "not", p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	c := &compareExpr{line: p.peek().line, first: p.sum()}
	for {
		op := p.peek().text
		switch {
		case p.peek().kind == tokOp && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, op), p.isName("in"):
			p.at++
		case p.isName("not") && p.tokens[p.at+1].kind == tokName && p.tokens[p.at+1].text == "in":
			p.at += 2
			op = "not in"
		default:
			if len(c.ops) == 0 {
				return c.first
			}
			return c
		}
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, p.sum())
	}
}

func (p *parser) binary(operand func() expr, ops ...string) expr {
	return p.chain(operand(), func(left expr) expr {
		t := p.peek()
		if t.kind != tokOp || !slices.Contains(ops, t.text) {
			return nil
		}
		p.at++
		return &binaryExpr{t.line, t.text, left, operand()}
	})
}

func (p *parser) sum() expr { return p.binary(p.concat, "+", "-") }

func (p *parser) concat() expr {
	line := p.peek().line
	first := p.product()
	if !p.isOp("~") {
		return first
	}
	c := &concatExpr{line, []expr{first}}
	for p.takeOp("~") {
		c.parts = append(c.parts, p.product())
	}
	return c
}

func (p *parser) product() expr { return p.binary(p.power, "*", "/", "//", "%") }

func (p *parser) power() expr { return p.binary(func() expr { return p.unary(true) }, "**") }

func (p *parser) unary(withFilter bool) expr {
	defer p.deeper()()
	t := p.peek()
	var e expr
	if p.isOp("-") || p.isOp("+") {
		p.at++
		e = &unaryExpr{t.line, t.text, p.unary(false)}
	} else {
		e = p.primary()
	}
	e = p.postfix(e)
	if withFilter {
		e = p.filters(e)
	}
	return e
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tokName:
		switch t.text {
		case "true", "True":
			return &literal{true}
		case "false", "False":
			return &literal{false}
		case "none", "None":
			return &literal{None{}}
		}
		if m := p.macro; m != nil {
			m.usesCaller = m.usesCaller || t.text == "caller"
			m.usesVarargs = m.usesVarargs || t.text == "varargs"
			m.usesKwargs = m.usesKwargs || t.text == "kwargs"
		}
		return &nameExpr{t.line, t.text}
	case tokString:
		if p.peek().kind != tokString {
			return &literal{Trusted(t.text)}
		}
		var s strings.Builder
		s.WriteString(t.text)
		for p.peek().kind == tokString {
			s.WriteString(p.next().text)
		}
		return &literal{Trusted(s.String())}
	case tokInt:
		n, err := strconv.ParseInt(t.text, 0, 64)
		if err != nil {
			p.at--
			p.fail("integer %s is malformed or has more than 64 bits", t.text)
		}
		return &literal{n}
	case tokFloat:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.at--
			p.fail("number %s: %v", t.text, err)
		}
		return &literal{f}
	case tokOp:
		switch t.text {
		case "(":
			if p.takeOp(")") {
				return &listExpr{isTuple, nil}
			}
			e := p.tuple(true)
			p.wantOp(")")
			return e
		case "[":
			l := &listExpr{kind: isList}
			for !p.isOp("]") {
				if len(l.items) > 0 {
					p.wantOp(",")
					if p.isOp("]") {
						break
					}
				}
				l.items = append(l.items, p.expression(true))
			}
			p.wantOp("]")
			return l
		case "{":
			return p.dict(t.line)
		}
	}
	if t.kind != tokEOF {
		p.at--
	}
	p.fail("unexpected %s", t.describe())
	return nil
}

func (p *parser) dict(line int) expr {
	d := &dictExpr{line: line}
	for !p.isOp("}") {
		if len(d.keys) > 0 {
			p.wantOp(",")
			if p.isOp("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression(true))
		p.wantOp(":")
		d.values = append(d.values, p.expression(true))
	}
	p.wantOp("}")
	return d
}

// postfix reads attributes, subscripts and calls.
func (p *parser) postfix(e expr) expr {
	return p.chain(e, func(e expr) expr {
		line := p.peek().line
		switch {
		case p.takeOp("."):
			t := p.next()
			switch t.kind {
			case tokName:
				return &attrExpr{line, e, t.text}
			case tokInt:
				n, _ := strconv.ParseInt(t.text, 10, 64)
				return &itemExpr{line, e, &literal{n}}
			}
			p.at--
			p.fail("expected a name after the dot")
		case p.takeOp("["):
			return p.subscript(line, e)
		case p.isOp("("):
			return p.call(line, e)
		}
		return nil
	})
}

func (p *parser) subscript(line int, of expr) expr {
	part := func() expr {
		if p.isOp(":") || p.isOp("]") {
			return nil
		}
		return p.expression(true)
	}
	start := part()
	if !p.isOp(":") {
		if start == nil {
			p.fail("expected a subscript")
		}
		p.wantOp("]")
		return &itemExpr{line, of, start}
	}
	s := &sliceExpr{line: line, of: of, start: start}
	p.wantOp(":")
	s.stop = part()
	if p.takeOp(":") {
		s.step = part()
	}
	p.wantOp("]")
	return s
}

func (p *parser) call(line int, of expr) expr {
	args, kwargs := p.arguments()
	return &callExpr{line, of, args, kwargs}
}

func (p *parser) arguments() (args []expr, kwargs []kwarg) {
	p.wantOp("(")
	for !p.isOp(")") {
		if len(args)+len(kwargs) > 0 {
			p.wantOp(",")
			if p.isOp(")") {
				break
			}
		}
		if p.isOp("*") || p.isOp("**") {
			p.fail("star arguments are not supported")
		}
		if next := p.tokens[min(p.at+1, len(p.tokens)-1)]; p.peek().kind == tokName && next.kind == tokOp && next.text == "=" {
			name := p.wantName()
			p.at++
			kwargs = append(kwargs, kwarg{name, p.expression(true)})
			continue
		}
		if len(kwargs) > 0 {
			p.fail("positional argument after a keyword argument")
		}
		args = append(args, p.expression(true))
	}
	p.wantOp(")")
	return args, kwargs
}

// filters reads "|name(args)", "is name(args)" and calls of their results.
func (p *parser) filters(e expr) expr {
	return p.chain(e, func(e expr) expr {
		line := p.peek().line
		switch {
		case p.takeOp("|"):
			return p.filter(line, e, p.wantName())
		case p.takeName("is"):
			return p.test(line, e)
		case p.isOp("("):
			return p.call(line, e)
		}
		return nil
	})
}

// blockFilters reads the filters of a block: "name(args)|name(args)".
func (p *parser) blockFilters() *filterExpr {
	height := p.height
	f := p.filter(p.peek().line, nil, p.wantName())
	for p.takeOp("|") {
		p.deeper()
		f = p.filter(p.peek().line, f, p.wantName())
	}
	p.height = height
	return f
}

func (p *parser) filter(line int, of expr, name string) *filterExpr {
	f, ok := filters[name]
	if !ok {
		p.fail("unknown filter %q", name)
	}
	e := &filterExpr{line: line, of: of, name: name, filter: f}
	if p.isOp("(") {
		e.args, e.kwargs = p.arguments()
	}
	return e
}

func (p *parser) test(line int, of expr) expr {
	negated := p.takeName("not")
	name := p.wantName()
	f, ok := tests[name]
	if !ok {
		p.fail("unknown test %q", name)
	}
	e := &testExpr{line: line, of: of, name: name, test: f}
	t := p.peek()
	switch {
	case p.isOp("("):
		var kwargs []kwarg
		if e.args, kwargs = p.arguments(); len(kwargs) > 0 {
			p.fail("keyword arguments of tests are not supported")
		}
	case p.isName("else", "or", "and"):
	case p.isName("is"):
		p.fail("tests cannot be chained")
	case t.kind == tokName && !p.isName("if", "in", "not", "recursive"), t.kind == tokString, t.kind == tokInt, t.kind == tokFloat, p.isOp("["), p.isOp("{"):
		e.args = []expr{p.postfix(p.primary())}
	}
	if negated {
		return &unaryExpr{line, "not", e}
	}
	return e
}
