package server

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-run/holdfast/session"
)

// Config configures a Server. The zero value of every field but Worker means
// its default.
type Config struct {
	Worker Worker

	// Sessions are the durable sessions; the Worker is a SessionWorker then. The
	// default is none: requests about sessions are answered 501.
	Sessions *session.Manager

	// Durability is that of sessions whose clients do not say. The default is
	// session.LevelTurn.
	Durability session.Durability

	// Version is what GET /version says.
	Version string

	// Logger receives one record for each completion and each fault. The
	// default is slog.Default().
	Logger *slog.Logger

	// Aliases are further names for the model.
	Aliases []string

	// APIKeys is the file of the keys that clients must show, one of them each;
	// parseKeys has its format. It is read again when it changes. The default is
	// none: everybody who can connect is served.
	APIKeys string

	// TLSCert and TLSKey are PEM files of a certificate, with its chain, and its
	// private key. They are read again when they change. The default is none:
	// connections are not encrypted.
	TLSCert, TLSKey string

	// MaxConns is the most connections served at once; further ones are
	// answered 503 and closed. The default is 1024.
	MaxConns int

	// MaxQueuedTokens bounds the prompts whose first token has not come: a
	// request is turned away if with it they would have more tokens, unless
	// there are none. The default is 64 times the model's context.
	MaxQueuedTokens int

	// MaxQueueTime bounds how long a request may wait to be computed, and
	// MaxTime how long it may take in all. The default is no limit.
	MaxQueueTime, MaxTime time.Duration

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

// CheckFiles reads the files that the configuration names, which New does again,
// and returns what is wrong with them: before a model is loaded, say.
func (c *Config) CheckFiles() error {
	s := Server{cfg: *c, log: slog.New(slog.DiscardHandler)}
	return s.readFiles()
}

func (c *Config) setDefaults() error {
	if c.Worker == nil {
		return errors.New("server: Config.Worker is nil")
	}
	if _, ok := c.Worker.(SessionWorker); c.Sessions != nil && !ok {
		return errors.New("server: Config.Sessions wants a SessionWorker")
	}
	if c.Durability == 0 {
		c.Durability = session.LevelTurn
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MaxConns == 0 {
		c.MaxConns = 1024
	}
	if c.MaxQueuedTokens == 0 {
		c.MaxQueuedTokens = 64 * c.Worker.Info().ContextLength
	}
	for _, n := range []struct {
		name string
		v    int
	}{{"MaxConns", c.MaxConns}, {"MaxQueuedTokens", c.MaxQueuedTokens}} {
		if n.v < 0 {
			return fmt.Errorf("server: Config.%s is %d", n.name, n.v)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("server: Config.TLSCert and Config.TLSKey go together")
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
		{"MaxQueueTime", &c.MaxQueueTime, 0},
		{"MaxTime", &c.MaxTime, 0},
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
