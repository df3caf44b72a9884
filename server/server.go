// Package server is Holdfast's HTTP surface: OpenAI's chat completions,
// completions and models, tokens, health and metrics, over one [Worker].
//
// A request's life: handle gives it an ID and finds its route; complete
// (completion.go) decodes it as its kind has it (chat.go, text.go), watches its
// client (watch.go), has the worker encode and generate, and answers in one
// piece or as a stream of events (sse.go). What goes wrong before the first
// byte is answered with a status of its own (errors.go); after it, with an
// error event.
//
// Handlers block only in the worker's Next and in writes that have a deadline.
// No prompt and no completion is ever logged.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
)

// Worker is what the server needs of an engine. Its methods are safe for
// concurrent use.
type Worker interface {
	Info() engine.Info
	// EncodeChat renders a conversation and turns it into tokens.
	EncodeChat(in chat.Input) ([]int32, error)
	// Encode turns a text into tokens, in which the names of special tokens
	// become these. With begin, the token that begins every text comes first,
	// where the model wants one.
	Encode(text string, begin bool) []int32
	// Decode returns the text of tokens of the vocabulary, with the names of
	// special ones, as valid UTF-8.
	Decode(tokens []int32) string
	// AppendToken appends the bytes of one token, which need not be UTF-8; those
	// of a special one are its name.
	AppendToken(dst []byte, token int32) []byte
	// Generate queues a request and returns a stream for each of its N
	// completions, all of which the caller must Close. The context ends them in
	// whatever phase they are.
	Generate(ctx context.Context, r engine.Request) ([]Stream, error)
	Ready() error
	Stats() engine.Stats
}

// Stream is one generation. Next is for one goroutine.
type Stream interface {
	// Next blocks for the next piece. After the piece that has Finish set it
	// returns io.EOF; once the context has ended, an error.
	Next() (engine.Delta, error)
	// Prompt returns the log-probabilities of the prompt's tokens, if they were
	// asked for, once the first piece came. The first token has none.
	Prompt() []engine.TokenLogprob
	// Usage counts what was made so far; all of it once Finish was set.
	Usage() engine.Usage
	Close()
}

// Config configures a Server. The zero value of every field but Worker means
// its default.
type Config struct {
	Worker Worker

	// Version is what GET /version says.
	Version string

	// Logger receives one record for each completion and each fault. The
	// default is slog.Default().
	Logger *slog.Logger

	// MaxConns is the most connections served at once; further ones are
	// answered 503 and closed. The default is 1024.
	MaxConns int

	// ReadTimeout bounds how long a client may take to send a request. The
	// default is 30 s.
	ReadTimeout time.Duration

	// IdleTimeout is how long a connection may wait for its next request. The
	// default is 2 min.
	IdleTimeout time.Duration

	// WriteTimeout bounds one write: an answer in one piece, or one event of a
	// stream. There is no limit on a whole stream. The default is 30 s.
	WriteTimeout time.Duration

	// CloseGrace is how long Shutdown waits, once no completion is left, for
	// connections to end. The default is 2 s.
	CloseGrace time.Duration
}

func (c *Config) setDefaults() error {
	if c.Worker == nil {
		return errors.New("server: Config.Worker is nil")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MaxConns == 0 {
		c.MaxConns = 1024
	}
	if c.MaxConns < 0 {
		return fmt.Errorf("server: Config.MaxConns is %d", c.MaxConns)
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"ReadTimeout", &c.ReadTimeout, 30 * time.Second},
		{"IdleTimeout", &c.IdleTimeout, 2 * time.Minute},
		{"WriteTimeout", &c.WriteTimeout, 30 * time.Second},
		{"CloseGrace", &c.CloseGrace, 2 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 {
			return fmt.Errorf("server: Config.%s is %v", d.name, *d.v)
		}
	}
	return nil
}

// maxHeaderBytes limits a request's first line and headers together.
const maxHeaderBytes = 16 << 10

// Server serves one worker. Create it with New, run it with Serve, end it with
// Shutdown.
type Server struct {
	cfg     Config
	log     *slog.Logger
	worker  Worker
	http    *fasthttp.Server
	routes  map[string]route
	metrics *serverMetrics
	gate    gate

	base context.Context // parent of every request's context
	stop context.CancelCauseFunc
}

// New returns a server that does not listen yet.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, worker: cfg.Worker, metrics: newMetrics()}
	s.base, s.stop = context.WithCancelCause(context.Background())
	s.routes = map[string]route{
		chatKind.route:  {"POST", s.completions(&chatKind)},
		textKind.route:  {"POST", s.completions(&textKind)},
		"/v1/models":    {"GET", s.models},
		modelPrefix:     {"GET", s.model},
		"/tokenize":     {"POST", s.tokenize},
		"/detokenize":   {"POST", s.detokenize},
		"/version":      {"GET", s.version},
		"/health":       {"GET", s.health},
		"/health/ready": {"GET", s.ready},
		"/metrics":      {"GET", s.writeMetrics},
	}
	s.http = &fasthttp.Server{
		Name:               "holdfast",
		Handler:            s.handle,
		ErrorHandler:       s.refuse,
		Logger:             httpLogger{s.log},
		Concurrency:        cfg.MaxConns,
		ReadBufferSize:     maxHeaderBytes,
		MaxRequestBodySize: api.MaxBodyBytes,
		ReadTimeout:        cfg.ReadTimeout,
		IdleTimeout:        cfg.IdleTimeout,
		// A WriteTimeout would be one deadline for a whole stream: each answer
		// and each event sets its own instead.
		TCPKeepalive:                 true,
		TCPKeepalivePeriod:           30 * time.Second,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		DisablePreParseMultipartForm: true,
		NoDefaultContentType:         true,
	}
	return s, nil
}

// Serve accepts connections until Shutdown; then it returns nil.
func (s *Server) Serve(ln net.Listener) error { return s.http.Serve(ln) }

// Shutdown ends the server in order: readiness fails and new completions are
// refused while those under way go on; when none is left, or when ctx ends,
// which cuts them off, it closes listeners and connections. The error says
// that completions were cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	var cut error
	idle := s.gate.close()
	select {
	case <-idle:
	case <-ctx.Done():
		cut = fmt.Errorf("server: completions were cut off: %w", context.Cause(ctx))
	}
	s.stop(errStopping)
	grace, cancel := context.WithTimeout(context.Background(), s.cfg.CloseGrace)
	defer cancel()
	select {
	case <-idle:
	case <-grace.Done():
	}
	if err := s.http.ShutdownWithContext(grace); err != nil && grace.Err() == nil {
		return errors.Join(cut, err)
	}
	return cut
}

// A route is one path and the one method that it has; GET stands for HEAD too.
type route struct {
	method string
	serve  fasthttp.RequestHandler
}

// route finds a path's route, and the name that it has in metrics and logs.
func (s *Server) route(path string) (name string, r route, found bool) {
	if id, ok := strings.CutPrefix(path, modelPrefix); ok && id != "" {
		path = modelPrefix
	} else if ok {
		path = ""
	}
	if r, found = s.routes[path]; found {
		return path, r, true
	}
	return "other", r, false
}

// handle is the entry of every request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	id := requestID(ctx)
	path, r, found := s.route(string(ctx.Path()))
	defer func() {
		if v := recover(); v != nil {
			s.logPanic(id, path, v)
			ctx.Response.Reset()
			ctx.Response.Header.Set(headerRequestID, id)
			sendError(ctx, internalError(id))
		}
		s.metrics.countRequest(path, ctx.Response.StatusCode())
		_ = ctx.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
	}()
	ctx.Response.Header.Set(headerRequestID, id)
	switch method := string(ctx.Method()); {
	case !found:
		sendError(ctx, api.NewError(404, api.TypeInvalidRequest, api.CodeNotFound, "There is no such path; completions are at POST /v1/chat/completions."))
	case method == r.method, method == "HEAD" && r.method == "GET":
		r.serve(ctx)
	default:
		allow := r.method
		if allow == "GET" {
			allow = "GET, HEAD"
		}
		ctx.Response.Header.Set("Allow", allow)
		sendError(ctx, api.NewError(405, api.TypeInvalidRequest, api.CodeMethodNotAllowed, "This path takes "+allow+" only."))
	}
}

// httpLogger passes on what the HTTP library has to say: faults of
// connections, for the most part.
type httpLogger struct{ log *slog.Logger }

func (l httpLogger) Printf(format string, args ...any) {
	l.log.Debug("http", "message", fmt.Sprintf(format, args...))
}
