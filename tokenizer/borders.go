package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Classes of runes to borders: an ASCII rune that is a token is its own class.
const (
	markClass  = utf8.RuneSelf + iota // spaceMark
	otherClass                        // all else: other alphabets, runes without a token
	classNumber
)

// borders knows between which runes no merge reaches, because no word has them
// beside each other. Vocabularies of runes have no pre-tokenizer, so that a text
// is one word to the model; cut there, it becomes many short ones, most of which
// have been seen before, and the same tokens.
type borders struct {
	ascii  [utf8.RuneSelf]uint8
	joined [classNumber][classNumber]bool
}

// newBorders works out the borders of a vocabulary of runes.
func (t *Tokenizer) newBorders() *borders {
	b := new(borders)
	for r := range b.ascii {
		b.ascii[r] = otherClass
		if id, ok := t.runes[rune(r)]; ok && int(id) < len(t.pieces) {
			b.ascii[r] = uint8(r)
		}
	}
	// A run of runes without a token may become one token.
	b.joined[otherClass][otherClass] = true
	for word := range t.words {
		last, at := b.class(word, 0)
		for at < len(word) {
			c, n := b.class(word, at)
			b.joined[last][c] = true
			last = c
			at += n
		}
	}
	return b
}

// next is the scanner that cuts at the borders.
func (b *borders) next(s string) int {
	last, at := b.class(s, 0)
	for at < len(s) {
		c, n := b.class(s, at)
		if !b.joined[last][c] {
			break
		}
		last = c
		at += n
	}
	return at
}

// class returns the class and the length in bytes of the rune at s[i:].
func (b *borders) class(s string, i int) (class uint8, n int) {
	if s[i] < utf8.RuneSelf {
		return b.ascii[s[i]], 1
	}
	if strings.HasPrefix(s[i:], spaceMark) {
		return markClass, len(spaceMark)
	}
	_, n = utf8.DecodeRuneInString(s[i:])
	return otherClass, n
}
