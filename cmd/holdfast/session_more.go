package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/holdfast-run/holdfast/api"
)

type sessionTreeCmd struct {
	Session string `arg:"" help:"Its ID."`
}

// Run draws the turns of a session.
func (c *sessionTreeCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		all, err := s.turns(ctx, c.Session)
		if err != nil {
			return err
		}
		if at.JSON {
			for i := range all.Data {
				if err := p.row(&all.Data[i]); err != nil {
					return err
				}
			}
			return nil
		}
		return drawTree(std.out, all)
	})
}

// drawTree writes a line for each turn. A turn that follows the only one before it
// stands below that; branches are set in.
func drawTree(w io.Writer, all *api.TurnList) error {
	after := map[string][]*api.Turn{}
	for i := range all.Data {
		t := &all.Data[i]
		before := ""
		if t.Parent != nil {
			before = *t.Parent
		}
		after[before] = append(after[before], t)
	}
	type line struct {
		turn *api.Turn
		deep int
	}
	var todo []line
	push := func(parent string, deep int) {
		next := after[parent]
		if len(next) > 1 {
			deep++
		}
		for i := len(next) - 1; i >= 0; i-- {
			todo = append(todo, line{next[i], deep})
		}
	}
	push("", 0)
	for len(todo) > 0 {
		l := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		mark := " "
		if all.Head != nil && *all.Head == l.turn.ID {
			mark = "*"
		}
		if _, err := fmt.Fprintf(w, "%s %s%s  %s  %d+%d tokens  %s\n", mark, strings.Repeat("  ", l.deep), l.turn.ID, l.turn.State,
			l.turn.PromptTokens, l.turn.CompletionTokens, beginning(l.turn)); err != nil {
			return fmt.Errorf("stdout: %w", err)
		}
		push(l.turn.ID, l.deep)
	}
	return nil
}

// beginning returns the first words of a turn, printable on one line.
func beginning(t *api.Turn) string {
	text := t.Text
	if n := len(t.Messages); n > 0 && t.Messages[n-1].Content != nil {
		text = string(*t.Messages[n-1].Content) + " → " + text
	}
	const most = 60
	runes := []rune(strings.Join(strings.Fields(text), " "))
	for i, r := range runes {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 { // a terminal's commands
			runes[i] = '.'
		}
	}
	if len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return string(runes)
}

type sessionExportCmd struct {
	Session string `arg:"" help:"Its ID."`
	Output  string `short:"o" placeholder:"FILE" help:"File to write. Default: standard output, if that is no terminal."`
}

// Run exports a session. A file that could not be written whole does not stay.
func (c *sessionExportCmd) Run(std streams, at *sessionAt) error {
	if c.Output == "" && isTerminal(std.out) {
		return usagef("session export: standard output is a terminal: give --output FILE")
	}
	return at.use(func(ctx context.Context, s sessions) error {
		if c.Output == "" {
			return s.export(ctx, c.Session, std.out)
		}
		part := c.Output + ".part"
		file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("session export: %w", err)
		}
		err = s.export(ctx, c.Session, file)
		if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
			err = os.Rename(part, c.Output)
		}
		if err != nil {
			return errors.Join(err, os.Remove(part))
		}
		return nil
	})
}

type sessionImportCmd struct {
	AllowInexact bool   `help:"Take a session that another model made. Its turns then go on with 'allow_inexact' only."`
	File         string `arg:"" optional:"" placeholder:"FILE" help:"File to read. Default: standard input."`
}

// Run imports a session and prints its ID.
func (c *sessionImportCmd) Run(std streams, at *sessionAt) error {
	in := std.in
	if c.File != "" {
		file, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("session import: %w", err)
		}
		defer file.Close()
		in = file
	}
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		got, err := s.importFrom(ctx, in, c.AllowInexact)
		if err != nil {
			return err
		}
		return errors.Join(p.row(got, got.ID), p.flush())
	})
}

// errDamage is a found damage, which was printed.
var errDamage = errors.New("session: damage was found: rewind or fork before it, or delete the session")

type sessionVerifyCmd struct {
	Session string `arg:"" help:"Its ID."`
}

// Run verifies a session.
func (c *sessionVerifyCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		r, err := s.verify(ctx, c.Session)
		if err != nil {
			return err
		}
		if err := errors.Join(p.row(r, reportText(r)), p.flush()); err != nil || r.OK {
			return err
		}
		return errDamage
	})
}

func reportText(r *api.SessionReport) string {
	text := fmt.Sprintf("%s: %d records, %d turns, %d tokens", r.ID, r.Records, r.Turns, r.Tokens)
	if b := r.Blocks; b.Total > 0 {
		text += fmt.Sprintf("; of %d blocks %d good, %d missing, %d bad", b.Total, b.Good, b.Missing, b.Bad)
	}
	if r.Damage != "" {
		return text + "; DAMAGED: " + r.Damage
	}
	return text
}

type sessionStatsCmd struct{}

// stats is what stats prints.
type stats struct {
	Sessions int            `json:"sessions"`
	States   map[string]int `json:"states"`
	Turns    int            `json:"turns"`
	Tokens   int            `json:"tokens"`
	Store    *storeStats    `json:"store,omitzero"`
}

// storeStats is what only a store knows.
type storeStats struct {
	LogBytes int64 `json:"log_bytes"`
	Durable  bool  `json:"durable"`
	Blocks   int   `json:"blocks"`
	KVBytes  int64 `json:"kv_bytes"`
}

// Run counts.
func (c *sessionStatsCmd) Run(std streams, at *sessionAt) error {
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		st := stats{States: map[string]int{}}
		err := s.each(ctx, func(o owned) error {
			st.Sessions++
			st.States[o.State]++
			st.Turns += o.Turns
			st.Tokens += o.Tokens
			return nil
		})
		if err != nil {
			return err
		}
		if l, ok := s.(*local); ok {
			if st.Store, err = l.stats(); err != nil {
				return err
			}
		}
		if at.JSON {
			return p.row(st)
		}
		_ = p.row(nil, "sessions", fmt.Sprint(st.Sessions))
		for _, state := range []string{"idle", "active", "interrupted", "parked", "damaged"} {
			if n := st.States[state]; n > 0 {
				_ = p.row(nil, "  "+state, fmt.Sprint(n))
			}
		}
		_ = p.row(nil, "turns", fmt.Sprint(st.Turns))
		_ = p.row(nil, "tokens", fmt.Sprint(st.Tokens))
		if st.Store != nil {
			_ = p.row(nil, "log", bytesText(st.Store.LogBytes))
			_ = p.row(nil, "KV", fmt.Sprintf("%d blocks, %s", st.Store.Blocks, bytesText(st.Store.KVBytes)))
		}
		return p.flush()
	})
}
