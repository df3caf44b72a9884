package engine

import (
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/chat"
)

// EncodeChatAfter is EncodeChat for a conversation that goes on after past, the
// tokens of a session: what the rendered text has in common with theirs is not
// encoded again. The prompt begins with past[:keep]; see chat.TokensAfter.
func (e *Engine) EncodeChatAfter(in chat.Input, past []int32) (tokens []int32, keep int, err error) {
	if e.template == nil {
		return nil, 0, ErrNoTemplate
	}
	return e.template.TokensAfter(e.tokenizer, in, past)
}

// Shown returns how many of the tokens that were drawn for a request have all of
// their text within text, which is what its reader got, and how long theirs is. A
// token that only ended the completion is none of them.
func (e *Engine) Shown(r Request, drawn []int32, text string) (tokens, sizeBytes int) {
	detok := e.tokenizer.NewDetokenizer(r.Specials)
	if r.Continues {
		detok.Continue()
	}
	var shown []byte
	for i, token := range drawn {
		before := len(shown)
		shown = detok.Append(shown, token)
		if !strings.HasPrefix(text, string(shown)) {
			break
		}
		last := i == len(drawn)-1 && len(shown) == before && e.tokenizer.Control(token)
		if detok.Held() == 0 && !last {
			tokens, sizeBytes = i+1, len(shown)
		}
	}
	return tokens, sizeBytes
}

// Replay returns the deltas that Next gave a reader of a turn that ended with
// finish after it had drawn these tokens: the same pieces with the same numbers
// of tokens. Nothing is computed.
func (e *Engine) Replay(r Request, drawn []int32, finish FinishReason) []Delta {
	text := textStream{detok: e.tokenizer.NewDetokenizer(r.Specials), stops: r.Stop, keep: r.KeepStop}
	if r.Continues {
		text.detok.Continue()
	}
	ends := func(token int32) bool {
		return slices.Contains(r.StopIDs, token) || !r.IgnoreEOS && e.tokenizer.IsEOG(token)
	}
	var all []Delta
	told := 0 // tokens whose IDs a delta has
	show := func(d Delta, tokens int) {
		d.Tokens = tokens
		if r.TokenIDs {
			d.TokenIDs = append(d.TokenIDs, drawn[told:tokens]...)
			told = tokens
		}
		all = append(all, d)
	}
	for i, token := range drawn {
		last := i == len(drawn)-1 && finish == FinishStop && ends(token)
		if d := text.add(token, nil, last); d.Text != "" || d.Finish != "" {
			show(d, i+1)
		}
		if text.finished {
			return all
		}
	}
	show(text.flush(finish), len(drawn))
	return all
}
