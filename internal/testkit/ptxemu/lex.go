package ptxemu

import "fmt"

// A token is a word (name, number, directive or dotted mnemonic), a string, or
// one punctuation character. line counts from 1.
type token struct {
	text string
	line int
	str  bool
}

// lex cuts PTX text into tokens. A word runs over letters, digits, _ $ % and
// dots, and over "::", so that a mnemonic with its modifiers is one token and a
// label's colon is not part of it. Directives end at the next dot: .reg.b16 is two.
func lex(text string) ([]token, error) {
	var toks []token
	line := 1
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r' || c == 0:
			i++
		case c == '/' && i+1 < len(text) && text[i+1] == '/':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(text) && text[i+1] == '*':
			start := line
			for i += 2; i < len(text) && !(text[i-1] == '*' && text[i] == '/'); i++ {
				if text[i] == '\n' {
					line++
				}
			}
			if i >= len(text) {
				return nil, &LoadError{Line: start, Reason: "comment without end"}
			}
			i++
		case c == '"':
			start := i + 1
			for i = start; i < len(text) && text[i] != '"' && text[i] != '\n'; i++ {
			}
			if i >= len(text) || text[i] != '"' {
				return nil, &LoadError{Line: line, Reason: "string without end"}
			}
			toks = append(toks, token{text: text[start:i], line: line, str: true})
			i++
		case isWord(c):
			start := i
			for i < len(text) && (isWord(text[i]) || isScope(text, i)) {
				if text[i] == '.' && i > start && c == '.' {
					break
				}
				if text[i] == ':' {
					i++
				}
				i++
			}
			toks = append(toks, token{text: text[start:i], line: line})
		case c > ' ' && c < 0x7f:
			toks = append(toks, token{text: text[i : i+1], line: line})
			i++
		default:
			return nil, &LoadError{Line: line, Reason: fmt.Sprintf("unexpected byte %#x", c)}
		}
	}
	return toks, nil
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '%' || c == '.'
}

// isScope reports whether a "::" starts at i, as in ld.global.L2::128B.
func isScope(text string, i int) bool {
	return text[i] == ':' && i+2 < len(text) && text[i+1] == ':' && isWord(text[i+2])
}
