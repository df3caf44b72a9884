package engine

import (
	"slices"

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
	told := 0
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
