package server

import (
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// prompt is one prompt of a request.
type prompt struct {
	tokens []int32
	text   string // if it is to be echoed: what of the answer it is
}

// generation is what becomes of one completion of one prompt.
type generation struct {
	stream Stream
	prompt *prompt
	leader int       // the first generation of the same prompt
	last   time.Time // when its latest piece came
	told   bool      // the prompt's IDs are on their way, if asked for

	// Kept only if log-probabilities are asked for.
	chars  int    // of its text so far
	behind []byte // of tokens, whose text has not come yet
}

// piece is the next piece of one generation.
type piece struct {
	engine.Delta
	index  int      // of the generation
	tokens []placed // of Text, if log-probabilities are asked for
	err    error
}

// choice is all pieces of one generation.
type choice struct {
	text   []byte
	tokens []placed
	ids    []int32 // of its tokens, if asked for
	finish engine.FinishReason
}

// merge has a goroutine for each generation send its pieces to merged.
func (c *completion) merge() {
	c.merged = make(chan piece)
	for i := range c.generations {
		c.readers.Go(func() { c.read(i) })
	}
}

// read sends the pieces of one generation until it ends or the context does.
func (c *completion) read(i int) {
	p := piece{index: i}
	send := func() {
		select {
		case c.merged <- p:
		case <-c.ctx.Done():
			p.err = c.ctx.Err()
		}
	}
	defer func() {
		if v := recover(); v != nil {
			c.s.logPanic(c.request, c.kind.route, v)
			p.err = fmt.Errorf("server: panic: %v", v)
			send()
		}
	}()
	for p.err == nil && p.Finish == "" {
		p.Delta, p.err = c.generations[i].stream.Next()
		send()
	}
}

// next waits for the next piece and keeps the time.
func (c *completion) next() (piece, error) {
	var p piece
	if c.merged == nil {
		p.Delta, p.err = c.generations[0].stream.Next()
	} else {
		select {
		case p = <-c.merged:
		case <-c.ctx.Done():
			p.err = c.ctx.Err()
		}
	}
	if p.err != nil {
		return p, p.err
	}
	now := time.Now()
	if c.first.IsZero() {
		c.first = now
	}
	g := &c.generations[p.index]
	begins := g.last.IsZero()
	if begins {
		c.dequeue(p.index)
		c.s.metrics.firstToken.Update(now.Sub(c.start).Seconds())
	} else {
		c.s.metrics.interToken.Update(now.Sub(g.last).Seconds())
	}
	g.last = now
	if p.Finish != "" {
		c.finish = p.Finish
		c.open--
	}
	if c.turn != nil {
		if err := c.turn.take(c, &p); err != nil {
			return p, err
		}
	}
	c.shape(g, &p, begins)
	return p, nil
}

// dequeue takes a prompt out of the queue when the first of its completions
// begins to come.
func (c *completion) dequeue(i int) {
	g := &c.generations[i]
	if g.leader != i {
		return
	}
	n := int64(len(g.prompt.tokens))
	c.s.queue.leave(n)
	c.queued -= n
}

// shape makes of what the model said what the client asked for: the prompt
// before it, nothing after the prompt, the tokens with their places.
func (c *completion) shape(g *generation, p *piece, begins bool) {
	if c.job.nothing {
		p.Text, p.Logprobs, p.TokenIDs = "", nil, nil
		if p.Finish != "" {
			p.Finish = engine.FinishLength
		}
	}
	if c.job.logprobs {
		if begins && c.job.echo {
			p.tokens = c.placePrompt(p.tokens, g)
		}
		p.tokens = c.place(p.tokens, g, p.Text, p.Logprobs)
	}
	if begins && c.job.echo {
		p.Text = g.prompt.text + p.Text
	}
}

// usage sums what the generations used up to their latest pieces; a prompt
// counts once, however many completions it has.
func (c *completion) usage() engine.Usage {
	var sum engine.Usage
	for i, g := range c.generations {
		u := g.stream.Usage()
		if g.leader == i {
			sum.PromptTokens += u.PromptTokens
			sum.CachedTokens += u.CachedTokens
		}
		if !c.job.nothing {
			sum.CompletionTokens += u.CompletionTokens
		}
	}
	return sum
}

func usageOf(u engine.Usage) api.Usage {
	return api.Usage{
		PromptTokens:        u.PromptTokens,
		CompletionTokens:    u.CompletionTokens,
		TotalTokens:         u.PromptTokens + u.CompletionTokens,
		PromptTokensDetails: api.PromptTokensDetails{CachedTokens: u.CachedTokens},
	}
}
