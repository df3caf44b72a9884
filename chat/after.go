package chat

import (
	"strings"

	"github.com/holdfast-run/holdfast/chat/internal/jinja"
	"github.com/holdfast-run/holdfast/tokenizer"
)

// TokensAfter is Tokens for a conversation of which tokens exist: past are those
// of its beginning, which need not be what its text encodes to (what a model drew
// rarely has to be). Where the rendered text begins with past's text, only the
// rest is encoded, and keep is len(past). Else the prompt is that of Tokens, and
// keep is how many tokens it has in common with past. Either way the prompt
// begins with past[:keep].
//
// A special token of past counts only where the template wrote its text: what a
// client wrote is not taken for it.
func (t *Template) TokensAfter(tok *tokenizer.Tokenizer, in Input, past []int32) (ids []int32, keep int, err error) {
	text, err := t.render(in)
	if err != nil {
		return nil, 0, err
	}
	if at, ok := after(tok, text, past); ok {
		ids = append(make([]int32, 0, len(past)+(len(text.String())-at)/3+16), past...)
		return tok.EncodeSpansAfter(ids, spansFrom(text, at)), len(past), nil
	}
	if ids, err = t.Tokens(tok, in); err != nil {
		return nil, 0, err
	}
	for keep < min(len(ids), len(past)) && ids[keep] == past[keep] {
		keep++
	}
	return ids, keep, nil
}

// after returns where past's text ends in text, if text begins with it.
func after(tok *tokenizer.Tokenizer, text jinja.Text, past []int32) (at int, ok bool) {
	if len(past) == 0 {
		return 0, false // nothing to go on from
	}
	whole := text.String()
	if bos, _ := tok.BOS(); tok.AddBOS() && past[0] == bos && !strings.HasPrefix(whole, tok.Piece(bos)) {
		past = past[1:] // Tokens put it there
	}
	spans := text.Spans()
	from := 0 // where spans[0] begins
	detok := tok.NewDetokenizer(true)
	var shown []byte // text of one token
	for _, id := range past {
		shown = detok.Append(shown[:0], id)
		if !strings.HasPrefix(whole[at:], string(shown)) {
			return 0, false
		}
		end := at + len(shown)
		for len(spans) > 0 && from+len(spans[0].Text) <= at {
			from += len(spans[0].Text)
			spans = spans[1:]
		}
		if tok.Special(id) && clients(spans, from, end) {
			return 0, false
		}
		at = end
	}
	return at, detok.Held() == 0
}

// clients reports whether a client wrote some of the text before end. The first
// of spans begins at from.
func clients(spans []jinja.Span, from, end int) bool {
	for _, s := range spans {
		if from >= end {
			break
		}
		if s.Client {
			return true
		}
		from += len(s.Text)
	}
	return false
}

// spansFrom returns the pieces of text from a place on.
func spansFrom(text jinja.Text, at int) []tokenizer.Span {
	var spans []tokenizer.Span
	for _, p := range text.Spans() {
		if n := min(at, len(p.Text)); n > 0 {
			at -= n
			p.Text = p.Text[n:]
		}
		if p.Text != "" {
			spans = append(spans, tokenizer.Span{Text: p.Text, Plain: p.Client})
		}
	}
	return spans
}
