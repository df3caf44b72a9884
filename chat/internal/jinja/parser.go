package jinja

import (
	"fmt"
	"slices"
)

// Limits on a template's source.
const (
	maxSource = 256 << 10 // bytes; the longest in use have some 20 KiB
	// maxHeight bounds how deep expressions and statements nest, and with
	// Limits.Depth the stack of a render.
	maxHeight = 160
)

// Template is a parsed template, immutable and safe for use by any number of
// goroutines.
type Template struct{ body []stmt }

type parser struct {
	tokens []token
	at     int
	height int
	loops  int    // loops around what is being parsed, within its macro
	macro  *macro // being parsed; nil at the top
}

// Parse compiles a template. The error is an *Error with the line.
func Parse(src string) (t *Template, err error) {
	if len(src) > maxSource {
		return nil, &Error{Message: fmt.Sprintf("source has %d bytes, limit %d", len(src), maxSource)}
	}
	tokens, err := lex(src)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case abort:
			t, err = nil, e.err
		default:
			panic(e)
		}
	}()
	body, _ := p.block()
	return &Template{body}, nil
}

func (p *parser) fail(format string, a ...any) {
	panic(abort{&Error{Line: p.peek().line, Message: fmt.Sprintf(format, a...)}})
}

// deeper is called on entry to whatever can nest; its result on exit.
func (p *parser) deeper() func() {
	if p.height++; p.height > maxHeight {
		p.fail("nested deeper than %d", maxHeight)
	}
	return func() { p.height-- }
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokEOF {
		p.at++
	}
	return t
}

func (p *parser) isOp(op string) bool {
	t := p.peek()
	return t.kind == tokOp && t.text == op
}

func (p *parser) isName(names ...string) bool {
	t := p.peek()
	return t.kind == tokName && slices.Contains(names, t.text)
}

func (p *parser) takeOp(op string) bool {
	if p.isOp(op) {
		p.at++
		return true
	}
	return false
}

func (p *parser) takeName(name string) bool {
	if p.isName(name) {
		p.at++
		return true
	}
	return false
}

func (p *parser) wantOp(op string) {
	if !p.takeOp(op) {
		p.fail("expected %q, got %s", op, p.peek().describe())
	}
}

func (p *parser) wantName() string {
	if t := p.next(); t.kind == tokName {
		return t.text
	}
	p.at--
	p.fail("expected a name, got %s", p.peek().describe())
	return ""
}

func (p *parser) wantEnd() {
	if p.next().kind != tokBlockEnd {
		p.at--
		p.fail("expected the end of the tag, got %s", p.peek().describe())
	}
}

func (t token) describe() string {
	switch t.kind {
	case tokEOF:
		return "the end of the template"
	case tokVarEnd, tokBlockEnd:
		return "the end of the tag"
	case tokString:
		return "a string"
	}
	return fmt.Sprintf("%q", t.text)
}

// block reads statements up to a tag with one of the end names, whose name it
// has consumed and returns; without end names, up to the end of the template.
func (p *parser) block(ends ...string) (body []stmt, end string) {
	defer p.deeper()()
	for {
		t := p.next()
		switch t.kind {
		case tokEOF:
			if len(ends) > 0 {
				p.fail("expected %q before the end of the template", ends[0])
			}
			return body, ""
		case tokData:
			body = append(body, &textStmt{Trusted(t.text)})
		case tokVarBegin:
			e := p.tuple(true)
			if p.next().kind != tokVarEnd {
				p.at--
				p.fail("expected the end of the expression, got %s", p.peek().describe())
			}
			body = append(body, &printStmt{t.line, e})
		case tokBlockBegin:
			if p.isName(ends...) {
				return body, p.next().text
			}
			body = p.statement(body)
		}
	}
}

// bodyUntil is block for one end name, with the end of its tag.
func (p *parser) bodyUntil(end string) []stmt {
	body, _ := p.block(end)
	p.wantEnd()
	return body
}

func (p *parser) statement(body []stmt) []stmt {
	line := p.peek().line
	switch name := p.wantName(); name {
	case "if":
		return append(body, p.ifBlock())
	case "for":
		return append(body, p.forBlock(line))
	case "set":
		return append(body, p.set(line))
	case "macro":
		m := &macro{line: line, name: p.wantName()}
		p.signature(m)
		p.wantEnd()
		p.macroBody(m, "endmacro")
		return append(body, &macroStmt{m})
	case "call":
		return append(body, p.callBlock(line))
	case "filter":
		f := p.blockFilters()
		p.wantEnd()
		return append(body, &filterStmt{f, p.bodyUntil("endfilter")})
	case "with":
		return append(body, p.with(line))
	case "generation":
		p.wantEnd()
		return append(body, &withStmt{line: line, body: p.bodyUntil("endgeneration")})
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s outside of a loop", name)
		}
		p.wantEnd()
		if name == "break" {
			return append(body, &flowStmt{breakLoop})
		}
		return append(body, &flowStmt{nextRound})
	default:
		p.at--
		p.fail("unknown or unsupported tag %q", name)
		return nil
	}
}

func (p *parser) ifBlock() stmt {
	s := &ifStmt{}
	for end := "elif"; end == "elif"; {
		s.conds = append(s.conds, p.tuple(false))
		p.wantEnd()
		var body []stmt
		body, end = p.block("elif", "else", "endif")
		s.bodies = append(s.bodies, body)
		if end == "else" {
			p.wantEnd()
			body, _ = p.block("endif")
			s.bodies = append(s.bodies, body)
		}
	}
	p.wantEnd()
	return s
}

func (p *parser) forBlock(line int) stmt {
	s := &forStmt{line: line, target: p.target(false)}
	if !p.takeName("in") {
		p.fail("expected \"in\", got %s", p.peek().describe())
	}
	s.iter = p.tuple(false)
	if p.takeName("if") {
		s.cond = p.expression(true)
	}
	if p.isName("recursive") {
		p.fail("recursive loops are not supported")
	}
	p.wantEnd()
	p.loops++
	var end string
	s.body, end = p.block("else", "endfor")
	p.loops--
	if end == "else" {
		p.wantEnd()
		s.orElse, _ = p.block("endfor")
	}
	p.wantEnd()
	return s
}

// target reads what is assigned to: names, and if allowed namespace attributes.
func (p *parser) target(attrs bool) target {
	defer p.deeper()()
	var targets []target
	comma := false
	for {
		var t target
		if p.takeOp("(") {
			t = p.target(attrs)
			p.wantOp(")")
		} else {
			if p.isName("true", "True", "false", "False", "none", "None") {
				p.fail("cannot assign to %q", p.peek().text)
			}
			t.name = p.wantName()
			if attrs && p.takeOp(".") {
				t.attr = p.wantName()
			}
		}
		targets = append(targets, t)
		if !p.takeOp(",") {
			break
		}
		comma = true
		if p.isName("in") || p.isOp("=") || p.isOp(")") {
			break
		}
	}
	if !comma {
		return targets[0]
	}
	return target{tuple: targets}
}

func (p *parser) set(line int) stmt {
	t := p.target(true)
	if p.takeOp("=") {
		s := &setStmt{line, t, p.tuple(true)}
		p.wantEnd()
		return s
	}
	s := &setBlock{line: line, target: t}
	if p.takeOp("|") {
		s.filter = p.blockFilters()
	}
	p.wantEnd()
	s.body = p.bodyUntil("endset")
	return s
}

func (p *parser) with(line int) stmt {
	s := &withStmt{line: line}
	for p.peek().kind != tokBlockEnd {
		if len(s.targets) > 0 {
			p.wantOp(",")
		}
		s.targets = append(s.targets, target{name: p.wantName()})
		p.wantOp("=")
		s.values = append(s.values, p.expression(true))
	}
	p.wantEnd()
	s.body = p.bodyUntil("endwith")
	return s
}

// signature reads a macro's parameters in parentheses.
func (p *parser) signature(m *macro) {
	p.wantOp("(")
	for !p.isOp(")") {
		if len(m.params) > 0 {
			p.wantOp(",")
		}
		m.params = append(m.params, p.wantName())
		if p.takeOp("=") {
			m.defaults = append(m.defaults, p.expression(true))
		} else if len(m.defaults) > 0 {
			p.fail("parameter without a default after one with")
		}
	}
	p.wantOp(")")
}

func (p *parser) macroBody(m *macro, end string) {
	outer, loops := p.macro, p.loops
	p.macro, p.loops = m, 0
	m.body = p.bodyUntil(end)
	p.macro, p.loops = outer, loops
	if outer != nil {
		// Names of an inner macro may mean the outer one's.
		outer.usesCaller = outer.usesCaller || m.usesCaller
		outer.usesVarargs = outer.usesVarargs || m.usesVarargs
		outer.usesKwargs = outer.usesKwargs || m.usesKwargs
	}
}

func (p *parser) callBlock(line int) stmt {
	caller := &macro{line: line, name: "caller"}
	if p.isOp("(") {
		p.signature(caller)
	}
	call, ok := p.expression(true).(*callExpr)
	if !ok {
		p.fail("expected a call")
	}
	p.wantEnd()
	p.macroBody(caller, "endcall")
	return &callStmt{line, call, caller}
}
