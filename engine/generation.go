package engine

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// Generation is one request under way. Next is for one goroutine; Close may be
// called from any.
type Generation struct {
	req    Request
	choice uint32             // which of the request's completions
	seq    scheduler.Sequence // the loop's
	// ended and usage.PromptTokens: set before submit or by the loop only.
	ended   bool
	usage   Usage
	prompt  []TokenLogprob   // complete once the first token is drawn
	history *sampler.History // what was drawn, where picking looks back; else nil

	cancelled atomic.Bool
	loop      *loop
	unwatch   func() bool // stops the watch over the request's context

	mu     sync.Mutex
	tokens []int32 // drawn and not yet read by Next
	cached int     // prompt tokens found computed
	reason scheduler.Reason
	err    error
	more   chan struct{} // holds a token when there is something to read

	text textStream // Next's
}

// Generate queues a request for one completion. The context covers the whole
// generation: when it ends, so does the sequence. The caller must Close the
// generation.
func (e *Engine) Generate(ctx context.Context, r Request) (*Generation, error) {
	r.N = 1
	all, err := e.GenerateChoices(ctx, r)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// GenerateChoices queues a request and returns its N generations: all of them,
// or none and an error. The caller must Close each.
func (e *Engine) GenerateChoices(ctx context.Context, r Request) ([]*Generation, error) {
	all := make([]*Generation, 0, max(r.N, 1))
	fail := func(err error) ([]*Generation, error) {
		for _, g := range all {
			g.unwatch()
		}
		return nil, err
	}
	for choice := range max(r.N, 1) {
		g, err := e.prepare(ctx, r, choice)
		if err != nil {
			return fail(err)
		}
		all = append(all, g)
	}
	if err := e.loop.submit(all...); err != nil {
		return fail(err)
	}
	return all, nil
}

// prepare checks a request and makes the generation of one of its choices.
func (e *Engine) prepare(ctx context.Context, r Request, choice int) (*Generation, error) {
	limit := e.info.ContextLength
	if len(r.Tokens) == 0 {
		return nil, fmt.Errorf("engine: the prompt is empty")
	}
	for _, list := range [...][]int32{r.Tokens, r.StopIDs} {
		for _, t := range list {
			if t < 0 || int(t) >= e.info.VocabSize {
				return nil, fmt.Errorf("engine: token %d is not in the vocabulary of %d", t, e.info.VocabSize)
			}
		}
	}
	if len(r.Tokens)+max(r.MaxTokens, 1) > limit {
		return nil, &ContextLengthError{Prompt: len(r.Tokens), MaxTokens: r.MaxTokens, Limit: limit}
	}
	if err := r.Params.Validate(); err != nil {
		return nil, err
	}
	if err := r.Params.ValidateTokens(e.info.VocabSize); err != nil {
		return nil, err
	}
	most := limit
	if r.MaxTokens > 0 {
		most = len(r.Tokens) + r.MaxTokens
	}
	g := &Generation{
		req:    r,
		choice: uint32(choice),
		loop:   e.loop,
		usage:  Usage{PromptTokens: len(r.Tokens)},
		more:   make(chan struct{}, 1),
		text:   textStream{detok: e.tokenizer.NewDetokenizer(false), stops: r.Stop},
	}
	g.seq = scheduler.Sequence{
		Owner:  g,
		Tokens: append(make([]int32, 0, len(r.Tokens)+64), r.Tokens...),
		MaxLen: most,
		Stop:   r.StopIDs,
	}
	if !r.IgnoreEOS {
		g.seq.Stop = slices.Concat(e.tokenizer.EOG(), r.StopIDs)
	}
	if looksBack(&r.Params) {
		g.history = sampler.NewHistory(r.Tokens)
		g.history.Grow(min(most-len(r.Tokens), maxStepTokens))
	}
	g.unwatch = context.AfterFunc(ctx, func() { g.cancel(ctx.Err()) })
	return g, nil
}

// looksBack reports whether picking a token depends on those before it.
func looksBack(p *sampler.Params) bool {
	return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 || p.FrequencyPenalty != 0 || p.PresencePenalty != 0 ||
		len(p.BadWords) > 0 || p.MinTokens > 0
}

// row says how to pick the sequence's next token.
func (g *Generation) row() sampler.Row {
	return sampler.Row{Params: g.req.Params, Position: int64(len(g.seq.Tokens)), Choice: g.choice, History: g.history, Stop: g.seq.Stop}
}

// push is the loop's: one more token was drawn, and the sequence ended with it
// if why says so.
func (g *Generation) push(token int32, why scheduler.Reason) {
	g.ended = why != scheduler.None
	if g.history != nil {
		g.history.Append(token)
	}
	g.mu.Lock()
	g.tokens = append(g.tokens, token)
	g.reason, g.cached = why, g.seq.Cached
	g.mu.Unlock()
	g.signal()
}

// end is the loop's: the sequence is finished without a token, and holds no blocks.
func (g *Generation) end(why scheduler.Reason, err error) {
	g.ended = true
	g.mu.Lock()
	g.reason = why
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	g.signal()
}

func (g *Generation) signal() {
	select {
	case g.more <- struct{}{}:
	default:
	}
}

// cancel asks the loop to end the sequence; err is what Next then returns.
func (g *Generation) cancel(err error) {
	g.mu.Lock()
	if g.err == nil && g.reason == scheduler.None {
		g.err = err
	}
	g.mu.Unlock()
	g.cancelled.Store(true)
	g.signal()
	g.loop.notify()
}

// Close ends the generation and frees its blocks within a step. It is
// idempotent.
func (g *Generation) Close() {
	g.unwatch()
	g.cancel(context.Canceled)
}

// Prompt returns the log-probabilities of the prompt's tokens, if they were
// asked for: after the first Delta, complete. The first token has none, and is 0.
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
		token, ok, reason, err := g.take()
		switch {
		case ok:
			g.usage.CompletionTokens++
			last := reason == scheduler.Stopped // an end token has no text
			if d := g.text.add(token, last); d.Text != "" || d.Finish != "" {
				if g.text.finished {
					g.Close()
				}
				return d, nil
			}
		case err != nil:
			g.text.finished = true
			return Delta{}, err
		case reason == scheduler.Length:
			return g.text.flush(FinishLength), nil
		default:
			<-g.more
		}
	}
}

// take returns the oldest unread token. reason is set, with the last token or
// after it, once the sequence has ended.
func (g *Generation) take() (token int32, ok bool, reason scheduler.Reason, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tokens) == 0 {
		return 0, false, g.reason, g.err
	}
	token = g.tokens[0]
	g.tokens = g.tokens[1:]
	g.usage.CachedTokens = g.cached
	if len(g.tokens) == 0 {
		reason = g.reason
	}
	return token, true, reason, nil
}
