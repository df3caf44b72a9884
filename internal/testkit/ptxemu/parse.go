package ptxemu

import (
	"fmt"
	"strings"
)

// A source is parsed PTX.
type source struct {
	vars  []*variable // global, const and extern shared
	funcs []*function
}

// parser walks the tokens once. Names live in scopes, because inline assembly
// declares registers and labels in braces.
type parser struct {
	toks []token
	pos  int
	src  source

	fn     *function
	scopes []*scope
	depth  int // of what is being read
	loc    int // CUDA source line of the last .loc
}

type scope struct {
	regs   map[string]*register // by full name
	family map[string]family    // %r<14>: by stem
	vars   map[string]*variable
	funcs  map[string]*function
	labels map[string]*label
}

type family struct {
	typ typ
	n   int
}

func newScope() *scope {
	return &scope{map[string]*register{}, map[string]family{}, map[string]*variable{}, map[string]*function{}, map[string]*label{}}
}

// parse reads a whole module.
func parse(text string) (src *source, err error) {
	toks, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{toks: toks, scopes: []*scope{newScope()}}
	defer catch(&err)
	for p.pos < len(p.toks) {
		p.module()
	}
	return &p.src, nil
}

// catch turns the parser's and compiler's panics with a LoadError into err.
func catch(err *error) {
	switch e := recover().(type) {
	case nil:
	case *LoadError:
		*err = e
	default:
		panic(e)
	}
}

func (p *parser) fail(format string, args ...any) {
	line := 0
	if n := len(p.toks); n > 0 {
		line = p.toks[min(p.pos, n-1)].line
	}
	panic(&LoadError{Line: line, Reason: fmt.Sprintf(format, args...)})
}

// maxDepth bounds how deep blocks, operands and initial values lie in each other.
const maxDepth = 64

// deeper is called on entry to whatever can nest; its result on exit.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxDepth {
		p.fail("nested deeper than %d", maxDepth)
	}
	return func() { p.depth-- }
}

// peek is the text of the next token, "" at the end.
func (p *parser) peek() string {
	if p.pos < len(p.toks) {
		return p.toks[p.pos].text
	}
	return ""
}

func (p *parser) next() string {
	if p.pos >= len(p.toks) {
		p.fail("unexpected end")
	}
	p.pos++
	return p.toks[p.pos-1].text
}

func (p *parser) accept(text string) bool {
	if p.peek() != text {
		return false
	}
	p.pos++
	return true
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.fail("%q where %q should be", p.peek(), text)
	}
}

// skipLine drops the rest of a line: .loc and .file have no other end.
func (p *parser) skipLine() {
	line := p.toks[p.pos-1].line
	for p.pos < len(p.toks) && p.toks[p.pos].line == line {
		p.pos++
	}
}

// skipBraces drops a { … } group and what is before it: debug sections.
func (p *parser) skipBraces() {
	for !p.accept("{") {
		p.next()
	}
	for depth := 1; depth > 0; {
		switch p.next() {
		case "{":
			depth++
		case "}":
			depth--
		}
	}
}

// module reads one directive of the module level.
func (p *parser) module() {
	switch d := p.next(); d {
	case ".version", ".address_size":
		p.next()
	case ".target":
		p.skipLine()
	case ".file", ".loc":
		p.skipLine()
	case ".section":
		p.skipBraces()
	case ".pragma", ".alias":
		for p.next() != ";" {
		}
	case ".extern", ".visible", ".weak", ".common":
		// Linkage of the next declaration: nothing links here but .extern.
		p.declaration(d == ".extern")
	case ".global", ".const", ".shared", ".func", ".entry":
		p.pos--
		p.declaration(false)
	default:
		p.pos--
		p.fail("unknown directive %q", d)
	}
}

func (p *parser) declaration(extern bool) {
	switch d := p.next(); d {
	case ".global", ".const", ".shared":
		v := p.variable(spaces[d[1:]])
		v.extern = extern
		p.expect(";")
		p.src.vars = append(p.src.vars, v)
	case ".func":
		p.function(false)
	case ".entry":
		p.function(true)
	default:
		p.pos--
		p.fail("unknown directive %q", d)
	}
}

// variable reads a declaration after its space: alignment, type, name, length,
// initialiser.
func (p *parser) variable(sp space) *variable {
	v := &variable{space: sp, line: p.toks[p.pos-1].line}
	count, elem := 1, typ{}
	for {
		d := p.next()
		switch t, ok := types[strings.TrimPrefix(d, ".")]; {
		case d == ".align":
			v.align = p.size()
		case d == ".ptr" || d == ".global" || d == ".const" || d == ".shared" || d == ".local":
			// what a parameter points to: said, not used
		case d == ".attribute":
			for p.next() != ")" {
			}
		case d == ".v2":
			count = 2
		case d == ".v4":
			count = 4
		case ok && strings.HasPrefix(d, "."):
			elem = t
		case strings.HasPrefix(d, "."):
			p.pos--
			p.fail("unknown %q in a declaration", d)
		default:
			v.name = d
			p.extent(v, elem, count)
			return v
		}
	}
}

// extent finishes a declaration behind its name.
func (p *parser) extent(v *variable, elem typ, count int) {
	if elem.bits < 8 {
		p.fail("%s has no type that memory can hold", v.name)
	}
	for p.accept("[") {
		n := 0
		if p.peek() != "]" {
			n = p.size()
		}
		p.expect("]")
		count *= n
		if count*elem.bytes() > maxVariable {
			p.fail("%s is larger than %d bytes", v.name, maxVariable)
		}
	}
	v.size = count * elem.bytes()
	v.align = max(v.align, elem.bytes())
	if v.align&(v.align-1) != 0 || v.align > 1<<12 {
		p.fail("alignment %d of %s", v.align, v.name)
	}
	if p.accept("=") {
		p.initialiser(v, elem)
	}
	p.declare(v)
}

// maxVariable bounds one declaration, in bytes.
const maxVariable = 64 << 20

func (p *parser) declare(v *variable) {
	s := p.scopes[len(p.scopes)-1]
	if s.vars[v.name] != nil {
		p.fail("%s is declared twice", v.name)
	}
	s.vars[v.name] = v
}

// initialiser appends to a variable's initial values.
func (p *parser) initialiser(v *variable, elem typ) {
	defer p.deeper()()
	if p.accept("{") {
		for !p.accept("}") {
			p.initialiser(v, elem)
			if !p.accept(",") && p.peek() != "}" {
				p.fail("%q in initial values", p.peek())
			}
		}
		return
	}
	at, size := len(v.init), elem.bytes()
	if at+size > v.size {
		p.fail("too many initial values for %s", v.name)
	}
	v.init = append(v.init, make([]byte, size)...)
	word := p.peek()
	if s := p.lookup(word); s != nil || word == "generic" {
		if p.accept("generic") {
			p.expect("(")
			s = p.lookup(p.peek())
			p.next()
			p.expect(")")
		} else {
			p.next()
		}
		if s == nil || elem.bits != 64 {
			p.fail("initial value of %s is no address", v.name)
		}
		v.relocs = append(v.relocs, reloc{at: at, sym: s, off: p.offset()})
		return
	}
	x := p.immediate()
	bits := x.imm
	if elem.float() {
		bits = floatBits(x, elem)
	}
	for i := range size {
		v.init[at+i] = byte(bits >> (8 * i))
	}
}

// lookup finds a variable by name, innermost scope first.
func (p *parser) lookup(name string) *variable {
	for i := len(p.scopes) - 1; i >= 0; i-- {
		if v := p.scopes[i].vars[name]; v != nil {
			return v
		}
	}
	return nil
}

// size reads a small non-negative integer.
func (p *parser) size() int {
	x := p.immediate()
	if x.float != 0 || x.imm > maxVariable {
		p.fail("size out of range")
	}
	return int(x.imm)
}
