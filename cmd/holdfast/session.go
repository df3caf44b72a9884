package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
)

type sessionCmd struct {
	sessionAt

	Ls     sessionLsCmd     `cmd:"" help:"List sessions."`
	Show   sessionShowCmd   `cmd:"" help:"Show one session: state, head, lifetime, where its KV is."`
	Tree   sessionTreeCmd   `cmd:"" help:"Draw a session's turns as a tree."`
	Fork   sessionForkCmd   `cmd:"" help:"Make sessions that share a session's history up to a turn."`
	Rewind sessionRewindCmd `cmd:"" help:"Make an earlier turn the head."`
	Export sessionExportCmd `cmd:"" help:"Write a session into a file."`
	Import sessionImportCmd `cmd:"" help:"Make a session of such a file."`
	Verify sessionVerifyCmd `cmd:"" help:"Read back what is stored of a session."`
	Rm     sessionRmCmd     `cmd:"" help:"Delete sessions."`
	Gc     sessionGcCmd     `cmd:"" help:"End what has expired and free the log of a stopped store."`
	Fsck   sessionFsckCmd   `cmd:"" help:"Read back everything in a stopped store."`
	Stats  sessionStatsCmd  `cmd:"" help:"Count sessions, turns and bytes."`
}

// Help is shown by 'holdfast session --help'.
func (sessionCmd) Help() string {
	return `Looks after durable sessions: at a server, which --server names, or in a store that no server has open, with --store.

A server shows the sessions of whose key it is asked with. A store shows everybody's, unless --principal names one; the lock of a store says which process has it open.

Output is a table, or with --json one JSON object a line, as the server's API has them (docs/SESSIONS.md).

In the environment --server is HOLDFAST_SESSION_SERVER and --store is HOLDFAST_SESSION_STORE: HOLDFAST_STORE is that of serve, which may have it open.

The exit code is 0 if all is well; 1 if something failed, or if verify or fsck found damage; 2 for a mistake in the command line.

Examples:
  holdfast session ls
  holdfast session tree sess_…
  holdfast session fork --turn turn_3 sess_…
  holdfast session export sess_… > backup
  holdfast session import --server https://other:8080 --api-key-file key < backup
  holdfast session fsck --store ~/.local/state/holdfast`
}

// sessionAt says where the sessions are.
type sessionAt struct {
	Server     string `env:"HOLDFAST_SESSION_SERVER" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Server to ask. Default ${default}."`
	APIKeyFile string `name:"api-key-file" placeholder:"FILE" help:"File whose first line is the API key. Default: the variable OPENAI_API_KEY, or none."`
	Store      string `env:"HOLDFAST_SESSION_STORE" placeholder:"DIR" help:"Work on a store instead, which no server may have open."`
	Principal  string `placeholder:"NAME" help:"With --store: only this principal's sessions, and whose an import is. Default: everybody's; an import is of a server without keys."`
	JSON       bool   `name:"json" help:"One JSON object a line."`
}

// AfterApply gives the subcommands where to look.
func (c *sessionCmd) AfterApply(ctx *kong.Context) error {
	ctx.Bind(&c.sessionAt)
	return nil
}

// sessions are those of a server or of a store.
type sessions interface {
	// each calls f for all of them.
	each(ctx context.Context, f func(owned) error) error
	get(ctx context.Context, id string) (*owned, error)
	turns(ctx context.Context, id string) (*api.TurnList, error)
	fork(ctx context.Context, id, turn string, n int) ([]api.Session, error)
	rewind(ctx context.Context, id, turn string) (*api.Session, error)
	export(ctx context.Context, id string, w io.Writer) error
	importFrom(ctx context.Context, r io.Reader, inexact bool) (*api.Session, error)
	verify(ctx context.Context, id string) (*api.SessionReport, error)
	remove(ctx context.Context, id string) error
	Close() error
}

// owned is a session and, in a store, whose it is.
type owned struct {
	api.Session
	Principal string `json:"principal,omitzero"`
}

// use runs f on the sessions, until a signal comes.
func (at *sessionAt) use(f func(ctx context.Context, s sessions) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var s sessions
	if at.Store == "" {
		s, err = newRemote(at)
	} else {
		s, err = openLocal(at)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return f(ctx, s)
}

// printer writes values as lines of JSON, or rows of a table.
type printer struct {
	json bool
	out  io.Writer
	tab  *tabwriter.Writer
}

func (at *sessionAt) printer(out io.Writer) *printer {
	return &printer{json: at.JSON, out: out, tab: tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
}

// heading writes the first row of a table.
func (p *printer) heading(cells ...string) {
	if !p.json {
		fmt.Fprintln(p.tab, strings.Join(cells, "\t"))
	}
}

func (p *printer) row(value any, cells ...string) error {
	if !p.json {
		_, err := fmt.Fprintln(p.tab, strings.Join(cells, "\t"))
		return err
	}
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = p.out.Write(append(line, '\n'))
	return err
}

func (p *printer) flush() error {
	if err := p.tab.Flush(); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

func orDash(text *string) string {
	if text == nil || *text == "" {
		return "-"
	}
	return *text
}

// when writes a time for people.
func when(unix int64) string { return time.Unix(unix, 0).Format(time.DateTime) }

type sessionLsCmd struct{}

// Run lists sessions.
func (c *sessionLsCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		head := []string{"SESSION", "STATE", "HEAD", "TURNS", "TOKENS", "USED"}
		if at.Store != "" {
			head = append(head, "PRINCIPAL")
		}
		p.heading(head...)
		err := s.each(ctx, func(o owned) error {
			cells := []string{o.ID, o.State, orDash(o.Head), fmt.Sprint(o.Turns), fmt.Sprint(o.Tokens), when(o.LastUsed)}
			if at.Store != "" {
				cells = append(cells, orDash(&o.Principal))
			}
			return p.row(o, cells...)
		})
		if err != nil {
			return err
		}
		return p.flush()
	})
}

type sessionShowCmd struct {
	Session string `arg:"" help:"Its ID."`
}

// Run shows a session.
func (c *sessionShowCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		o, err := s.get(ctx, c.Session)
		if err != nil {
			return err
		}
		if at.JSON {
			return p.row(o)
		}
		row := func(name, format string, args ...any) { _ = p.row(nil, name, fmt.Sprintf(format, args...)) }
		row("session", "%s", o.ID)
		if at.Store != "" {
			row("principal", "%s", orDash(&o.Principal))
		}
		row("state", "%s", o.State)
		row("head", "%s", orDash(o.Head))
		row("turns", "%d, %d tokens", o.Turns, o.Tokens)
		row("durability", "%s; on the disk: %v", o.Durability, o.Durable)
		row("exact", "%v", o.Exact)
		if o.Parent != nil {
			row("forked from", "%s at %s", o.Parent.ID, orDash(o.Parent.Head))
		}
		row("created", "%s", when(o.Created))
		row("last used", "%s", when(o.LastUsed))
		switch {
		case o.Pinned:
			row("expires", "never: pinned")
		case o.ExpiresAt == nil:
			row("expires", "never")
		default:
			row("expires", "%s", when(*o.ExpiresAt))
		}
		if b := o.Bytes; b != nil {
			row("KV", "%s, of it %s in memory and %s on disk", bytesText(b.Total), bytesText(b.Device), bytesText(b.Disk))
		}
		return p.flush()
	})
}

type sessionForkCmd struct {
	N       int    `name:"count" default:"1" placeholder:"N" help:"How many. Default ${default}."`
	Turn    string `placeholder:"TURN" help:"The last turn that they have. Default: the head."`
	Session string `arg:"" help:"The session's ID."`
}

// Validate is called by the flag parser.
func (c *sessionForkCmd) Validate() error {
	if c.N < 1 || c.N > api.MaxForks {
		return fmt.Errorf("--count is %d; give 1 to %d", c.N, api.MaxForks)
	}
	return nil
}

// Run forks a session and prints the new IDs.
func (c *sessionForkCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		forks, err := s.fork(ctx, c.Session, c.Turn, c.N)
		if err != nil {
			return err
		}
		for _, f := range forks {
			if err := p.row(f, f.ID); err != nil {
				return err
			}
		}
		return p.flush()
	})
}

type sessionRewindCmd struct {
	Session string `arg:"" help:"The session's ID."`
	Turn    string `arg:"" help:"The new head; 'start' is the beginning."`
}

// Run rewinds a session.
func (c *sessionRewindCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		turn := c.Turn
		if turn == "start" {
			turn = ""
		}
		got, err := s.rewind(ctx, c.Session, turn)
		if err != nil {
			return err
		}
		return errors.Join(p.row(got, got.ID, orDash(got.Head)), p.flush())
	})
}

type sessionRmCmd struct {
	Sessions []string `arg:"" name:"session" help:"Their IDs."`
}

// Run deletes sessions. One that fails does not keep the others.
func (c *sessionRmCmd) Run(at *sessionAt) error {
	return at.use(func(ctx context.Context, s sessions) (err error) {
		for _, id := range c.Sessions {
			err = errors.Join(err, s.remove(ctx, id))
		}
		return err
	})
}
