// Package server is Holdfast's HTTP surface: OpenAI's chat completions,
// completions and models, tokens, health and metrics, over one [Worker].
//
// A request's life: handle (routes.go) gives it an ID, finds its route and asks
// for its key; complete (completion.go) decodes it as its kind has it (chat.go, text.go), watches its
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
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
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
	// Ends returns the tokens that begin and end a text, or -1 for none.
	Ends() (bos, eos int32)
	// MaxTokenBytes is the length of the longest token.
	MaxTokenBytes() int
	// AppendToken appends the bytes of one token, which need not be UTF-8. A
	// special token has its name with names, else nothing.
	AppendToken(dst []byte, token int32, names bool) []byte
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
	// asked for and this is the first of a request's streams, once a piece of any
	// of these came. The first token has none.
	Prompt() []engine.TokenLogprob
	// Usage counts what was made so far; all of it once Finish was set.
	Usage() engine.Usage
	Close()
}

// maxHeaderBytes limits a request's first line and headers together.
const maxHeaderBytes = 16 << 10

// Server serves one worker. Create it with New, run it with Serve, end it with
// Shutdown.
type Server struct {
	cfg      Config
	log      *slog.Logger
	worker   Worker
	http     *fasthttp.Server
	routes   map[string][]route // by path
	sessions SessionWorker      // the worker; nil without sessions
	metrics  *serverMetrics
	gate     gate
	conns    conns
	queue    queue
	keys     *reloaded[*keys]            // nil without keys
	cert     *reloaded[*tls.Certificate] // nil without TLS

	base context.Context // parent of every request's context
	stop context.CancelCauseFunc
}

// New returns a server that does not listen yet.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		log:     cfg.Logger,
		worker:  cfg.Worker,
		metrics: newMetrics(),
		conns:   newConns(cfg.MaxConns),
		queue:   newQueue(cfg.MaxQueuedTokens),
	}
	if cfg.Sessions != nil {
		s.sessions = cfg.Worker.(SessionWorker)
	}
	if err := s.readFiles(); err != nil {
		return nil, err
	}
	s.base, s.stop = context.WithCancelCause(context.Background())
	s.routes = s.table()
	s.http = &fasthttp.Server{
		Name:               "holdfast",
		Handler:            s.handle,
		ErrorHandler:       s.refuse,
		Logger:             httpLogger{s.log},
		HeaderReceived:     s.limits,
		ConnState:          s.conns.changed,
		Concurrency:        2 * cfg.MaxConns, // not to be reached: a closed connection's worker is free a moment later
		ReadBufferSize:     maxHeaderBytes,
		MaxRequestBodySize: api.MaxBodyBytes,
		ReadTimeout:        cfg.ReadTimeout,
		IdleTimeout:        cfg.IdleTimeout,
		// A connection that waits for its next request holds no buffer.
		ReduceMemoryUsage: true,
		// Goroutines of closed connections wait so long for others.
		MaxIdleWorkerDuration: time.Second,
		// A WriteTimeout would be one deadline for a whole stream: each answer
		// and each event sets its own instead.
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		DisablePreParseMultipartForm: true,
		NoDefaultContentType:         true,
	}
	return s, nil
}

// readFiles reads what the configuration keeps in files.
func (s *Server) readFiles() (err error) {
	if path := s.cfg.APIKeys; path != "" {
		if s.keys, err = newReloaded(s.log, func() (*keys, error) { return readKeys(path) }, path); err != nil {
			return err
		}
	}
	if cert, key := s.cfg.TLSCert, s.cfg.TLSKey; cert != "" {
		s.cert, err = newReloaded(s.log, func() (*tls.Certificate, error) { return readCert(cert, key) }, cert, key)
	}
	return err
}

// Reload reads the files of keys and certificates again now; that they changed
// is otherwise noticed within a second. A file that is not valid changes
// nothing but the log.
func (s *Server) Reload() {
	if s.keys != nil {
		s.keys.reload()
	}
	if s.cert != nil {
		s.cert.reload()
	}
}

// Serve accepts connections until Shutdown; then it returns nil.
func (s *Server) Serve(ln net.Listener) error {
	ln = s.conns.listener(ln, s.cert == nil)
	if s.cert != nil {
		ln = tls.NewListener(ln, tlsConfig(s.cert))
	}
	defer s.conns.refusals.Wait()
	return s.http.Serve(ln)
}

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

// httpLogger passes on what the HTTP library has to say: faults of
// connections, for the most part.
type httpLogger struct{ log *slog.Logger }

func (l httpLogger) Printf(format string, args ...any) {
	l.log.Debug("http", "message", fmt.Sprintf(format, args...))
}
