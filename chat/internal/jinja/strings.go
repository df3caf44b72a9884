package jinja

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// str reads a string literal, with Python's escapes.
func (l *lexer) str(s string, quote byte) error {
	var b strings.Builder
	for at := 1; at < len(s); {
		c := s[at]
		if c == quote {
			l.add(tokString, b.String())
			l.advance(at + 1)
			return nil
		}
		if c != '\\' || at+1 == len(s) {
			b.WriteByte(c)
			at++
			continue
		}
		n, err := unescape(&b, s[at:])
		if err != "" {
			return l.errorf("%s", err)
		}
		at += n
	}
	return l.errorf("string is not closed")
}

// simpleEscapes are the escapes of one letter.
var simpleEscapes = map[byte]byte{
	'\\': '\\', '\'': '\'', '"': '"', 'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v',
}

// unescape appends what the escape at the start of s stands for and returns
// its length. An unknown escape stands for itself.
func unescape(b *strings.Builder, s string) (n int, problem string) {
	c := s[1]
	if e, ok := simpleEscapes[c]; ok {
		b.WriteByte(e)
		return 2, ""
	}
	hex := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	switch {
	case c == '\n':
		return 2, ""
	case hex > 0:
		if len(s) < 2+hex {
			return 0, "escape is cut short"
		}
		v, err := strconv.ParseUint(s[2:2+hex], 16, 32)
		if err != nil || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
			return 0, "invalid escape " + strconv.Quote(s[:2+hex])
		}
		b.WriteRune(rune(v))
		return 2 + hex, ""
	case c >= '0' && c <= '7':
		n = 1
		v := rune(0)
		for n < 4 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
			v = v*8 + rune(s[n]-'0')
			n++
		}
		b.WriteRune(v)
		return n, ""
	case c == 'N':
		return 0, `the escape \N is not supported`
	}
	b.WriteByte('\\')
	return 1, ""
}
