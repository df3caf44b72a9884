package engine

import (
	"context"
	"slices"

	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// Journal is the record of a session's turn, in which each of its tokens stands
// before a client sees it. *session.Turn is one. Append, Flush and Write are called by
// the step loop: they return at once. Tokens may still be appended after the
// reader of the generation has closed it; they do not count.
type Journal interface {
	// Append adds a drawn token.
	Append(token int32)
	// Flush hands over what was appended. Turns share a log: once all of a step's have
	// done so, Write has it written as one piece.
	Flush()
	// Write has what was handed over written, in the background.
	Write()
	// Await returns when so many of the turn's tokens may be shown.
	Await(ctx context.Context, tokens int) error
}

// goOn continues an interrupted turn: what was drawn before is read again by the
// reader, and is a part of what the loop computes from.
func (g *Generation) goOn() {
	drawn := g.req.Drawn
	if len(drawn) == 0 {
		return
	}
	g.seq.Tokens = append(g.seq.Tokens, drawn...)
	if g.history != nil {
		for _, token := range drawn {
			g.history.Append(token)
		}
	}
	g.mail.tokens = slices.Clone(drawn)
	switch {
	case slices.Contains(g.seq.Stop, drawn[len(drawn)-1]):
		g.mail.reason = scheduler.Stopped
	case len(g.seq.Tokens) >= g.seq.MaxLen:
		g.mail.reason = scheduler.Length
	}
	g.ended = g.mail.reason != scheduler.None
}

// newHistory returns what picking looks back at: nil if nothing does.
func newHistory(r *Request, most int) *sampler.History {
	if !looksBack(&r.Params) {
		return nil
	}
	h := sampler.NewHistory(r.Tokens)
	h.Grow(min(most-len(r.Tokens), maxStepTokens))
	return h
}

// flushJournals has the journals of a step's turns written.
func (l *loop) flushJournals(batch *scheduler.Batch) {
	for _, do := range []func(Journal){Journal.Flush, Journal.Write} {
		for _, it := range batch.Items {
			if j := owner(it.Seq).req.Journal; j != nil && it.Kept {
				do(j)
			}
		}
	}
}
