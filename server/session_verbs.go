package server

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/session"
)

// fork makes sessions that share the history up to a turn.
func (c *call) fork() (any, error) {
	req, err := api.DecodeForkRequest(c.http.Request.Body())
	if err != nil {
		return nil, err
	}
	forks, err := c.s.cfg.Sessions.Fork(c.ctx, c.principal, c.id, req.Turn, req.Count())
	if err != nil {
		return nil, err
	}
	got := api.SessionList{Object: api.ObjectList, Data: make([]api.Session, len(forks))}
	for i := range forks {
		got.Data[i] = *DescribeSession(&forks[i])
	}
	return got, nil
}

// rewind makes an earlier turn the head.
func (c *call) rewind() (any, error) {
	req, err := api.DecodeRewindRequest(c.http.Request.Body())
	if err != nil {
		return nil, err
	}
	s, err := c.s.cfg.Sessions.Acquire(c.ctx, c.principal, c.id)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	if err := checkHead(c.http, s.Info().Head); err != nil {
		return nil, err
	}
	if err := s.Rewind(c.ctx, *req.Turn); err != nil {
		return nil, err
	}
	s.Release()
	return c.described()
}

// checkpoint has the session's KV written to the disk, as far as it is computed.
func (c *call) checkpoint() (any, error) {
	return c.move(func(tokens []int32) error {
		_, err := c.s.sessions.Checkpoint(c.ctx, c.principal, tokens)
		return err
	})
}

// park gives up what the session has in memory.
func (c *call) park() (any, error) {
	return c.move(func(tokens []int32) error {
		if _, err := c.s.sessions.Park(c.ctx, c.principal, tokens); err != nil {
			return err
		}
		_, err := c.s.cfg.Sessions.Update(c.ctx, c.principal, c.id, session.Change{Parked: new(true)})
		return err
	})
}

// resume has the session's KV read from the disk, so that the next turn need not
// wait for it.
func (c *call) resume() (any, error) {
	return c.move(func(tokens []int32) error {
		if _, err := c.s.sessions.Prefetch(c.ctx, c.principal, tokens); err != nil {
			return err
		}
		_, err := c.s.cfg.Sessions.Update(c.ctx, c.principal, c.id, session.Change{Parked: new(false)})
		return err
	})
}

// move runs f for the session's tokens, none while it has no turn.
func (c *call) move(f func(tokens []int32) error) (any, error) {
	if err := api.DecodeNoParameters(c.http.Request.Body()); err != nil {
		return nil, err
	}
	info, err := c.s.cfg.Sessions.Get(c.principal, c.id)
	if err != nil {
		return nil, err
	}
	tokens, err := c.tokens(&info)
	if err != nil {
		return nil, err
	}
	if err := f(tokens); err != nil {
		return nil, err
	}
	return c.described()
}

// verify reads back what the log and the store have of the session.
func (c *call) verify() (any, error) {
	if err := api.DecodeNoParameters(c.http.Request.Body()); err != nil {
		return nil, err
	}
	info, err := c.s.cfg.Sessions.Get(c.principal, c.id)
	if err != nil {
		return nil, err
	}
	got := api.SessionReport{ID: c.id.String(), Object: api.ObjectSessionReport}
	log, err := c.s.cfg.Sessions.Verify(c.ctx, c.principal, c.id)
	switch {
	case logDamaged(err):
		got.Damage = trimPackage(err)
	case err != nil:
		return nil, err
	}
	got.Records, got.Turns, got.Tokens = log.Records, log.Turns, log.Tokens
	if tokens, err := c.tokens(&info); err == nil {
		kv, err := c.s.sessions.VerifyKV(c.ctx, c.principal, tokens)
		if err != nil && !errors.Is(err, engine.ErrNoStore) {
			return nil, err
		}
		got.Blocks = api.BlocksReport{Total: kv.Blocks, Good: kv.Good, Missing: kv.Missing, Bad: kv.Bad}
	}
	got.OK = got.Damage == "" && got.Blocks.Bad == 0
	return got, nil
}

// logDamaged reports whether an error says that records of a session are lost.
func logDamaged(err error) bool {
	return errors.As(err, new(*session.DamagedError)) || errors.As(err, new(*session.UnreadableError))
}

func trimPackage(err error) string { return strings.TrimPrefix(err.Error(), "session: ") }

// export answers with the session as an archive. What goes wrong before its first
// bytes has a status; behind them the connection ends without the answer's end.
func (c *call) export() (any, error) {
	if err := api.DecodeNoParameters(c.http.Request.Body()); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		// Not c.ctx: the answer is sent when the call is over. A client that leaves
		// ends it by closing r.
		w.CloseWithError(c.s.cfg.Sessions.Export(c.s.base, c.principal, c.id, w))
	}()
	head := make([]byte, 4<<10)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.Close()
		return nil, err
	}
	c.http.SetStatusCode(200)
	c.http.SetContentType("application/octet-stream")
	c.http.Response.Header.Set("Content-Disposition", `attachment; filename="`+c.id.String()+`"`)
	extend := func() error { return c.http.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout)) }
	c.http.SetBodyStream(&archive{r, io.MultiReader(bytes.NewReader(head[:n]), r), extend}, -1)
	return nil, errSent
}

// archive is the body of an export.
type archive struct {
	pipe           *io.PipeReader
	rest           io.Reader
	extendDeadline func() error
}

// Read implements io.Reader.
func (a *archive) Read(p []byte) (int, error) {
	if err := a.extendDeadline(); err != nil {
		return 0, err
	}
	return a.rest.Read(p)
}

// Close implements io.Closer.
func (a *archive) Close() error { return a.pipe.Close() }

// importOne makes a session of an archive.
func (c *call) importOne() (any, error) {
	query := c.http.QueryArgs()
	spec := session.Spec{Durability: c.s.cfg.Durability}
	var err error
	if text := string(query.Peek("durability")); text != "" {
		if spec.Durability, err = session.ParseDurability(text); err != nil {
			return nil, api.BadRequest(api.CodeInvalidValue, "durability", "The durability does not exist; use memory, turn or step.")
		}
	}
	if spec.Key, err = idempotencyKey(c.http); err != nil {
		return nil, err
	}
	if !query.GetBool("allow_inexact") {
		if spec.Model, err = c.s.sessionModel(); err != nil {
			return nil, err
		}
	}
	info, err := c.s.cfg.Sessions.Import(c.ctx, c.principal, bytes.NewReader(c.http.Request.Body()), spec)
	if err != nil {
		return nil, err
	}
	return DescribeSession(&info), nil
}
