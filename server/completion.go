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

	read   func(body []byte) (job, error)
	chunks chunkForm
	// whole returns an answer in one piece.
	whole func(c *completion, texts [][]byte, reasons []engine.FinishReason) any
}

// A job is what a request of any kind asks for.
type job struct {
	*api.Options
	limit int // most tokens of each completion; 0 for none
	// prompts turns each prompt into tokens.
	prompts func(c *completion) ([][]int32, error)
}

// completion is one request for completions under way, of one prompt or of
// several: what begin acquired, close gives back.
type completion struct {
	s       *Server
	kind    *kind
	id      string // of the answer
	request string // of the request
	start   time.Time
	first   time.Time // when the first piece came
	info    engine.Info
	created int64

	ctx         context.Context
	cancel      context.CancelCauseFunc
	watch       *watch
	generations []generation
	open        int            // generations that have not finished
	merged      chan piece     // the pieces of several generations; nil for one
	readers     sync.WaitGroup // what sends to merged

	streams      bool
	includeUsage bool
	finish       engine.FinishReason // of the generation that finished last
	err          error               // what ended it early
	closed       bool
}

// generation is what becomes of one prompt.
type generation struct {
	stream Stream
	last   time.Time // when its latest piece came
}

// piece is the next piece of one generation.
type piece struct {
	engine.Delta
	index int // of the generation
	err   error
}

// completions returns what serves completions of a kind.
func (s *Server) completions(k *kind) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { s.complete(ctx, k) }
}

func (s *Server) complete(ctx *fasthttp.RequestCtx, k *kind) {
	if !s.gate.enter() {
		ctx.SetConnectionClose()
		s.fail(ctx, errStopping)
		return
	}
	c := &completion{
		s:       s,
		kind:    k,
		id:      newID(k.id),
		request: string(ctx.Response.Header.Peek(headerRequestID)),
		start:   time.Now(),
		info:    s.worker.Info(),
	}
	c.created = c.start.Unix()
	handedOver := false
	defer func() {
		if !handedOver {
			c.close()
		}
	}()
	first, err := c.begin(ctx)
	if err == nil && !c.streams {
		err = c.answer(ctx, first)
	}
	if err != nil {
		c.err = err
		s.fail(ctx, c.reason(err))
		return
	}
	if c.streams {
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
	if j.Model != c.info.ID {
		return none, modelNotFound(j.Model)
	}
	if err := checkTokens(c.info.VocabSize, "stop_token_ids", j.StopTokenIDs); err != nil {
		return none, err
	}
	c.streams, c.includeUsage = j.Stream, j.IncludeUsage()

	c.ctx, c.cancel = context.WithCancelCause(c.s.base)
	c.watch = startWatch(ctx.Conn(), func() { c.cancel(errClientLeft) })
	params, err := c.samplerParams(j.Options)
	if err != nil {
		return none, err
	}
	prompts, err := j.prompts(c)
	if err != nil {
		return none, err
	}
	c.generations = make([]generation, 0, len(prompts))
	for i, tokens := range prompts {
		if err := c.generate(j, params, tokens); err != nil {
			return none, c.tooLong(err, i, len(prompts))
		}
	}
	if len(prompts) > 1 {
		c.merge()
	}
	return c.next()
}

// generate starts one generation. Without a seed it gets one at random.
func (c *completion) generate(j job, params sampler.Params, tokens []int32) error {
	if j.Seed == nil {
		params.Seed = rand.Uint64()
	}
	stream, err := c.s.worker.Generate(c.ctx, engine.Request{
		ID:        c.request,
		Tokens:    tokens,
		MaxTokens: j.limit,
		Params:    params,
		Stop:      j.Stop,
		StopIDs:   j.StopTokenIDs,
		IgnoreEOS: j.IgnoreEOS,
	})
	if err != nil {
		return err
	}
	c.generations = append(c.generations, generation{stream: stream})
	c.open++
	return nil
}

// tooLong makes of a ContextLengthError what the client shall be told.
func (c *completion) tooLong(err error, i, of int) error {
	var length *engine.ContextLengthError
	if !errors.As(err, &length) {
		return err
	}
	return api.BadRequest(api.CodeContextLength, element(c.kind.input, i, of),
		"This model's context holds %d tokens, but %s %d and the completion asks for %d. Shorten the %s or the completion.",
		length.Limit, c.kind.inputHas, length.Prompt, max(length.MaxTokens, 1), c.kind.input)
}

// element names element i of a parameter of which there are several.
func element(param string, i, of int) string {
	if of == 1 {
		return param
	}
	return fmt.Sprintf("%s[%d]", param, i)
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

// samplerParams fills in OpenAI's defaults.
func (c *completion) samplerParams(o *api.Options) (sampler.Params, error) {
	p := sampler.Params{
		Temperature:       or(o.Temperature, 1),
		TopP:              or(o.TopP, 1),
		TopK:              int(max(or(o.TopK, 0), 0)),
		MinP:              or(o.MinP, 0),
		RepetitionPenalty: or(o.RepetitionPenalty, 0),
		FrequencyPenalty:  or(o.FrequencyPenalty, 0),
		PresencePenalty:   or(o.PresencePenalty, 0),
		MinTokens:         int(or(o.MinTokens, 0)),
		Seed:              uint64(or(o.Seed, 0)),
		BadWords:          c.badWords(o.BadWords),
	}
	for _, b := range o.LogitBias {
		p.LogitBias = append(p.LogitBias, sampler.Bias(b))
	}
	if p.TopP == 0 {
		// The limit of a shrinking nucleus: the likeliest token alone.
		p.TopP, p.TopK = 1, 1
	}
	return p, p.Validate()
}

// badWords returns the tokens of each word, and those of the word after a space
// where they begin with another token and are as many, as vLLM does: otherwise
// the space is a token of its own, and the word's own tokens follow it.
func (c *completion) badWords(words []string) [][]int32 {
	var all [][]int32
	for _, w := range words {
		w = strings.TrimLeft(w, " ")
		bare, spaced := c.s.worker.Encode(w, false), c.s.worker.Encode(" "+w, false)
		all = append(all, bare)
		if len(bare) > 0 && len(spaced) == len(bare) && spaced[0] != bare[0] {
			all = append(all, spaced)
		}
	}
	return all
}

// or returns what v points to, or def if it is nil.
func or[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

// checkTokens refuses tokens that the model does not have.
func checkTokens(vocabulary int, param string, tokens []int32) error {
	for i, t := range tokens {
		if int(t) >= vocabulary {
			return api.BadRequest(api.CodeInvalidValue, fmt.Sprintf("%s[%d]", param, i), "The token %d does not exist; the model's vocabulary has %d.", t, vocabulary)
		}
	}
	return nil
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
	if g.last.IsZero() {
		c.s.metrics.firstToken.Update(now.Sub(c.start).Seconds())
	} else {
		c.s.metrics.interToken.Update(now.Sub(g.last).Seconds())
	}
	g.last = now
	if p.Finish != "" {
		c.finish = p.Finish
		c.open--
	}
	return p, nil
}

// answer collects the pieces and sends them as one.
func (c *completion) answer(ctx *fasthttp.RequestCtx, p piece) error {
	texts := make([][]byte, len(c.generations))
	reasons := make([]engine.FinishReason, len(c.generations))
	for {
		texts[p.index] = append(texts[p.index], p.Text...)
		reasons[p.index] = p.Finish
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
	body, err := json.Marshal(c.kind.whole(c, texts, reasons))
	if err != nil {
		return err
	}
	sendJSON(ctx, 200, body)
	return nil
}

// errNoReason says that a worker broke its word.
var errNoReason = errors.New("server: the worker's stream ended without a reason")

// usage sums what the generations used up to their latest pieces.
func (c *completion) usage() engine.Usage {
	var sum engine.Usage
	for _, g := range c.generations {
		u := g.stream.Usage()
		sum.PromptTokens += u.PromptTokens
		sum.CompletionTokens += u.CompletionTokens
		sum.CachedTokens += u.CachedTokens
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
	c.s.gate.leave()
	c.s.logCompletion(c, c.usage())
}
