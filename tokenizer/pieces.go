package tokenizer

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPieceBytes bounds a piece that the model makes of runes or by ranks: each
// of its cuts is looked up, and a text may be compared with it at each byte.
const maxPieceBytes = 256

// vocabulary is what a file says of its tokens, by ID. Where names the place in
// the file, for errors.
type vocabulary struct {
	where  string
	tokens []string
	kinds  []tokenKind
	// model says which tokens the model makes of text.
	model []bool
}

func (v *vocabulary) errorf(id int, format string, args ...any) error {
	return fmt.Errorf("%w: %s[%d] = %q %s", ErrVocabulary, v.where, id, v.tokens[id], fmt.Sprintf(format, args...))
}

// byteOf returns the byte that a byte token, "<0x0A>", stands for.
func byteOf(token string) (b byte, ok bool) {
	const digits = "0123456789ABCDEF"
	if len(token) != 6 || token[:3] != "<0x" || token[5] != '>' {
		return 0, false
	}
	high, low := strings.IndexByte(digits, token[3]), strings.IndexByte(digits, token[4])
	return byte(high<<4 | low), high >= 0 && low >= 0
}

// loadRunes fills t from a vocabulary whose symbols are runes. Spaces in it are
// spelled as space marks.
func (t *Tokenizer) loadRunes(v *vocabulary) error {
	t.pieces = make([]string, len(v.tokens))
	t.kinds = v.kinds
	t.canonical = make([]uint32, len(v.tokens))
	t.words = make(map[string]int32, len(v.tokens))
	t.runes = map[rune]int32{}
	t.specials = map[string]int32{}
	for b := range t.byteToken {
		t.byteToken[b] = -1
	}
	for id, token := range v.tokens {
		if token == "" {
			continue // padding: stands for nothing, is never produced
		}
		first, ok := t.ID(token)
		if !ok {
			first, ok = t.words[token] // ID marks spaces; a file may have them as they are
		}
		if ok {
			return v.errorf(id, "repeats %d", first)
		}
		if err := t.loadPiece(v, id); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tokenizer) loadPiece(v *vocabulary, id int) error {
	token := v.tokens[id]
	t.pieces[id] = strings.ReplaceAll(token, spaceMark, " ")
	switch v.kinds[id] {
	case kindControl:
		t.pieces[id] = token
		t.specials[token] = int32(id)
	case kindUserDefined:
		t.specials[token] = int32(id)
	case kindByte:
		b, ok := byteOf(token)
		if !ok || t.byteToken[b] >= 0 {
			return v.errorf(id, "is a byte token, want each of <0x00> to <0xFF> once")
		}
		t.byteToken[b] = int32(id)
		t.pieces[id] = string([]byte{b})
	}
	if !v.model[id] {
		return nil
	}
	if len(token) > maxPieceBytes || !utf8.ValidString(token) {
		return v.errorf(id, "is not UTF-8 of at most %d bytes", maxPieceBytes)
	}
	t.words[token] = int32(id)
	t.longestWord = max(t.longestWord, len(token))
	if r, n := utf8.DecodeRuneInString(token); n == len(token) {
		t.runes[r] = int32(id)
	}
	return nil
}

// allBytes reports whether every byte has a token.
func (t *Tokenizer) allBytes() bool {
	for _, id := range t.byteToken {
		if id < 0 {
			return false
		}
	}
	return true
}

// merge is one entry of a mergeTable.
type merge struct {
	left, right int32
	rank        uint32
	id          int32
}

// spelled is a word and its token. head is its first eight bytes, the first one
// on top, by which most words are in order already.
type spelled struct {
	head uint64
	word string
	id   int32
}

func headOf(word string) uint64 {
	var b [8]byte
	copy(b[:], word)
	return binary.BigEndian.Uint64(b[:])
}

// mergePieces makes the merges of a vocabulary that has none of its own: two
// symbols merge if what they spell is a word, in the order of ranks, by ID. This
// is how SentencePiece and tiktoken merge.
//
// Words are taken in ascending order, so that those which begin a word are the
// ones that are still open: only what follows them has to be looked up. A
// vocabulary of 2^18 words has about 10^6 such places.
func (t *Tokenizer) mergePieces(ranks []uint32) {
	sorted := make([]spelled, 0, len(t.words))
	for word, id := range t.words {
		sorted = append(sorted, spelled{headOf(word), word, id})
	}
	slices.SortFunc(sorted, func(a, b spelled) int {
		if order := cmp.Compare(a.head, b.head); order != 0 {
			return order
		}
		return strings.Compare(a.word, b.word)
	})
	all := make([]merge, 0, 2*len(sorted))
	var open []spelled // each begins the next one, and all begin the word at hand
	for _, w := range sorted {
		for len(open) > 0 && !strings.HasPrefix(w.word, open[len(open)-1].word) {
			open = open[:len(open)-1]
		}
		if first, ok := t.atomOf(w.word); ok {
			all = t.appendMerge(all, first, w, ranks)
		}
		for _, left := range open {
			all = t.appendMerge(all, left, w, ranks)
		}
		open = append(open, w)
	}
	t.merges = newMergeTable(len(all))
	for _, m := range all {
		t.merges.add(m.left, m.right, m.rank, m.id)
	}
}

// appendMerge appends the merge of left, which begins w, if what follows is a
// symbol.
func (t *Tokenizer) appendMerge(all []merge, left, w spelled, ranks []uint32) []merge {
	right, ok := t.symbolOf(w.word[len(left.word):])
	if !ok {
		return all
	}
	return append(all, merge{left.id, right, ranks[w.id], w.id})
}

// atomOf returns the rune that begins a longer word and is no word itself.
func (t *Tokenizer) atomOf(word string) (spelled, bool) {
	if t.runes == nil {
		return spelled{}, false
	}
	_, n := utf8.DecodeRuneInString(word)
	if n == len(word) {
		return spelled{}, false
	}
	if _, ok := t.words[word[:n]]; ok {
		return spelled{}, false
	}
	id, ok := t.symbolOf(word[:n])
	return spelled{word: word[:n], id: id}, ok
}

// symbolOf returns the symbol that is spelled so. A rune that only longer pieces
// have becomes one, which is no token.
func (t *Tokenizer) symbolOf(spelled string) (int32, bool) {
	if id, ok := t.words[spelled]; ok {
		return id, true
	}
	r, n := utf8.DecodeRuneInString(spelled)
	if t.runes == nil || n < len(spelled) {
		return 0, false
	}
	id, ok := t.runes[r]
	if !ok {
		id = int32(len(t.pieces) + len(t.atoms))
		t.runes[r] = id
		t.atoms = append(t.atoms, r)
	}
	return id, true
}
