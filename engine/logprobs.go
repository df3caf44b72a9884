package engine

import (
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// look reads an item's rows of logits for those who asked for them. before is
// how many tokens the sequence had when the step began. It returns what was asked
// for about the token that the step drew.
func (l *loop) look(g *Generation, it scheduler.Item, before int, logits [][]float32) (drawn *TokenLogprob) {
	q := it.Seq
	for i, row := range logits {
		next := it.Start + it.Tokens - it.Logits + i + 1 // the position that the row speaks of
		if l.tap != nil {
			l.tap(g, next, row)
		}
		switch {
		case next >= len(q.Tokens): // nothing was drawn
		case next < len(g.prompt) && before == len(g.prompt): // the reader has not seen them yet
			g.prompt[next] = l.logprob(g, row, q.Tokens[next])
		case g.req.Logprobs && next == before:
			drawn = new(l.logprob(g, row, q.Tokens[next]))
		}
	}
	return drawn
}

// logprob returns how likely a token is after a row of logits. A row without a
// number was refused before.
func (l *loop) logprob(g *Generation, row []float32, token int32) TokenLogprob {
	p, top, err := sampler.Logprobs(row, token, g.req.TopLogprobs, &l.scratch)
	if err != nil {
		return TokenLogprob{Token: token}
	}
	return TokenLogprob{Token: token, Logprob: p, Rank: rank(row, token), Top: append([]sampler.Logprob(nil), top...)}
}

// rank counts the tokens that are at least as likely as this one.
func rank(row []float32, token int32) (n int) {
	for own, i := row[token], 0; i < len(row); i++ {
		if row[i] >= own {
			n++
		}
	}
	return n
}
