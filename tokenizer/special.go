package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// maxSpecialBytes bounds the text of a special token, and with it the cost of
// looking for one at each byte of a text.
const maxSpecialBytes = 256

// addedToken is a token that is looked for in a text before anything else is
// done with it.
type addedToken struct {
	text string
	id   int32
	// The token takes the whitespace before it, or after it, with it.
	stripLeft, stripRight bool
	// The token counts only where no word character touches it.
	word bool
}

// specialSet finds added tokens in a text. A nil set finds none.
type specialSet struct {
	first  [256]bool // bytes that begin a token
	keys   *trie
	tokens []addedToken
	strips bool // some token has one of the flags
}

// newSpecialSet returns nil if there are no tokens. where names their place in
// the file, for errors.
func newSpecialSet(tokens []addedToken, where string) (*specialSet, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	s := &specialSet{tokens: tokens}
	keys := make([]string, len(tokens))
	for i, token := range tokens {
		if len(token.text) > maxSpecialBytes {
			return nil, fmt.Errorf("%w: %s[%d] is a special token of %d bytes, limit %d", ErrVocabulary, where, token.id, len(token.text), maxSpecialBytes)
		}
		keys[i] = token.text
		s.first[token.text[0]] = true
		s.strips = s.strips || token.stripLeft || token.stripRight || token.word
	}
	s.keys = newTrie(keys)
	return s, nil
}

// find returns the first token in text[from:to], the longest where several
// begin at one byte: its ID and its bounds in text. start is to if there is
// none. Whitespace that the token strips, which may lie outside from and to but
// not before done, is within the bounds.
func (s *specialSet) find(text string, done, from, to int) (id int32, start, end int) {
	if s == nil {
		return -1, to, to
	}
	for ; from < to; from++ {
		if !s.first[text[from]] {
			continue
		}
		found := int32(-1)
		node := int32(0)
		for i := from; i < to; i++ {
			if node = s.keys.child(node, text[i]); node < 0 {
				break
			}
			if s.keys.value[node] >= 0 {
				found, end = s.keys.value[node], i+1
			}
		}
		if found < 0 {
			continue
		}
		token := &s.tokens[found]
		if !s.strips {
			return token.id, from, end
		}
		if token.word && (endsInWord(text[:from]) || beginsInWord(text[end:])) {
			from = end - 1
			continue
		}
		start = from
		if token.stripLeft {
			start = done + len(trimRightSpace(text[done:from]))
		}
		if token.stripRight {
			end = skip(text, end, space)
		}
		return token.id, start, end
	}
	return -1, to, to
}

func trimRightSpace(s string) string {
	for len(s) > 0 {
		_, n := utf8.DecodeLastRuneInString(s)
		if c, _ := classAt(s, len(s)-n); c&space == 0 {
			break
		}
		s = s[:len(s)-n]
	}
	return s
}

func endsInWord(s string) bool {
	_, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && beginsInWord(s[len(s)-n:])
}

func beginsInWord(s string) bool {
	if s == "" {
		return false
	}
	r, _ := utf8.DecodeRuneInString(s)
	return isWord(r)
}
