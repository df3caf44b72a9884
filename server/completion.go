package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

// A kind is one sort of completions: how its requests are read, and what its
// answers look like.
type kind struct {
	route    string // in metrics and logs
	id       string // how the IDs of its answers begin
	input    string // the parameter that holds what is completed
	inputHas string // in a sentence

	read   func(body []byte) (*job, error)
	chunks chunkForm
	// logprobs returns what a chunk says of tokens.
	logprobs func(c *completion, tokens []placed) any
	// whole returns an answer in one piece.
	whole func(c *completion, choices []choice) any
}

// A job is what a request of any kind asks for.
type job struct {
	*api.Options
	limit    int              // most tokens of each completion; 0 for none
	logprobs bool             // of each token,
	top      int              // and of so many of the likeliest in its place
	echo     bool             // each completion begins with its prompt,
	nothing  bool             // and has nothing else
	goesOn   bool             // each completion goes on the prompt's text
	size     int64            // tokens of all prompts, as far as can be told before tokenising
	chat     *api.ChatRequest // what was asked: one of both is there
	text     *api.CompletionRequest
	fresh    api.Messages // of a session's chat, those that it does not have
	// prompts turns each prompt into tokens.
	prompts func(c *completion) ([]prompt, error)
}

// completion is one request for completions under way, of one prompt or of
// several: what begin acquired, close gives back.
type completion struct {
	s         *Server
	kind      *kind
	id        string // of the answer
	request   string // of the request
	principal string // who sent it
	start     time.Time
	first     time.Time // when the first piece came
	info      engine.Info
	created   int64
	job       *job  // what it asks for
	turn      *turn // what it has of a session; nil without

	ctx         context.Context
	cancel      context.CancelCauseFunc
	watch       *watch
	generations []generation
	open        int            // generations that have not finished
	queued      int64          // prompt tokens that the queue counts for it
	merged      chan piece     // the pieces of several generations; nil for one
	readers     sync.WaitGroup // what sends to merged

	finish engine.FinishReason // of the generation that finished last
	token  []byte              // scratch of tokenBytes
	err    error               // what ended it early
	closed bool
}

// completions returns what serves completions of a kind.
func (s *Server) completions(k *kind) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { s.complete(ctx, k, (*completion).begin) }
}

// complete answers with the completion that begin begins, of kind k unless begin
// finds it to be of the other.
func (s *Server) complete(ctx *fasthttp.RequestCtx, k *kind, begin func(*completion, *fasthttp.RequestCtx) (piece, error)) {
	if !s.gate.enter() {
		ctx.SetConnectionClose()
		s.fail(ctx, errStopping)
		return
	}
	c := &completion{
		s:         s,
		kind:      k,
		id:        newID(k.id),
		request:   string(ctx.Response.Header.Peek(headerRequestID)),
		principal: ctx.UserValue(userPrincipal).(string),
		start:     time.Now(),
		info:      s.worker.Info(),
		job:       &job{Options: &api.Options{}}, // until the request is read
	}
	c.created = c.start.Unix()
	handedOver := false
	defer func() {
		if !handedOver {
			c.close()
		}
	}()
	first, err := begin(c, ctx)
	if err == nil && !c.job.Stream {
		err = c.answer(ctx, first)
	}
	if err != nil {
		c.err = err
		s.fail(ctx, c.reason(err))
		return
	}
	if c.job.Stream {
		handedOver = true
		c.answerEvents(ctx, first)
	}
}

// begin decodes the request, starts its generations and waits for the first
// piece, so that whatever fails until then gets a status of its own.
func (c *completion) begin(ctx *fasthttp.RequestCtx) (piece, error) {
	var none piece
	if err := checkMedia(ctx); err != nil {
		return none, err
	}
	j, err := c.kind.read(ctx.Request.Body())
	if err != nil {
		return none, err
	}
	c.job = j
	if j.Model != "" && !c.s.named(j.Model) { // a turn may leave it out
		return none, modelNotFound(j.Model)
	}
	if err := checkTokens(c.info.VocabSize, "stop_token_ids", j.StopTokenIDs); err != nil {
		return none, err
	}

	if c.s.keys != nil && or(j.Priority, 0) < 0 {
		return none, api.BadRequest(api.CodeInvalidValue, "priority", "'priority' must not be negative on a server with API keys: nobody may put themselves before others.")
	}
	if !c.s.queue.enter(j.size) {
		return none, errQueueFull
	}
	c.queued = j.size

	c.ctx, c.cancel, c.watch = c.s.attend(ctx)
	if err := c.join(ctx); err != nil {
		return none, err
	}
	if c.turn != nil {
		if was, err := c.turn.again(); err != nil {
			return none, err
		} else if was != nil {
			return c.oldTurn(ctx, was)
		}
		if err := checkHead(ctx, c.turn.info.Head); err != nil {
			return none, err
		}
	}
	var params sampler.Params
	var prompts []prompt
	err = c.s.queue.tokenising(c.ctx, func() (err error) {
		if params, err = c.samplerParams(j.Options); err == nil {
			prompts, err = j.prompts(c)
		}
		return err
	})
	if err != nil {
		return none, c.tooLong(err, 0, 1)
	}
	c.requeue(prompts)
	if c.turn != nil {
		params.Seed = seedOf(j.Options)
		if err := c.beginTurn(&prompts[0], &params); err != nil {
			return none, c.tooLong(err, 0, 1)
		}
		c.turn.tell(ctx)
	}
	c.generations = make([]generation, 0, len(prompts)*j.Choices())
	for i := range prompts {
		if err := c.generate(params, &prompts[i]); err != nil {
			return none, c.tooLong(err, i, len(prompts))
		}
	}
	if len(c.generations) > 1 {
		c.merge()
	}
	return c.next()
}

// attend returns a context that ends when the client leaves, until the watch is
// stopped.
func (s *Server) attend(http *fasthttp.RequestCtx) (context.Context, context.CancelCauseFunc, *watch) {
	ctx, cancel := context.WithCancelCause(s.base)
	return ctx, cancel, startWatch(http.Conn(), func() { cancel(errClientLeft) })
}

// seedOf returns the seed that a request gives, or one at random.
func seedOf(o *api.Options) uint64 {
	if o.Seed == nil {
		return rand.Uint64()
	}
	return uint64(*o.Seed)
}

// generate starts the generations of one prompt. Without a seed they get one at
// random.
func (c *completion) generate(params sampler.Params, p *prompt) error {
	params.Seed = seedOf(c.job.Options)
	r := c.asked(params, p)
	if c.turn != nil {
		c.turn.journal(&r)
	}
	streams, err := c.s.worker.Generate(c.ctx, r)
	if err != nil {
		return err
	}
	leader := len(c.generations)
	for _, s := range streams {
		c.generations = append(c.generations, generation{stream: s, prompt: p, leader: leader})
		c.open++
	}
	return nil
}

// asked returns what the worker is asked for.
func (c *completion) asked(params sampler.Params, p *prompt) engine.Request {
	j := c.job
	r := engine.Request{
		ID:        c.request,
		Tokens:    p.tokens,
		MaxTokens: j.limit,
		N:         j.Choices(),
		Params:    params,
		Stop:      j.Stop,
		StopIDs:   j.StopTokenIDs,
		// A token that ends a completion has no log-probability in it; who asks
		// for one token behind the prompt, to drop it, counts on one.
		IgnoreEOS:      j.IgnoreEOS || j.echo && j.logprobs && j.limit <= 1,
		Continues:      j.goesOn,
		Specials:       !or(j.SkipSpecialTokens, true),
		KeepStop:       j.IncludeStop,
		TokenIDs:       j.ReturnTokenIDs,
		Logprobs:       j.logprobs,
		PromptLogprobs: j.logprobs && j.echo || j.PromptLogprobs != nil,
		TopLogprobs:    max(j.top, int(or(j.PromptLogprobs, 0))),
		Principal:      c.principal,
		Priority:       -int(or(j.Priority, 0)),
		QueueTime:      c.s.cfg.MaxQueueTime,
		Time:           c.s.cfg.MaxTime,
	}
	if j.nothing {
		r.MaxTokens = 1 // 0 would be no limit
	}
	return r
}

// requeue counts the tokens that there are instead of those that were expected.
func (c *completion) requeue(prompts []prompt) {
	was := c.queued
	c.queued = 0
	for _, p := range prompts {
		c.queued += int64(len(p.tokens))
	}
	c.s.queue.leave(was - c.queued)
}

// tooLong makes of a ContextLengthError what the client shall be told.
func (c *completion) tooLong(err error, i, of int) error {
	var length *engine.ContextLengthError
	if !errors.As(err, &length) {
		return err
	}
	least := ""
	if length.AtLeast {
		least = "at least "
	}
	return api.BadRequest(api.CodeContextLength, element(c.kind.input, i, of),
		"This model's context holds %d tokens, but %s %s%d and the completion asks for %d. Shorten the %s or the completion.",
		length.Limit, c.kind.inputHas, least, length.Prompt, max(c.job.limit, 1), c.kind.input)
}

// element names element i of a parameter of which there are several.
func element(param string, i, of int) string {
	if of == 1 {
		return param
	}
	return fmt.Sprintf("%s[%d]", param, i)
}

// checkMedia refuses bodies that are declared as something else than JSON by a
// web page, and compressed ones. A browser asks before it sends JSON to another
// origin, and this server never agrees; other content types it just sends. A
// client that is no browser names no origin, and may say what it likes, as
// 'curl -d' does.
func checkMedia(ctx *fasthttp.RequestCtx) error {
	media, _, _ := strings.Cut(string(ctx.Request.Header.ContentType()), ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/json") && len(ctx.Request.Header.Peek("Origin")) > 0 {
		return api.NewError(415, api.TypeInvalidRequest, api.CodeUnsupportedMedia, "The request needs the header 'Content-Type: application/json'.")
	}
	if enc := ctx.Request.Header.ContentEncoding(); len(enc) > 0 && string(enc) != "identity" {
		return api.NewError(415, api.TypeInvalidRequest, api.CodeUnsupportedMedia, "Compressed request bodies are not accepted.")
	}
	return nil
}

// answer collects the pieces and sends them as one.
func (c *completion) answer(ctx *fasthttp.RequestCtx, p piece) error {
	choices := make([]choice, len(c.generations))
	for {
		to := &choices[p.index]
		to.text = append(to.text, p.Text...)
		to.tokens = append(to.tokens, p.tokens...)
		to.ids = append(to.ids, p.TokenIDs...)
		to.finish = p.Finish
		if to.ids == nil && c.job.ReturnTokenIDs {
			to.ids = []int32{} // asked for, so not absent
		}
		if c.open == 0 {
			break
		}
		var err error
		p, err = c.next()
		if errors.Is(err, io.EOF) {
			return errNoReason
		}
		if err != nil {
			return err
		}
	}
	body, err := json.Marshal(c.kind.whole(c, choices))
	if err != nil {
		return err
	}
	sendJSON(ctx, 200, body)
	return nil
}

// errNoReason says that a worker broke its word.
var errNoReason = errors.New("server: the worker's stream ended without a reason")

// reason returns why the generation ended where err only says that its
// context did.
func (c *completion) reason(err error) error {
	if c.ctx != nil && c.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, io.EOF)) {
		return context.Cause(c.ctx)
	}
	return err
}

// close gives back what the completion holds, and logs it. The watch must be
// over before the connection is read again.
func (c *completion) close() {
	if c.closed {
		return
	}
	c.closed = true
	for _, g := range c.generations {
		g.stream.Close()
	}
	if c.watch != nil {
		c.watch.stop()
	}
	if c.cancel != nil {
		c.cancel(nil)
	}
	c.readers.Wait()
	if c.turn != nil {
		c.turn.close(c.s.metrics)
	}
	c.s.queue.leave(c.queued)
	c.s.gate.leave()
	c.s.logCompletion(c, c.usage())
}
