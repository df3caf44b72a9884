package tokenizer

import (
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// spaceMark is U+2581, which SentencePiece writes for a space.
const spaceMark = "▁"

// A step normalises: it appends what text becomes to dst. If changed is false,
// text stays as it is and what dst holds does not matter. first says that
// nothing came before text.
type step func(dst []byte, text string, first bool) (out []byte, changed bool)

// stepBuffers is the working memory of steps: the text that one has made is
// read by the next.
type stepBuffers struct{ last, next []byte }

var stepPool = sync.Pool{New: func() any { return new(stepBuffers) }}

// keepStepBytes bounds what the pool keeps of each buffer.
const keepStepBytes = 1 << 16

func (b *stepBuffers) free() {
	if cap(b.last) <= keepStepBytes && cap(b.next) <= keepStepBytes {
		stepPool.Put(b)
	}
}

// run returns what the steps make of text. It is valid until b is used again or
// freed.
func (b *stepBuffers) run(steps []step, text string, first bool) string {
	for _, s := range steps {
		out, changed := s(b.next[:0], text, first)
		b.next = out
		if changed {
			text = unsafe.String(unsafe.SliceData(out), len(out))
			b.last, b.next = b.next, b.last
		}
	}
	return text
}

func nfcStep(dst []byte, text string, _ bool) ([]byte, bool) {
	if normalNFC(text) {
		return dst, false
	}
	return appendNFC(dst, text), true
}

// replaceStep replaces every old, which is not empty.
func replaceStep(old, with string) step {
	return func(dst []byte, text string, _ bool) ([]byte, bool) {
		if !strings.Contains(text, old) {
			return dst, false
		}
		for {
			before, after, found := strings.Cut(text, old)
			dst = append(dst, before...)
			if !found {
				return dst, true
			}
			dst = append(dst, with...)
			text = after
		}
	}
}

// prependStep puts prefix before any text that is not empty.
func prependStep(prefix string) step {
	return func(dst []byte, text string, _ bool) ([]byte, bool) {
		if text == "" {
			return dst, false
		}
		return append(append(dst, prefix...), text...), true
	}
}

// stripStep takes whitespace off the ends.
func stripStep(left, right bool) step {
	return func(dst []byte, text string, _ bool) ([]byte, bool) {
		if left {
			text = text[skip(text, 0, space):]
		}
		if right {
			text = trimRightSpace(text)
		}
		return append(dst, text...), true
	}
}

// squeezeStep replaces every run of two spaces or more.
func squeezeStep(with string) step {
	return func(dst []byte, text string, _ bool) ([]byte, bool) {
		if !strings.Contains(text, "  ") {
			return dst, false
		}
		for i := 0; i < len(text); {
			end := i
			for end < len(text) && text[end] == ' ' {
				end++
			}
			switch {
			case end-i >= 2:
				dst = append(dst, with...)
				i = end
			default:
				dst = append(dst, text[i])
				i++
			}
		}
		return dst, true
	}
}

// prefixRule says where a space mark goes before a text that has none there.
type prefixRule uint8

const (
	prefixNever  prefixRule = iota
	prefixFirst             // where nothing came before the text
	prefixAlways            // everywhere
)

// metaspaceStep does what Metaspace of huggingface/tokenizers does: it marks
// spaces.
func metaspaceStep(prefix prefixRule) step {
	return func(dst []byte, text string, first bool) ([]byte, bool) {
		if prefix == prefixAlways || prefix == prefixFirst && first {
			if text != "" && text[0] != ' ' && !strings.HasPrefix(text, spaceMark) {
				dst = append(dst, spaceMark...)
			}
		}
		return appendMarked(dst, text), true
	}
}

// sentenceStep does what SentencePiece's normaliser does without a character
// map (google/sentencepiece, src/normalizer.cc, Normalize). With prefix a space
// mark goes before every text; with squeeze, runs of spaces become one and none
// is left at the ends.
func sentenceStep(prefix, squeeze bool) step {
	return func(dst []byte, text string, _ bool) ([]byte, bool) {
		if squeeze {
			text = strings.TrimLeft(text, " ")
		}
		if text == "" {
			return dst, true
		}
		if prefix {
			dst = append(dst, spaceMark...)
		}
		if !squeeze {
			return appendMarked(dst, text), true
		}
		for i := 0; i < len(text); i++ {
			switch {
			case text[i] != ' ':
				dst = append(dst, text[i])
			case text[i-1] != ' ': // i > 0: text begins with no space
				dst = append(dst, spaceMark...)
			}
		}
		for strings.HasSuffix(unsafe.String(unsafe.SliceData(dst), len(dst)), spaceMark) {
			dst = dst[:len(dst)-len(spaceMark)]
		}
		return dst, true
	}
}

// appendMarked appends text with its spaces marked.
func appendMarked(dst []byte, text string) []byte {
	for {
		at := strings.IndexByte(text, ' ')
		if at < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:at]...)
		dst = append(dst, spaceMark...)
		text = text[at+1:]
	}
}

// nextMark returns the scanner that cuts before every space mark.
func nextMark(s string) int { return nextBefore(s, spaceMark) }

// nextBefore returns where the next sep after the start of s begins.
func nextBefore(s, sep string) int {
	_, n := utf8.DecodeRuneInString(s)
	if at := strings.Index(s[n:], sep); at >= 0 {
		return n + at
	}
	return len(s)
}

// nextAfter returns where the first sep of s ends.
func nextAfter(s, sep string) int {
	if at := strings.Index(s, sep); at >= 0 {
		return at + len(sep)
	}
	return len(s)
}

// nextAround returns the end of the sep that begins s, or else where one
// begins.
func nextAround(s, sep string) int {
	switch at := strings.Index(s, sep); {
	case at == 0:
		return len(sep)
	case at > 0:
		return at
	}
	return len(s)
}

// nextDigits returns the scanner of Digits of huggingface/tokenizers: digits
// are cut from what is none, and one from the other if each.
func nextDigits(each bool) scanner {
	return func(s string) int {
		c, end := classAt(s, 0)
		digit := c&(number|newLater) != 0
		for (!digit || !each) && end < len(s) {
			c, n := classAt(s, end)
			if c&(number|newLater) != 0 != digit {
				break
			}
			end += n
		}
		return end
	}
}
