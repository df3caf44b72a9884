package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokData
	tokVarBegin
	tokVarEnd
	tokBlockBegin
	tokBlockEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
)

type token struct {
	kind tokenKind
	text string // a string's is unescaped
	line int
}

// lexer cuts a template into tokens, with white space control done. The rules
// are those of Jinja's lexer under trim_blocks and lstrip_blocks.
type lexer struct {
	src    string
	at     int
	line   int
	tokens []token
	// lineStart: what was just read ended a line.
	lineStart bool
}

func lex(src string) (tokens []token, err error) {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	src = strings.ReplaceAll(src, "\r", "\n")
	src = strings.TrimSuffix(src, "\n")
	l := &lexer{src: src, line: 1, lineStart: true}
	for l.at < len(l.src) {
		if err := l.root(); err != nil {
			return nil, err
		}
	}
	l.add(tokEOF, "")
	return l.tokens, nil
}

func (l *lexer) add(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind, text, l.line})
}

func (l *lexer) errorf(format string, a ...any) error {
	return &Error{Line: l.line, Message: fmt.Sprintf(format, a...)}
}

// advance moves n bytes on.
func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.at:l.at+n], "\n")
	l.at += n
}

// root reads text up to the next tag, and the tag.
func (l *lexer) root() error {
	rest := l.src[l.at:]
	at := 0
	for {
		n := strings.IndexByte(rest[at:], '{')
		if n < 0 || at+n+1 >= len(rest) {
			l.add(tokData, rest)
			l.advance(len(rest))
			return nil
		}
		at += n
		if c := rest[at+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		at++
	}
	kind := rest[at+1]
	text := rest[:at]
	open := 2
	sign := byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
		open = 3
	}
	if text := l.leftTrim(text, sign, kind); text != "" {
		l.add(tokData, text)
	}
	l.advance(at + open)
	switch kind {
	case '#':
		return l.comment()
	case '{':
		l.add(tokVarBegin, "")
		return l.expression(tokVarEnd, "}}")
	}
	if n, ok := rawTag(l.src[l.at:]); ok {
		l.advance(n)
		return l.raw()
	}
	l.add(tokBlockBegin, "")
	return l.expression(tokBlockEnd, "%}")
}

// leftTrim returns the text before a tag of the given kind and sign without
// the white space that belongs to the tag.
func (l *lexer) leftTrim(text string, sign, kind byte) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, isSpace)
	}
	if sign == '+' || kind == '{' {
		return text
	}
	begin := strings.LastIndexByte(text, '\n') + 1
	if begin == 0 && !l.lineStart || begin == len(text) {
		return text
	}
	if strings.TrimLeftFunc(text[begin:], isSpace) == "" {
		return text[:begin]
	}
	return text
}

// tagEnd returns the length of the end of a tag that stands at s: the closer
// with its sign and the white space that it takes; 0 if none stands there.
func tagEnd(s, closer string, trimNewline bool) int {
	if n := len(closer) + 1; len(s) >= n && s[1:n] == closer {
		if s[0] == '-' {
			return len(s) - len(strings.TrimLeftFunc(s[n:], isSpace))
		}
		if s[0] == '+' && trimNewline {
			return n
		}
	}
	if strings.HasPrefix(s, closer) {
		n := len(closer)
		if trimNewline && len(s) > n && s[n] == '\n' {
			n++
		}
		return n
	}
	return 0
}

// close moves past a tag's end of n bytes.
func (l *lexer) close(n int) {
	l.advance(n)
	l.lineStart = l.src[l.at-1] == '\n'
}

func (l *lexer) comment() error {
	begin := l.line
	for l.at < len(l.src) {
		if n := tagEnd(l.src[l.at:], "#}", true); n > 0 {
			l.close(n)
			return nil
		}
		l.advance(1)
	}
	l.line = begin
	return l.errorf("comment is not closed")
}

// rawTag returns the length of the rest of a raw tag, after "{%".
func rawTag(s string) (int, bool) {
	rest := strings.TrimLeftFunc(s, isSpace)
	if !strings.HasPrefix(rest, "raw") {
		return 0, false
	}
	rest = strings.TrimLeftFunc(rest[3:], isSpace)
	n := tagEnd(rest, "%}", false)
	return len(s) - len(rest) + n, n > 0
}

// raw reads text up to the endraw tag.
func (l *lexer) raw() error {
	begin := l.line
	l.lineStart = l.src[l.at-1] == '\n'
	for at := l.at; ; at++ {
		n := strings.Index(l.src[at:], "{%")
		if n < 0 {
			l.line = begin
			return l.errorf("raw block is not closed")
		}
		at += n
		open := at + 2
		sign := byte(0)
		if open < len(l.src) && (l.src[open] == '-' || l.src[open] == '+') {
			sign = l.src[open]
			open++
		}
		rest := strings.TrimLeftFunc(l.src[open:], isSpace)
		if !strings.HasPrefix(rest, "endraw") {
			continue
		}
		rest = strings.TrimLeftFunc(rest[len("endraw"):], isSpace)
		end := tagEnd(rest, "%}", true)
		if end == 0 {
			continue
		}
		if text := l.leftTrim(l.src[l.at:at], sign, '%'); text != "" {
			l.add(tokData, text)
		}
		l.close(len(l.src) - len(rest) + end - l.at)
		return nil
	}
}

// maxName bounds a name in bytes: each time that it is met it is looked up, in one
// scope after the other.
const maxName = 256

// operators, longest first.
var operators = []string{
	"//", "**", "==", "!=", ">=", "<=",
	"+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
}

var closers = map[string]byte{"(": ')', "[": ']', "{": '}'}

// expression reads tokens up to the end of the tag.
func (l *lexer) expression(end tokenKind, closer string) error {
	var open []byte // brackets that are not closed yet
	begin := l.line
	for l.at < len(l.src) {
		s := l.src[l.at:]
		if len(open) == 0 {
			if n := tagEnd(s, closer, end == tokBlockEnd); n > 0 {
				l.add(end, "")
				l.close(n)
				return nil
			}
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case isSpace(r):
			l.advance(size)
		case r == '\'' || r == '"':
			if err := l.str(s, byte(r)); err != nil {
				return err
			}
		case r >= '0' && r <= '9':
			l.number(s)
		case r == '_' || unicode.IsLetter(r):
			n := len(s) - len(strings.TrimLeftFunc(s, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }))
			if n > maxName {
				return l.errorf("a name has %d bytes, limit %d", n, maxName)
			}
			l.add(tokName, s[:n])
			l.advance(n)
		default:
			op := ""
			for _, o := range operators {
				if strings.HasPrefix(s, o) {
					op = o
					break
				}
			}
			switch op {
			case "":
				return l.errorf("unexpected character %q", r)
			case "(", "[", "{":
				open = append(open, closers[op])
			case ")", "]", "}":
				if len(open) == 0 || open[len(open)-1] != op[0] {
					return l.errorf("unexpected %q", op)
				}
				open = open[:len(open)-1]
			}
			l.add(tokOp, op)
			l.advance(len(op))
		}
	}
	l.line = begin
	return l.errorf("tag is not closed by %q", closer)
}

// number reads an integer or a float.
func (l *lexer) number(s string) {
	digits := func(at int) int {
		for at < len(s) && (s[at] >= '0' && s[at] <= '9' || s[at] == '_') {
			at++
		}
		return at
	}
	kind := tokInt
	n := digits(0)
	if s[0] == '0' && len(s) > 1 && strings.IndexByte("xXoObB", s[1]) >= 0 {
		n = 2
		for n < len(s) && strings.IndexByte("0123456789abcdefABCDEF_", s[n]) >= 0 {
			n++
		}
	} else {
		if n+1 < len(s) && s[n] == '.' && s[n+1] >= '0' && s[n+1] <= '9' {
			kind = tokFloat
			n = digits(n + 1)
		}
		if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
			at := n + 1
			if at < len(s) && (s[at] == '+' || s[at] == '-') {
				at++
			}
			if end := digits(at); end > at {
				kind, n = tokFloat, end
			}
		}
	}
	l.add(kind, strings.ReplaceAll(s[:n], "_", ""))
	l.advance(n)
}
