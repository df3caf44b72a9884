package tokenizer

import "strings"

// Span is a piece of a text. Special tokens are recognised in it unless it is
// Plain, as everything is that a client wrote.
type Span struct {
	Text  string
	Plain bool
}

// Encode appends the tokens of user text to dst and returns the extended
// slice. The text of a special token in it is plain text. It adds no BOS.
func (t *Tokenizer) Encode(dst []int32, text string) []int32 {
	for len(text) > 0 {
		n := t.family.next(text)
		dst = t.appendWord(dst, text[:n])
		text = text[n:]
	}
	return dst
}

// EncodeTemplate is Encode for text that a template or an operator wrote: the
// texts of special tokens (control and user-defined ones) become those tokens,
// the leftmost first, the longest where several begin at one byte.
func (t *Tokenizer) EncodeTemplate(dst []int32, text string) []int32 {
	dst, done := t.appendSpecials(dst, text, 0, 0, len(text))
	return t.Encode(dst, text[done:])
}

// EncodeSpans is EncodeTemplate for a text made of spans, as if they were one
// string, but a special token is recognised only where it lies wholly in
// neighbouring spans that are not Plain. Plain text therefore never becomes, or
// becomes part of, a special token.
func (t *Tokenizer) EncodeSpans(dst []int32, spans []Span) []int32 {
	text := joinSpans(spans)
	done, from := 0, 0
	for i := 0; i < len(spans); {
		to, plain := from, spans[i].Plain
		for i < len(spans) && spans[i].Plain == plain {
			to += len(spans[i].Text)
			i++
		}
		if !plain {
			dst, done = t.appendSpecials(dst, text, done, from, to)
		}
		from = to
	}
	return t.Encode(dst, text[done:])
}

func joinSpans(spans []Span) string {
	if len(spans) == 1 {
		return spans[0].Text
	}
	size := 0
	for i := range spans {
		size += len(spans[i].Text)
	}
	var b strings.Builder
	b.Grow(size)
	for i := range spans {
		b.WriteString(spans[i].Text)
	}
	return b.String()
}

// appendSpecials appends the special tokens of text[from:to] and what lies
// before each, beginning with text[done:from], which is plain. It returns where
// the last special token ended; done if there was none.
func (t *Tokenizer) appendSpecials(dst []int32, text string, done, from, to int) ([]int32, int) {
	for from < to {
		id, start, end := t.special.find(text, from, to)
		if id < 0 {
			break
		}
		dst = t.Encode(dst, text[done:start])
		dst = append(dst, id)
		done, from = end, end
	}
	return dst, done
}
