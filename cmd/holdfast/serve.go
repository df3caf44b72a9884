package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/server"
)

type serveCmd struct {
	modelFlags
	Listen       string        `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to serve on; port 0 takes a free one. Default ${default}."`
	AllowRemote  bool          `help:"Allow an address that other machines reach. There is no authentication yet."`
	ServedName   string        `name:"served-model-name" placeholder:"NAME" help:"The name that clients use for the model. Default: the file's name without its extension."`
	MaxSequences int           `placeholder:"N" help:"Most requests that compute at once; more wait. Default 16."`
	Store        string        `placeholder:"DIR" help:"Folder for what outlives the process: so far, the digests of model files, which then need not be computed at each start. Default: none."`
	DrainTimeout time.Duration `default:"30s" placeholder:"DURATION" help:"How long running requests may go on after SIGTERM. Default ${default}."`
	LogLevel     slog.Level    `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Default ${default}."`
	DryRun       bool          `help:"Print the memory plan and stop there."`
}

// Help is shown by 'holdfast serve --help'.
func (serveCmd) Help() string {
	return `Loads a model and answers POST /v1/chat/completions (streaming or not), GET /v1/models, /health, /health/ready and /metrics.

On stderr it prints the memory plan, the time of each phase of its start, and one line for each request; never a prompt.

SIGTERM or SIGINT ends it: readiness fails at once, new requests are refused, running ones may end within --drain-timeout, and the exit code is 0. A second signal cuts them off.

Example:
  holdfast serve --model models/SmolLM2-135M-Instruct.Q4_1.gguf --listen 127.0.0.1:8080`
}

// Validate is called by the flag parser.
func (c *serveCmd) Validate() error {
	if err := c.modelFlags.Validate(); err != nil {
		return err
	}
	if c.MaxSequences < 0 {
		return fmt.Errorf("--max-sequences is %d; give 1 or more", c.MaxSequences)
	}
	if c.DrainTimeout < 0 {
		return fmt.Errorf("--drain-timeout is %v; give 0s or more", c.DrainTimeout)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen is %q; give HOST:PORT, as in 127.0.0.1:8080", c.Listen)
	}
	if ip := net.ParseIP(host); !c.AllowRemote && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %s is reachable from other machines and there is no authentication yet; use 127.0.0.1, or add --allow-remote", c.Listen)
	}
	return nil
}

// Run serves until a signal comes.
func (c *serveCmd) Run(std streams) error {
	start := time.Now()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	cfg := c.config()
	cfg.ModelID, cfg.MaxSequences, cfg.Store = c.ServedName, c.MaxSequences, c.Store
	if c.DryRun {
		_, err := openModel(ctx, cfg, std.err, true)
		return err
	}
	// The port comes first: if it is taken, better to know before loading.
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return listenError(c.Listen, err)
	}
	defer ln.Close()
	e, err := openModel(ctx, cfg, std.err, false)
	if err != nil {
		return err
	}
	srv, err := server.New(server.Config{
		Worker:  worker{e},
		Version: version,
		Logger:  slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: c.LogLevel})),
	})
	if err != nil {
		return errors.Join(err, e.Close())
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	fmt.Fprintf(std.err, "ready: %s on http://%s after %s\n", e.Info().ID, ln.Addr(), round(time.Since(start)))

	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve: %s: %w", c.Listen, err), e.Close())
	case <-ctx.Done():
	}
	stop() // a second signal does what signals do
	return c.drain(std.err, srv, e, served)
}

// drain ends the server in order.
func (c *serveCmd) drain(w io.Writer, srv *server.Server, e *engine.Engine, served <-chan error) error {
	fmt.Fprintf(w, "stopping: waiting up to %s for running requests\n", c.DrainTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), c.DrainTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		fmt.Fprintf(w, "stopping: %s\n", trim(err))
	}
	if err := <-served; err != nil {
		fmt.Fprintf(w, "stopping: %v\n", err)
	}
	if err := e.Close(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	fmt.Fprintln(w, "stopped")
	return nil
}

func listenError(addr string, err error) error {
	what := err
	var op *net.OpError
	if errors.As(err, &op) {
		what = op.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen: %s: the address is in use: stop what listens there, or give another --listen", addr)
	}
	return fmt.Errorf("listen: %s: %v: give another --listen", addr, what)
}
