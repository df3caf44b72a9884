package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

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
	if err := e.check(&r); err != nil {
		return nil, err
	}
	all := make([]*Generation, max(r.N, 1))
	for choice := range all {
		all[choice] = e.prepare(ctx, r, choice)
		if choice > 0 {
			all[choice].seq.Leader = &all[0].seq
		}
	}
	if all[0].ended { // an interrupted turn that had drawn its last token
		return all, nil
	}
	if err := e.loop.submit(all...); err != nil {
		for _, g := range all {
			g.unwatch()
		}
		return nil, err
	}
	return all, nil
}

// check refuses a request that cannot be served.
func (e *Engine) check(r *Request) error {
	if len(r.Tokens) == 0 {
		return fmt.Errorf("engine: the prompt is empty")
	}
	for _, list := range [...][]int32{r.Tokens, r.Drawn, r.StopIDs} {
		for _, t := range list {
			if t < 0 || int(t) >= e.info.VocabSize {
				return fmt.Errorf("engine: token %d is not in the vocabulary of %d", t, e.info.VocabSize)
			}
		}
	}
	if limit := e.info.ContextLength; len(r.Tokens)+max(r.MaxTokens, 1) > limit {
		return &ContextLengthError{Prompt: len(r.Tokens), MaxTokens: r.MaxTokens, Limit: limit}
	}
	if r.N < 0 || r.N > MaxChoices {
		return fmt.Errorf("engine: %d completions of one prompt; most are %d", r.N, MaxChoices)
	}
	if r.Journal != nil && (r.N > 1 || r.Logprobs || r.PromptLogprobs) || r.Journal == nil && len(r.Drawn) > 0 {
		return fmt.Errorf("engine: a turn is one completion without log-probabilities, and only a turn goes on from tokens drawn before")
	}
	if len(r.Tokens)+len(r.Drawn) > e.info.ContextLength || r.MaxTokens > 0 && len(r.Drawn) > r.MaxTokens {
		return fmt.Errorf("engine: %d tokens were drawn before, and the completion has %d", len(r.Drawn), r.MaxTokens)
	}
	if r.TopLogprobs < 0 || r.TopLogprobs > sampler.MaxLogprobs {
		return fmt.Errorf("engine: the %d likeliest tokens; most are %d", r.TopLogprobs, sampler.MaxLogprobs)
	}
	if r.Priority < -MaxPriority || r.Priority > MaxPriority {
		return fmt.Errorf("engine: priority %d is not in [-%d, %d]", r.Priority, MaxPriority, MaxPriority)
	}
	if r.Weight < 0 || r.QueueTime < 0 || r.Time < 0 {
		return fmt.Errorf("engine: a negative weight (%g) or time (%v, %v)", r.Weight, r.QueueTime, r.Time)
	}
	if err := r.Params.Validate(); err != nil {
		return err
	}
	return r.Params.ValidateTokens(e.info.VocabSize)
}

// prepare makes the generation of one of a checked request's choices.
func (e *Engine) prepare(ctx context.Context, r Request, choice int) *Generation {
	most := e.info.ContextLength
	if r.MaxTokens > 0 {
		most = len(r.Tokens) + r.MaxTokens
	}
	g := &Generation{
		req:     r,
		choice:  uint32(choice),
		arrived: time.Now(),
		loop:    e.loop,
		ctx:     ctx,
		usage:   Usage{PromptTokens: len(r.Tokens)},
		mail:    mail{more: make(chan struct{}, 1)},
		text:    textStream{detok: e.tokenizer.NewDetokenizer(r.Specials), stops: r.Stop, keep: r.KeepStop},
	}
	if r.Continues {
		g.text.detok.Continue()
	}
	g.seq = scheduler.Sequence{
		Owner:    g,
		Tokens:   append(make([]int32, 0, len(r.Tokens)+64), r.Tokens...),
		MaxLen:   most,
		Stop:     r.StopIDs,
		Priority: r.Priority,
	}
	if !r.IgnoreEOS {
		g.seq.Stop = slices.Concat(e.tokenizer.EOG(), r.StopIDs)
	}
	if r.PromptLogprobs && choice == 0 {
		g.seq.PromptLogits = true
		g.prompt = make([]TokenLogprob, len(r.Tokens))
		g.prompt[0].Token = r.Tokens[0]
	}
	g.history = newHistory(&r, most)
	g.goOn()
	if r.Keep {
		g.req.Keep = e.nameBlocks(g)
	}
	g.unwatch = context.AfterFunc(ctx, func() { g.cancel(ctx.Err()) })
	return g
}

// looksBack reports whether picking a token depends on those before it.
func looksBack(p *sampler.Params) bool {
	return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 || p.FrequencyPenalty != 0 || p.PresencePenalty != 0 ||
		len(p.BadWords) > 0 || p.MinTokens > 0
}
