package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

// Reasons why the server itself ends a request.
var (
	errClientLeft = errors.New("server: the client left")
	errStopping   = errors.New("server: shutting down")
)

// errQueueFull turns a request away before anything is done for it.
var errQueueFull = fmt.Errorf("server: %w", engine.ErrBusy)

// statusClientLeft is logged and counted for clients that did not wait for
// their answer; nobody receives it.
const statusClientLeft = 499

const headerRequestID = "X-Request-Id"

// retryAfterSeconds is what a client that was turned away is told.
const retryAfterSeconds = 1

// toAPI turns an error into what the client shall be told. An error that is
// not expected says nothing but the request's ID, under which it is logged.
func toAPI(err error, id string) *api.Error {
	var own *api.Error
	var template *chat.TemplateError
	var params sampler.ParamErrors
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &params) && len(params) > 0:
		p := params[0]
		return api.BadRequest(api.CodeInvalidValue, p.Field, "'%s' is %v, but must be %s.", p.Field, p.Value, p.Bounds)
	case errors.As(err, &template), errors.Is(err, chat.ErrBudget):
		return api.BadRequest(api.CodeInvalidPrompt, "messages", "The model's chat template refuses these messages: %v.", err)
	case errors.Is(err, engine.ErrNoTemplate):
		return api.BadRequest(api.CodeInvalidPrompt, "messages", "This model has no chat template, so it cannot take messages.")
	case sessionError(err) != nil:
		return sessionError(err)
	case errors.Is(err, engine.ErrBusy):
		return api.NewError(429, api.TypeRateLimit, api.CodeRateLimit, "The server is at its limit; please retry later.")
	case errors.Is(err, engine.ErrStopped), errors.Is(err, errStopping):
		return api.NewError(503, api.TypeServer, api.CodeShuttingDown, "The server is shutting down; please retry.")
	case errors.Is(err, engine.ErrQueueTime):
		return api.NewError(503, api.TypeServer, api.CodeOverloaded, "The server had no room for this request in time; please retry later.")
	case errors.Is(err, engine.ErrTime):
		return api.NewError(504, api.TypeServer, api.CodeDeadline, "The request took longer than this server allows.")
	case errors.Is(err, errClientLeft):
		return api.NewError(statusClientLeft, api.TypeInvalidRequest, api.CodeTimeout, "The client left.")
	case errors.Is(err, engine.ErrGivenUp):
		return api.NewError(503, api.TypeServer, api.CodeDevice, "The device has failed for good; another server has to take the request.")
	case errors.Is(err, engine.ErrDevice):
		return api.NewError(500, api.TypeServer, api.CodeDevice, "The device failed on this request; its ID is "+id+".")
	}
	return internalError(id)
}

func internalError(id string) *api.Error {
	return api.NewError(500, api.TypeServer, api.CodeInternal, "Something went wrong in the server; the request's ID is "+id+".")
}

func modelNotFound(id string) *api.Error {
	e := api.BadRequest(api.CodeModelNotFound, "model", "The model %.130q does not exist; GET /v1/models lists what there is.", id)
	e.Status = 404
	return e
}

// fail answers with err.
func (s *Server) fail(ctx *fasthttp.RequestCtx, err error) {
	id := string(ctx.Response.Header.Peek(headerRequestID))
	e := toAPI(err, id)
	if e.Status == 500 {
		s.log.Error("request failed", "request", id, "error", err)
	}
	sendError(ctx, e)
}

func sendError(ctx *fasthttp.RequestCtx, e *api.Error) {
	switch e.Status {
	case 401:
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
	case 429, 503:
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	case statusClientLeft:
		ctx.SetConnectionClose()
	}
	sendValue(ctx, e.Status, api.ErrorBody{Error: e})
}

// refuse answers requests that could not be read.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	bad := func(status int, code, message string) {
		sendError(ctx, api.NewError(status, api.TypeInvalidRequest, code, message))
	}
	ctx.Response.Header.Set(headerRequestID, newID("req-"))
	_, all := s.route(string(ctx.Path()))
	r, _ := find(all, string(ctx.Method()))
	_, allowed := s.principal(r, &ctx.Request.Header)
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge) && !allowed:
		sendError(ctx, errNoKey())
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		bad(413, api.CodeTooLarge, fmt.Sprintf("The request body is larger than %d bytes.", max(r.body, noBody)))
	case errors.As(err, &small):
		bad(431, api.CodeTooLarge, fmt.Sprintf("The request's headers are larger than %d bytes.", maxHeaderBytes))
	case errors.As(err, &timeout) && timeout.Timeout():
		bad(408, api.CodeTimeout, "The request did not arrive in time.")
	default:
		bad(400, api.CodeInvalidValue, "The request is not valid HTTP.")
	}
	swallow(ctx.Conn(), toCome(ctx, err))
	s.metrics.countRequest("unread", ctx.Response.StatusCode())
	_ = ctx.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
}

// toCome is how many bytes a client that was refused for err is known to send still, or
// believed to, of a body that does not say how long it is.
func toCome(ctx *fasthttp.RequestCtx, err error) int {
	n := ctx.Request.Header.ContentLength()
	switch {
	case !errors.Is(err, fasthttp.ErrBodyTooLarge):
		return 0
	case n < 0:
		return mostSwallowed
	}
	return n - maxHeaderBytes // as many at most were read beside the head
}

const mostSwallowed = 4 * api.MaxBodyBytes

// swallow reads on for a moment, so that a client that is still sending
// gets to see the answer: closing a connection with bytes unread resets it.
// It waits longer for bytes that are known to come.
func swallow(conn net.Conn, known int) {
	const wait, quiet, whole = 500 * time.Millisecond, 50 * time.Millisecond, 3 * time.Second
	end := time.Now().Add(whole)
	buf := make([]byte, 64<<10)
	for n, err := 0, error(nil); n < mostSwallowed && err == nil && time.Now().Before(end); {
		pause := quiet
		if n < known {
			pause = wait
		}
		if err = conn.SetReadDeadline(time.Now().Add(pause)); err == nil {
			var k int
			k, err = conn.Read(buf)
			n += k
		}
	}
}

func (s *Server) logPanic(id, route string, v any) {
	s.log.Error("panic", "request", id, "route", route, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// logCompletion writes the one record that each completion leaves.
func (s *Server) logCompletion(c *completion, u engine.Usage) {
	attrs := []slog.Attr{
		slog.String("request", c.request),
		slog.String("route", c.kind.route),
		slog.Int("choices", len(c.generations)),
		slog.Bool("stream", c.job.Stream),
		slog.Int("prompt_tokens", u.PromptTokens),
		slog.Int("completion_tokens", u.CompletionTokens),
		slog.Duration("took", time.Since(c.start).Round(time.Microsecond)),
	}
	if c.principal != "" {
		attrs = append(attrs, slog.String("principal", c.principal))
	}
	if !c.first.IsZero() {
		attrs = append(attrs, slog.Duration("first_token", c.first.Sub(c.start).Round(time.Microsecond)))
	}
	status := 200
	if c.err != nil {
		status = toAPI(c.reason(c.err), c.request).Status
	}
	attrs = append(attrs, slog.Int("status", status), slog.String("finish", string(c.finish)))
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "completion", attrs...)
}

// requestID takes the ID that a client or a proxy chose, if it is harmless, or
// makes one.
func requestID(ctx *fasthttp.RequestCtx) string {
	id := ctx.Request.Header.Peek(headerRequestID)
	if len(id) == 0 || len(id) > 128 {
		return newID("req-")
	}
	for _, c := range id {
		if !plain(c) {
			return newID("req-")
		}
	}
	return string(id)
}

// plain reports whether a byte of a name needs no quoting anywhere.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// newID returns prefix and 96 random bits.
func newID(prefix string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}
