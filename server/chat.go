package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

// completion is one chat completion under way: what begin acquired, close
// gives back.
type completion struct {
	s       *Server
	id      string // of the answer
	request string // of the request
	start   time.Time
	first   time.Time // when the first piece came
	last    time.Time // when the latest piece came
	info    engine.Info
	created int64

	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *watch
	stream Stream

	streams      bool
	includeUsage bool
	finish       engine.FinishReason
	err          error // what ended it early
	closed       bool
}

// chat serves POST /v1/chat/completions.
func (s *Server) chat(ctx *fasthttp.RequestCtx) {
	if !s.gate.enter() {
		ctx.SetConnectionClose()
		s.fail(ctx, errStopping)
		return
	}
	c := &completion{
		s:       s,
		id:      newID("chatcmpl-"),
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
	piece, err := c.begin(ctx)
	if err == nil && !c.streams {
		err = c.answer(ctx, piece)
	}
	if err != nil {
		c.err = err
		s.fail(ctx, c.reason(err))
		return
	}
	if c.streams {
		handedOver = true
		c.answerEvents(ctx, piece)
	}
}

// begin decodes the request, starts the generation and waits for its first
// piece, so that whatever fails until then gets a status of its own.
func (c *completion) begin(ctx *fasthttp.RequestCtx) (engine.Delta, error) {
	var none engine.Delta
	if err := checkMedia(ctx); err != nil {
		return none, err
	}
	req, err := api.DecodeChatRequest(ctx.Request.Body())
	if err != nil {
		return none, err
	}
	if req.Model != c.info.ID {
		return none, modelNotFound(req.Model)
	}
	c.streams, c.includeUsage = req.Stream, req.IncludeUsage()

	if err := c.checkTokens("stop_token_ids", req.StopTokenIDs); err != nil {
		return none, err
	}
	params, err := samplerParams(&req.Options)
	if err != nil {
		return none, err
	}

	c.ctx, c.cancel = context.WithCancelCause(c.s.base)
	c.watch = startWatch(ctx.Conn(), func() { c.cancel(errClientLeft) })
	tokens, err := c.s.worker.EncodeChat(chatInput(req, c.start))
	if err != nil {
		return none, err
	}
	c.stream, err = c.s.worker.Generate(c.ctx, engine.Request{
		ID:        c.request,
		Tokens:    tokens,
		MaxTokens: req.TokenLimit(),
		Params:    params,
		Stop:      req.Stop,
		StopIDs:   req.StopTokenIDs,
		IgnoreEOS: req.IgnoreEOS,
	})
	if err != nil {
		return none, err
	}
	return c.next()
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

func chatInput(req *api.ChatRequest, now time.Time) chat.Input {
	in := chat.Input{AddGenerationPrompt: true, Now: now, Messages: make([]chat.Message, len(req.Messages))}
	for i, m := range req.Messages {
		role := m.Role
		if role == api.RoleDeveloper {
			role = api.RoleSystem
		}
		in.Messages[i] = chat.Message{Role: role, Content: string(*m.Content)}
	}
	return in
}

// samplerParams fills in OpenAI's defaults. A request without a seed gets one
// at random.
func samplerParams(o *api.Options) (sampler.Params, error) {
	p := sampler.Params{
		Temperature:       or(o.Temperature, 1),
		TopP:              or(o.TopP, 1),
		TopK:              int(max(or(o.TopK, 0), 0)),
		MinP:              or(o.MinP, 0),
		RepetitionPenalty: or(o.RepetitionPenalty, 0),
		FrequencyPenalty:  or(o.FrequencyPenalty, 0),
		PresencePenalty:   or(o.PresencePenalty, 0),
		MinTokens:         int(or(o.MinTokens, 0)),
		Seed:              rand.Uint64(),
	}
	if o.Seed != nil {
		p.Seed = uint64(*o.Seed)
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

// or returns what v points to, or def if it is nil.
func or[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

// checkTokens refuses tokens that the model does not have.
func (c *completion) checkTokens(param string, tokens []int32) error {
	for i, t := range tokens {
		if int(t) >= c.info.VocabSize {
			return api.BadRequest(api.CodeInvalidValue, fmt.Sprintf("%s[%d]", param, i), "The token %d does not exist; the model's vocabulary has %d.", t, c.info.VocabSize)
		}
	}
	return nil
}

// next waits for the next piece and keeps the time.
func (c *completion) next() (engine.Delta, error) {
	d, err := c.stream.Next()
	if err != nil {
		return d, err
	}
	now := time.Now()
	if c.first.IsZero() {
		c.first = now
		c.s.metrics.firstToken.Update(now.Sub(c.start).Seconds())
	} else {
		c.s.metrics.interToken.Update(now.Sub(c.last).Seconds())
	}
	c.last = now
	c.finish = d.Finish
	return d, nil
}

// answer collects the pieces and sends them as one.
func (c *completion) answer(ctx *fasthttp.RequestCtx, piece engine.Delta) error {
	text := []byte(piece.Text)
	for piece.Finish == "" {
		var err error
		piece, err = c.next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("server: the worker's stream ended without a reason")
		}
		if err != nil {
			return err
		}
		text = append(text, piece.Text...)
	}
	body, err := json.Marshal(api.ChatCompletion{
		ID:                c.id,
		Object:            api.ObjectChatCompletion,
		Created:           c.created,
		Model:             c.info.ID,
		SystemFingerprint: c.info.Class,
		Choices: []api.Choice{{
			Message:      api.AssistantMessage{Role: api.RoleAssistant, Content: string(text)},
			FinishReason: string(piece.Finish),
		}},
		Usage: usageOf(c.stream.Usage()),
	})
	if err != nil {
		return err
	}
	sendJSON(ctx, 200, body)
	return nil
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
	var usage engine.Usage
	if c.stream != nil {
		c.stream.Close()
		usage = c.stream.Usage()
	}
	if c.watch != nil {
		c.watch.stop()
	}
	if c.cancel != nil {
		c.cancel(nil)
	}
	c.s.gate.leave()
	c.s.logCompletion(c, usage)
}
