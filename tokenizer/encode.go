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
	seen := t.newText()
	defer t.seen.Put(seen)
	return t.appendText(dst, text, true, seen)
}

// EncodeTemplate is Encode for text that a template or an operator wrote: the
// texts of special tokens (control and user-defined ones) become those tokens,
// the leftmost first, the longest where several begin at one byte.
func (t *Tokenizer) EncodeTemplate(dst []int32, text string) []int32 {
	seen := t.newText()
	defer t.seen.Put(seen)
	dst, done := t.appendSpecials(dst, text, 0, 0, len(text), true, seen)
	return t.appendText(dst, text[done:], done == 0, seen)
}

// EncodeSpans is EncodeTemplate for a text made of spans, as if they were one
// string, but a special token is recognised only where it lies wholly in
// neighbouring spans that are not Plain. Plain text therefore never becomes, or
// becomes part of, a special token.
func (t *Tokenizer) EncodeSpans(dst []int32, spans []Span) []int32 {
	return t.encodeSpans(dst, spans, true)
}

// EncodeSpansAfter is EncodeSpans for spans that go on after other text: what
// some vocabularies put before a text does not come before them.
func (t *Tokenizer) EncodeSpansAfter(dst []int32, spans []Span) []int32 {
	return t.encodeSpans(dst, spans, false)
}

func (t *Tokenizer) encodeSpans(dst []int32, spans []Span, first bool) []int32 {
	seen := t.newText()
	defer t.seen.Put(seen)
	text := joinSpans(spans)
	done, from := 0, 0
	for i := 0; i < len(spans); {
		to, plain := from, spans[i].Plain
		for i < len(spans) && spans[i].Plain == plain {
			to += len(spans[i].Text)
			i++
		}
		if !plain {
			dst, done = t.appendSpecials(dst, text, done, from, to, first, seen)
		}
		from = to
	}
	return t.appendText(dst, text[done:], first && done == 0, seen)
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
// the last special token ended; done if there was none. Whitespace that a
// special token strips may be plain. first says that nothing came before text.
func (t *Tokenizer) appendSpecials(dst []int32, text string, done, from, to int, first bool, seen *seenWords) ([]int32, int) {
	for from < to {
		id, start, end := t.special.find(text, done, from, to)
		if id < 0 {
			break
		}
		dst = t.appendText(dst, text[done:start], first && done == 0, seen)
		dst = append(dst, id)
		done, from = end, end
	}
	return dst, done
}

// appendText appends the tokens of a text that holds no special token. first
// says that nothing came before it.
func (t *Tokenizer) appendText(dst []int32, text string, first bool, seen *seenWords) []int32 {
	for done := 0; done < len(text); {
		id, start, end := t.added.find(text, done, done, len(text))
		dst = t.appendNormal(dst, text[done:start], first && done == 0, seen)
		if id >= 0 {
			dst = append(dst, id)
		}
		done = max(start, end)
	}
	return dst
}

// appendNormal normalises a text, and takes out the tokens that it holds then.
func (t *Tokenizer) appendNormal(dst []int32, text string, first bool, seen *seenWords) []int32 {
	if len(t.steps) > 0 && text != "" {
		b := stepPool.Get().(*stepBuffers)
		defer b.free()
		text = b.run(t.steps, text, first)
	}
	if t.inner == nil {
		return t.appendWords(dst, text, first, seen)
	}
	for done := 0; done < len(text); {
		id, start, end := t.inner.find(text, done, done, len(text))
		dst = t.appendWords(dst, text[done:start], first && done == 0, seen)
		if id >= 0 {
			dst = append(dst, id)
		}
		done = max(start, end)
	}
	return dst
}

// appendWords cuts a normal text into words.
func (t *Tokenizer) appendWords(dst []int32, text string, first bool, seen *seenWords) []int32 {
	if len(t.wordSteps) > 0 && text != "" {
		b := stepPool.Get().(*stepBuffers)
		defer b.free()
		text = b.run(t.wordSteps, text, first)
	}
	return t.cut(dst, text, t.cuts, seen)
}

// cut cuts text with the first scanner, each piece with the next, and so on.
func (t *Tokenizer) cut(dst []int32, text string, cuts []scanner, seen *seenWords) []int32 {
	if len(cuts) == 0 {
		if text == "" {
			return dst
		}
		return t.appendWord(dst, text, seen)
	}
	next, cuts := cuts[0], cuts[1:]
	for len(text) > 0 {
		n := next(text)
		if len(cuts) == 0 {
			dst = t.appendWord(dst, text[:n], seen)
		} else {
			dst = t.cut(dst, text[:n], cuts, seen)
		}
		text = text[n:]
	}
	return dst
}
