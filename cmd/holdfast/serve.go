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
	"github.com/holdfast-run/holdfast/session"
)

type serveCmd struct {
	modelFlags
	Config       string        `placeholder:"FILE" help:"JSON file of values for these flags, for those that neither the command line nor the environment gives."`
	Listen       string        `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address to serve on; port 0 takes a free one. Default ${default}."`
	AllowRemote  bool          `help:"Allow an address that other machines reach. Wants --api-keys, --tls-cert and --tls-key."`
	Insecure     bool          `help:"With --allow-remote: do without keys or TLS, because a proxy or the network sees to both."`
	APIKeys      string        `name:"api-keys" placeholder:"FILE" help:"API keys that clients must show: lines of NAME:HASH, where HASH is the key's SHA-256 in hexadecimal. Default: none."`
	TLSCert      string        `name:"tls-cert" placeholder:"FILE" help:"PEM file of a certificate and its chain: serve HTTPS. Default: none."`
	TLSKey       string        `name:"tls-key" placeholder:"FILE" help:"PEM file of the certificate's private key."`
	MaxConns     int           `name:"max-connections" default:"1024" placeholder:"N" help:"Most connections at once. Default ${default}."`
	MaxQueued    int           `name:"max-queued-tokens" placeholder:"N" help:"Most tokens of prompts that wait for their first token; a request that would add to more gets 429. Default: 64 times the context."`
	MaxQueueTime time.Duration `default:"2m" placeholder:"DURATION" help:"How long a request may wait before it is computed; then it gets 503. 0s is for ever. Default ${default}."`
	MaxTime      time.Duration `default:"0s" placeholder:"DURATION" help:"How long a request may take in all; then it gets 504, or its stream an error. 0s, the default, is for ever."`
	ServedNames  []string      `name:"served-model-name" sep:"none" placeholder:"NAME" help:"The name that clients use for the model; further ones, if given again, are aliases. Default: the file's name without its extension."`
	MaxSequences int           `placeholder:"N" help:"Most requests that compute at once; more wait. Default 16."`
	ITL          time.Duration `name:"itl-target" default:"50ms" placeholder:"DURATION" help:"Target for the time between two tokens of a stream: prompts beside it are computed in chunks that keep it, as far as one tile of 16 tokens does. Default ${default}."`
	Store        string        `placeholder:"DIR" help:"Folder for what outlives the process: sessions, their KV, and the digests of model files; off keeps nothing on disk, and no sessions. Default: holdfast in $$XDG_STATE_HOME or in ~/.local/state."`
	StoreSize    string        `default:"16GiB" placeholder:"SIZE" help:"Most bytes of KV in the store; 0 keeps none. Beyond, the oldest that is not used gives way. Default ${default}."`
	Restore      string        `default:"auto" enum:"auto,load,recompute" placeholder:"HOW" help:"What a session's KV on disk is for: load it, recompute it, or auto, whatever is faster. Default ${default}."`
	Durability   string        `default:"turn" enum:"memory,turn,step" placeholder:"LEVEL" help:"Of sessions whose clients do not say: what is on disk before a client sees it. memory is nothing; turn, each finished turn; step, each token. Default ${default}."`
	DrainTimeout time.Duration `default:"30s" placeholder:"DURATION" help:"How long running requests may go on after SIGTERM. Default ${default}."`
	TakeoverWait time.Duration `default:"0s" placeholder:"DURATION" help:"How long to wait for another process to give up the address and the store. Default ${default}: not at all."`
	Admin        string        `placeholder:"FILE" help:"Unix socket for profiles and the trace of steps, which only the same user may open. Default: none."`
	LogFormat    string        `default:"text" enum:"text,json" placeholder:"FORMAT" help:"Of what goes to stderr: text, or json, one object a line. Default ${default}."`
	LogLevel     string        `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"The least of what goes to stderr: debug, info, warn or error. Default ${default}."`
	DryRun       bool          `help:"Print the memory plan and stop there."`
}

// Help is shown by 'holdfast serve --help'.
func (serveCmd) Help() string {
	return `Loads a model and answers POST /v1/chat/completions, /v1/completions (streaming or not), /v1/sessions, /tokenize, /detokenize, GET /v1/models, /tokenizer_info, /version, /health, /health/ready and /metrics.

With --api-keys every route but /health, /health/ready and /metrics wants 'Authorization: Bearer KEY', and each name in the file gets its fair share of the machine. A key and its line in the file:
  key=$(openssl rand -hex 32)
  echo "alice:$(printf %s "$key" | sha256sum | cut -d' ' -f1)" >> keys

The files of keys and certificates are read again within a second after they change, and on SIGHUP.

On stderr it prints the memory plan, the time of each phase of its start, and one line for each request; never a prompt.

SIGTERM or SIGINT ends it: readiness fails at once, new requests are refused, running ones may end within --drain-timeout, and the exit code is 0. A second signal cuts them off.

Sessions, at /v1/sessions, are conversations that outlive the process: docs/SESSIONS.md. They are in --store, which one process at a time may have; 'holdfast session' looks after them. A second server on the machine wants a store of its own, or --store off. Requests without a session write nothing to disk.

With --admin FILE, 'curl --unix-socket FILE http://admin/debug/pprof/profile?seconds=10' fetches a profile for 'go tool pprof', and http://admin/debug/steps the newest 4,096 steps for ui.perfetto.dev.

With --takeover-wait a second process can be started before the first has ended: it waits for the address and the store, then loads.

Each flag may also come from the environment, as HOLDFAST_ and its name in capitals (HOLDFAST_MAX_SEQUENCES=32), or from the file that --config names, a JSON object of flags' names and values. The command line goes before the environment, that before the file. A key that is no flag is an error.

The exit code is 0 after a stop, also one that cut requests off; 1 if it could not start, could not go on, or a step of the model has hung for minutes; 2 for a mistake in flags, environment or file.

Examples:
  holdfast serve --model models/SmolLM2-135M-Instruct.Q4_1.gguf
  holdfast serve --config /etc/holdfast.json --log-format json
  echo '{"model": "m.gguf", "listen": "127.0.0.1:9000", "drain-timeout": "1m"}' > f.json`
}

// Validate is called by the flag parser.
func (c *serveCmd) Validate() error {
	if err := c.modelFlags.Validate(); err != nil {
		return err
	}
	if c.MaxSequences < 0 {
		return fmt.Errorf("--max-sequences is %d; give 1 or more", c.MaxSequences)
	}
	if c.ITL <= 0 {
		return fmt.Errorf("--itl-target is %v; give more than 0s", c.ITL)
	}
	if c.DrainTimeout < 0 {
		return fmt.Errorf("--drain-timeout is %v; give 0s or more", c.DrainTimeout)
	}
	if _, err := parseSize(c.StoreSize); err != nil {
		return err
	}
	if c.TakeoverWait < 0 {
		return fmt.Errorf("--takeover-wait is %v; give 0s or more", c.TakeoverWait)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen is %q; give HOST:PORT, as in 127.0.0.1:8080", c.Listen)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key go together; give both or neither")
	}
	switch {
	case c.MaxConns < 1:
		return fmt.Errorf("--max-connections is %d; give 1 or more", c.MaxConns)
	case c.MaxQueued < 0:
		return fmt.Errorf("--max-queued-tokens is %d; give 1 or more", c.MaxQueued)
	case c.MaxQueueTime < 0:
		return fmt.Errorf("--max-queue-time is %v; give 0s or more", c.MaxQueueTime)
	case c.MaxTime < 0:
		return fmt.Errorf("--max-time is %v; give 0s or more", c.MaxTime)
	}
	return c.validateRemote(host)
}

// validateRemote refuses to be open to other machines by oversight.
func (c *serveCmd) validateRemote(host string) error {
	ip := net.ParseIP(host)
	switch {
	case host == "localhost" || ip != nil && ip.IsLoopback():
		return nil
	case !c.AllowRemote:
		return fmt.Errorf("--listen %s is reachable from other machines; use 127.0.0.1, or add --allow-remote with --api-keys, --tls-cert and --tls-key", c.Listen)
	case c.Insecure || c.APIKeys != "" && c.TLSCert != "":
		return nil
	case c.APIKeys == "":
		return fmt.Errorf("--listen %s with --allow-remote serves everybody who can reach it; add --api-keys, or --insecure if something in front of it asks for keys", c.Listen)
	}
	return fmt.Errorf("--listen %s with --allow-remote sends keys and prompts unencrypted; add --tls-cert and --tls-key, or --insecure if something in front of it encrypts", c.Listen)
}

// Run serves until a signal comes.
func (c *serveCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	logger, lines := newLogger(std.err, c.LogFormat, c.LogLevel)

	cfg := c.config()
	store, err := storeDir(c.Store)
	if err != nil {
		return err
	}
	cfg.MaxSequences, cfg.ITL, cfg.Store, cfg.Log = c.MaxSequences, c.ITL, store, logger
	cfg.Restore = engine.RestoreMode(c.Restore)
	if cfg.StoreBytes, err = parseSize(c.StoreSize); err != nil {
		return err // Validate has seen it
	}
	var aliases []string
	if len(c.ServedNames) > 0 {
		cfg.ModelID, aliases = c.ServedNames[0], c.ServedNames[1:]
	}
	if c.DryRun {
		_, err := openModel(ctx, cfg, lines, true)
		return err
	}
	http := server.Config{
		Version:         version,
		Aliases:         aliases,
		APIKeys:         c.APIKeys,
		TLSCert:         c.TLSCert,
		TLSKey:          c.TLSKey,
		MaxConns:        c.MaxConns,
		MaxQueuedTokens: c.MaxQueued,
		MaxQueueTime:    c.MaxQueueTime,
		MaxTime:         c.MaxTime,
		Logger:          logger,
	}
	// What may be wrong with small files and the port comes first: better to know
	// before loading.
	if err := http.CheckFiles(); err != nil {
		return fmt.Errorf("serve: %s", trim(err))
	}
	claim, err := takeOver(ctx, store, c.Listen, c.TakeoverWait, lines)
	if err != nil {
		return err
	}
	defer claim.Close()
	var ops *admin
	if c.Admin != "" {
		if ops, err = openAdmin(c.Admin); err != nil {
			return err
		}
		defer func() {
			if err := ops.close(); err != nil {
				logger.Error("the admin socket was not closed in order", "error", err)
			}
		}()
	}
	start := time.Now()
	if store != "" {
		if http.Sessions, err = openSessions(store, lines); err != nil {
			return err
		}
		defer func() { // after the engine, which writes into their turns
			if err := http.Sessions.Close(); err != nil {
				logger.Error("the sessions' log was not closed in order", "error", err)
			}
		}()
		if http.Durability, err = session.ParseDurability(c.Durability); err != nil {
			return err
		}
	}
	e, err := openModel(ctx, cfg, lines, false)
	if err != nil {
		return err
	}
	if ops != nil {
		ops.serve(e)
	}
	http.Worker = newWorker(e)
	srv, err := server.New(http)
	if err != nil {
		return errors.Join(fmt.Errorf("serve: %s", trim(err)), e.Close())
	}
	if http.Sessions != nil {
		defer c.lookAfter(http.Sessions, e, logger)()
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	served := make(chan error, 1)
	go func() {
		defer close(served) // drain waits for it as well
		served <- srv.Serve(claim.port)
	}()
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	fmt.Fprintf(lines, "ready: %s on %s://%s after %s\n", e.Info().ID, scheme, claim.port.Addr(), round(time.Since(start)))

	switch err := until(ctx, served, e.Wedged(), hangup, srv.Reload); {
	case errors.Is(err, errWedged):
		return err // and no Close, which would wait for the step
	case err != nil:
		return errors.Join(fmt.Errorf("serve: %s: %w", c.Listen, err), e.Close())
	}
	stop() // a second signal does what signals do
	drained := make(chan error, 1)
	go func() { drained <- c.drain(lines, srv, e, served) }()
	return until(context.Background(), drained, e.Wedged(), nil, nil)
}

// lookAfter begins the upkeep of sessions, and returns what ends it.
func (c *serveCmd) lookAfter(m *session.Manager, e *engine.Engine, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		upkeep(ctx, m, e, log)
	}()
	return func() {
		cancel()
		<-done
	}
}

// errWedged ends a process whose device does not come back: whoever watches it
// starts another.
var errWedged = errors.New("serve: a step of the model hangs: ended, so that another process can take over")

// until waits for an end, which may be an error, or for the context's.
func until(ctx context.Context, ended <-chan error, wedged <-chan struct{}, hangup <-chan os.Signal, reload func()) error {
	for {
		select {
		case err := <-ended:
			return err
		case <-wedged:
			return errWedged
		case <-hangup:
			reload()
		case <-ctx.Done():
			return nil
		}
	}
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
