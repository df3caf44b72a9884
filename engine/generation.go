package engine

import (
	"context"
	"io"
	"time"

	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// Generation is one completion under way. Next is for one goroutine; Close may
// be called from any.
type Generation struct {
	req     Request
	choice  uint32 // which of the request's completions
	arrived time.Time
	loop    *loop
	ctx     context.Context // the request's
	unwatch func() bool     // stops the watch over the request's context

	// The loop's, from submit until ended.
	seq     scheduler.Sequence
	history *sampler.History // what was drawn, where picking looks back; else nil
	place   int              // in the loop's list of live ones
	ended   bool
	prompt  []TokenLogprob // complete once the first token is drawn

	// Of a turn whose KV goes to the disk and comes from there.
	diskRoot  kvcache.Hash
	chain     []kvcache.Hash // of its full blocks, as far as known
	restoring *restore       // what it waits for before it is queued

	submitted, left bool // under the loop's mutex

	mail mail

	// The reader's.
	usage Usage // PromptTokens is set before submit
	text  textStream
	ids   []int32 // drawn, if asked for, and not in a Delta yet
}

// row says how to pick the sequence's next token.
func (g *Generation) row() sampler.Row {
	return sampler.Row{Params: g.req.Params, Position: int64(len(g.seq.Tokens)), Choice: g.choice, History: g.history, Stop: g.seq.Stop}
}

// drew is the loop's: one more token was drawn, and the sequence ended with it
// if why says so. The reader gets it by mail.
func (g *Generation) drew(token int32, why scheduler.Reason) {
	g.ended = why != scheduler.None
	if g.history != nil {
		g.history.Append(token)
	}
	if g.req.Journal != nil {
		g.req.Journal.Append(token)
	}
}

// end is the loop's: the sequence is finished without a token, and holds no blocks.
func (g *Generation) end(why scheduler.Reason, err error) {
	g.ended = true
	g.mail.end(why, err)
}

// cancel asks the loop to end the sequence; err is what Next then returns.
func (g *Generation) cancel(err error) {
	if g.mail.stop(err) {
		g.loop.leave(g)
	}
}

// Close ends the generation and frees its blocks within a step. It is
// idempotent.
func (g *Generation) Close() {
	g.unwatch()
	g.cancel(context.Canceled)
}

// Prompt returns the log-probabilities of the prompt's tokens, if they were
// asked for: after the first Delta, and with the first of several choices. The
// first token has none, and is 0.
func (g *Generation) Prompt() []TokenLogprob { return g.prompt }

// Usage counts the tokens up to the last Delta.
func (g *Generation) Usage() Usage { return g.usage }

// Next blocks for the next piece of text. The last delta has Finish set; after
// it Next returns io.EOF. A generation that was cancelled or failed returns its
// error once what came before is read.
func (g *Generation) Next() (Delta, error) {
	for {
		if g.text.finished {
			return Delta{}, io.EOF
		}
		l := g.mail.take()
		g.usage.CachedTokens = min(l.cached, g.usage.PromptTokens)
		switch {
		case l.ok:
			g.usage.CompletionTokens++
			if g.req.TokenIDs {
				g.ids = append(g.ids, l.token)
			}
			last := l.reason == scheduler.Stopped // an end token has no text
			if d := g.text.add(l.token, l.logprob, last); d.Text != "" || d.Finish != "" {
				if g.text.finished {
					g.Close()
				}
				return g.show(d)
			}
		case l.err != nil:
			g.text.finished = true
			return Delta{}, l.err
		case l.reason == scheduler.Length:
			return g.show(g.text.flush(FinishLength))
		default:
			<-g.mail.more
		}
	}
}

// show completes a delta, and waits until it may be seen.
func (g *Generation) show(d Delta) (Delta, error) {
	d.TokenIDs, g.ids = g.ids, nil
	d.Tokens = g.usage.CompletionTokens
	if j := g.req.Journal; j != nil {
		if err := j.Await(g.ctx, d.Tokens); err != nil {
			g.text.finished = true
			return Delta{}, err
		}
	}
	return d, nil
}
