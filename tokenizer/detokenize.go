package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// replacement is U+FFFD, which stands for what is not UTF-8.
const replacement = "\uFFFD"

// AppendPiece appends the bytes of one token to dst. A special token gives its
// text, an ID outside the vocabulary nothing.
func (t *Tokenizer) AppendPiece(dst []byte, id int32) []byte {
	if !t.valid(id) {
		return dst
	}
	return append(dst, t.pieces[id]...)
}

// Decode returns the text of ids as valid UTF-8, with the texts of control
// tokens if special is set. It equals what a Detokenizer gives for the same
// IDs one at a time.
func (t *Tokenizer) Decode(ids []int32, special bool) string {
	d := Detokenizer{tokenizer: t, special: special}
	var out []byte
	for _, id := range ids {
		out = d.Append(out, id)
	}
	return string(d.Flush(out))
}

// Detokenizer turns token IDs, one after the other, into text that is valid
// UTF-8 at every point. It holds back at most three bytes: the beginning of a
// rune whose rest has not come. What cannot become a rune is replaced by
// U+FFFD, one for each maximal subpart (Unicode 3.9, "substitution of maximal
// subparts"; as Python's errors='replace' and Rust's from_utf8_lossy do), so
// the whole is what replacing in the whole text would give.
//
// It belongs to one goroutine. The zero value is not usable.
type Detokenizer struct {
	tokenizer *Tokenizer
	special   bool
	begun     bool // there was text: a space is a space
	held      [utf8.UTFMax]byte
	lenHeld   int
}

// leadingRule says what decoding does with spaces before the first text.
type leadingRule uint8

const (
	leadingKept  leadingRule = iota
	leadingOne               // the first is left out (Strip of huggingface/tokenizers, SentencePiece)
	leadingEach              // one of each token is (SentencePiece that removes extra whitespace)
	leadingToken             // all of the first token's are (Metaspace of huggingface/tokenizers)
)

// NewDetokenizer returns a Detokenizer for one sequence. With special set,
// control tokens give their text; else they give nothing. The sequence begins a
// text: the space that encoding puts before a text in some vocabularies is left
// out. For one that goes on after other text, call Continue first.
func (t *Tokenizer) NewDetokenizer(special bool) *Detokenizer {
	return &Detokenizer{tokenizer: t, special: special}
}

// Continue says that text came before the sequence, so that a leading space
// belongs to it.
func (d *Detokenizer) Continue() { d.begun = true }

// Append appends to dst the text that token id completes.
func (d *Detokenizer) Append(dst []byte, id int32) []byte {
	t := d.tokenizer
	if !t.valid(id) || t.kinds[id] == kindControl && !d.special {
		return dst
	}
	piece := t.pieces[id]
	if !d.begun && t.leading != leadingKept {
		piece = d.trimLeading(piece)
	}
	return d.AppendBytes(dst, piece)
}

// trimLeading takes from the first pieces what the rule leaves out.
func (d *Detokenizer) trimLeading(piece string) string {
	rest := piece
	switch d.tokenizer.leading {
	case leadingToken:
		rest = strings.ReplaceAll(piece, " ", "")
		d.begun = true
	case leadingOne:
		rest = strings.TrimPrefix(piece, " ")
		d.begun = d.begun || len(piece) > 0
	case leadingEach:
		rest = strings.TrimPrefix(piece, " ")
		d.begun = d.begun || len(rest) > 0
	}
	return rest
}

// AppendBytes is Append for the bytes of a token.
func (d *Detokenizer) AppendBytes(dst []byte, piece string) []byte {
	for i := 0; i < len(piece); {
		if d.lenHeld > 0 {
			if continues(d.held[:d.lenHeld], piece[i]) {
				d.held[d.lenHeld] = piece[i]
				d.lenHeld++
				i++
				if d.lenHeld == runeLen(d.held[0]) {
					dst = append(dst, d.held[:d.lenHeld]...)
					d.lenHeld = 0
				}
				continue
			}
			dst = append(dst, replacement...)
			d.lenHeld = 0
		}
		b := piece[i]
		switch n := runeLen(b); n {
		case 1:
			dst = append(dst, b)
			i++
		case 0:
			dst = append(dst, replacement...)
			i++
		default:
			if len(piece)-i >= n && utf8.ValidString(piece[i:i+n]) {
				dst = append(dst, piece[i:i+n]...)
				i += n
				continue
			}
			d.held[0] = b
			d.lenHeld = 1
			i++
		}
	}
	return dst
}

// Flush appends what was held back, which nothing can complete any more, as
// one U+FFFD, and makes d ready for another text.
func (d *Detokenizer) Flush(dst []byte) []byte {
	d.begun = false
	if d.lenHeld > 0 {
		d.lenHeld = 0
		dst = append(dst, replacement...)
	}
	return dst
}

// Held returns the number of bytes that Append holds back: 0 to 3.
func (d *Detokenizer) Held() int { return d.lenHeld }

// runeLen returns the length of the UTF-8 sequence that b begins; 0 if b can
// begin none.
func runeLen(b byte) int {
	switch {
	case b < 0x80:
		return 1
	case b >= 0xc2 && b <= 0xdf:
		return 2
	case b >= 0xe0 && b <= 0xef:
		return 3
	case b >= 0xf0 && b <= 0xf4:
		return 4
	}
	return 0
}

// continues reports whether b can follow the beginning of a sequence
// (Unicode 3.9, table 3-7).
func continues(held []byte, b byte) bool {
	if len(held) == 1 {
		switch held[0] {
		case 0xe0:
			return b >= 0xa0 && b <= 0xbf
		case 0xed:
			return b >= 0x80 && b <= 0x9f
		case 0xf0:
			return b >= 0x90 && b <= 0xbf
		case 0xf4:
			return b >= 0x80 && b <= 0x8f
		}
	}
	return b >= 0x80 && b <= 0xbf
}
