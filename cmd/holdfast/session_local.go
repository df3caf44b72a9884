package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/kvcache/store"
	"github.com/holdfast-run/holdfast/server"
	"github.com/holdfast-run/holdfast/session"
)

// local are the sessions of a store that this process has open.
type local struct {
	dir  string
	lock *os.File
	m    *session.Manager
	only string // principal; "" for all
}

// openLocal opens a store, which must exist.
func openLocal(at *sessionAt) (*local, error) {
	if _, err := os.Stat(logFolder(at.Store)); err != nil {
		return nil, fmt.Errorf("session: store: %w: give the --store of a server that had sessions", err)
	}
	l := &local{dir: at.Store, only: at.Principal}
	var err error
	if l.lock, err = lockStore(at.Store); err != nil {
		return nil, err
	}
	if l.m, err = openSessions(at.Store, io.Discard); err != nil {
		return nil, errors.Join(err, l.lock.Close())
	}
	return l, nil
}

func (l *local) Close() error {
	if err := errors.Join(l.m.Close(), l.lock.Close()); err != nil {
		return fmt.Errorf("session: store: %w", err)
	}
	return nil
}

// principals returns those whose sessions are looked at.
func (l *local) principals() []string {
	if l.only != "" {
		return []string{l.only}
	}
	return l.m.Principals()
}

func (l *local) each(_ context.Context, f func(owned) error) error {
	for _, who := range l.principals() {
		after, more := session.ID{}, true
		for more {
			var page []session.Info
			if page, more = l.m.List(who, after, api.MaxSessionList); len(page) == 0 {
				break
			}
			for i := range page {
				if err := f(owned{*server.DescribeSession(&page[i]), who}); err != nil {
					return err
				}
			}
			after = page[len(page)-1].ID
		}
	}
	return nil
}

// find returns a session and whose it is.
func (l *local) find(text string) (*session.Info, error) {
	id, err := session.ParseID(text)
	if err != nil {
		return nil, usagef("%v", err)
	}
	err = session.ErrNotFound
	for _, who := range l.principals() {
		info, e := l.m.Get(who, id)
		if e == nil {
			return &info, nil
		}
		if !errors.Is(e, session.ErrNotFound) {
			err = e
		}
	}
	return nil, fmt.Errorf("session: %s: %s", text, trim(err))
}

func (l *local) get(_ context.Context, id string) (*owned, error) {
	i, err := l.find(id)
	if err != nil {
		return nil, err
	}
	return &owned{*server.DescribeSession(i), i.Principal}, nil
}

func (l *local) turns(ctx context.Context, id string) (*api.TurnList, error) {
	i, err := l.find(id)
	if err != nil {
		return nil, err
	}
	all, err := l.m.Turns(ctx, i.Principal, i.ID)
	if err != nil {
		return nil, err
	}
	got := &api.TurnList{Object: api.ObjectList, Head: server.DescribeSession(i).Head}
	for k := range all {
		got.Data = append(got.Data, server.DescribeTurn(i.ID, &all[k]))
	}
	return got, nil
}

func (l *local) fork(ctx context.Context, id, turn string, n int) (got []api.Session, err error) {
	i, err := l.find(id)
	if err != nil {
		return nil, err
	}
	forks, err := l.m.Fork(ctx, i.Principal, i.ID, turn, n)
	for k := range forks {
		got = append(got, *server.DescribeSession(&forks[k]))
	}
	return got, err
}

func (l *local) rewind(ctx context.Context, id, turn string) (*api.Session, error) {
	i, err := l.find(id)
	if err != nil {
		return nil, err
	}
	s, err := l.m.Acquire(ctx, i.Principal, i.ID)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	if err := s.Rewind(ctx, turn); err != nil {
		return nil, err
	}
	info := s.Info()
	return server.DescribeSession(&info), nil
}

func (l *local) export(ctx context.Context, id string, w io.Writer) error {
	i, err := l.find(id)
	if err != nil {
		return err
	}
	return l.m.Export(ctx, i.Principal, i.ID, w)
}

// importFrom takes any model's session: which one a server will have is not known.
func (l *local) importFrom(ctx context.Context, r io.Reader, _ bool) (*api.Session, error) {
	info, err := l.m.Import(ctx, l.only, r, session.Spec{Durability: session.LevelTurn})
	if err != nil {
		return nil, err
	}
	return server.DescribeSession(&info), nil
}

// verify reads the log. KV in a store can be told apart by a server's model only.
func (l *local) verify(ctx context.Context, id string) (*api.SessionReport, error) {
	i, err := l.find(id)
	if err != nil {
		return nil, err
	}
	return l.report(ctx, i.Principal, i.ID)
}

func (l *local) report(ctx context.Context, who string, id session.ID) (*api.SessionReport, error) {
	r, err := l.m.Verify(ctx, who, id)
	got := &api.SessionReport{ID: id.String(), Object: api.ObjectSessionReport, OK: err == nil, Records: r.Records, Turns: r.Turns, Tokens: r.Tokens}
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		got.Damage = trim(err)
	}
	return got, nil
}

func (l *local) remove(ctx context.Context, id string) error {
	i, err := l.find(id)
	if err != nil {
		return err
	}
	return l.m.Delete(ctx, i.Principal, i.ID)
}

// openKV opens the KV blocks of the store, nil if it has none. Nothing of them is
// evicted.
func (l *local) openKV() (*store.Store, error) {
	dir := filepath.Join(l.dir, "kv")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s, err := store.Open(vfs.OS{}, dir, store.Options{MaxBytes: math.MaxInt64 / 2, SegmentBytes: 256 << 20})
	if err != nil {
		return nil, fmt.Errorf("session: store: KV: %w", err)
	}
	return s, nil
}

func (l *local) stats() (*storeStats, error) {
	st := &storeStats{Durable: l.m.Status().Log.Err == nil}
	files, err := os.ReadDir(logFolder(l.dir))
	if err != nil {
		return nil, fmt.Errorf("session: store: %w", err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			st.LogBytes += info.Size()
		}
	}
	kv, err := l.openKV()
	if err != nil || kv == nil {
		return st, err
	}
	counted := kv.Stats()
	st.Blocks, st.KVBytes = counted.Blocks, counted.Bytes
	return st, kv.Close()
}

// stopped returns the store that a command for stopped stores works on.
func (at *sessionAt) stopped(verb string) error {
	if at.Store == "" {
		return usagef("session %s: give --store DIR, of a server that is stopped; a server that runs sees to it itself", verb)
	}
	return nil
}

type sessionGcCmd struct{}

// Run compacts the log.
func (c *sessionGcCmd) Run(std streams, at *sessionAt) error {
	if err := at.stopped("gc"); err != nil {
		return err
	}
	return at.use(func(ctx context.Context, s sessions) error {
		l := s.(*local)
		before, err := l.stats()
		if err != nil {
			return err
		}
		if err := l.m.Compact(ctx); err != nil {
			return fmt.Errorf("session gc: %w", err)
		}
		after, err := l.stats()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(std.out, "log: %s, was %s\n", bytesText(after.LogBytes), bytesText(before.LogBytes))
		return err
	})
}

// Help is shown by 'holdfast session gc --help'.
func (sessionGcCmd) Help() string {
	return `Ends sessions that have expired and writes what lives in the log's oldest files anew, so that these become free. A server does so each minute; it also removes KV that no session needs, each hour, for which it takes the model.

Example:
  holdfast session gc --store ~/.local/state/holdfast`
}

type sessionFsckCmd struct{}

// Help is shown by 'holdfast session fsck --help'.
func (sessionFsckCmd) Help() string {
	return `Reads every record of every session and every block of KV back. Prints a line for each damaged session, and the counts. Damaged blocks are forgotten: a server computes them anew. Damaged sessions stay, up to the damage: rewind, fork or delete them.

The exit code is 1 if a session is damaged. Bad blocks alone are a warning: they cost time, never an answer.

Example:
  holdfast session fsck --store ~/.local/state/holdfast`
}

// Run checks a store.
func (c *sessionFsckCmd) Run(std streams, at *sessionAt) error {
	if err := at.stopped("fsck"); err != nil {
		return err
	}
	p := at.printer(std.out)
	return at.use(func(ctx context.Context, s sessions) error {
		l := s.(*local)
		count, bad := 0, 0
		err := l.each(ctx, func(o owned) error {
			id, err := session.ParseID(o.ID)
			if err != nil {
				return err
			}
			r, err := l.report(ctx, o.Principal, id)
			if err != nil {
				return err
			}
			count++
			if r.OK {
				return nil
			}
			bad++
			return p.row(r, reportText(r))
		})
		if err != nil {
			return err
		}
		blocks, err := l.fsckKV(ctx)
		if err != nil {
			return err
		}
		sum := struct {
			Sessions int `json:"sessions"`
			Damaged  int `json:"damaged"`
			Blocks   int `json:"blocks"`
			Bad      int `json:"bad_blocks"`
		}{count, bad, blocks.Blocks, blocks.Bad}
		err = p.row(sum, fmt.Sprintf("%d sessions, %d damaged; %d blocks of KV, %d bad", sum.Sessions, sum.Damaged, sum.Blocks, sum.Bad))
		if err = errors.Join(err, p.flush()); err == nil && bad > 0 {
			return errDamage
		}
		return err
	})
}

func (l *local) fsckKV(ctx context.Context) (store.Report, error) {
	kv, err := l.openKV()
	if err != nil || kv == nil {
		return store.Report{}, err
	}
	r, err := kv.Fsck(ctx)
	return r, errors.Join(err, kv.Close())
}
