package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/session"
)

// storeOff is the --store that keeps nothing.
const storeOff = "off"

// storeDir returns the folder that --store names: "" for none. Where the flag is
// not given, it is in the user's folder for what programs keep.
func storeDir(flag string) (string, error) {
	switch flag {
	case storeOff:
		return "", nil
	case "":
	default:
		return flag, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holdfast"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("store: %w: give --store DIR, or --store off", err)
	}
	return filepath.Join(home, ".local", "state", "holdfast"), nil
}

// logFolder is the folder of the sessions' log in a store.
func logFolder(store string) string { return filepath.Join(store, "log") }

// openSessions opens the sessions of a store, and says on w what it found.
func openSessions(store string, w io.Writer) (*session.Manager, error) {
	start := time.Now()
	m, err := session.Open(vfs.OS{}, logFolder(store), session.Options{})
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, held("store: %s: process %s holds it: stop that, or give another --store", store, orNone(pidText(locked.PID)))
	case err != nil:
		return nil, fmt.Errorf("store: %s: %s: give another --store, or repair it with 'holdfast session fsck'", store, trim(err))
	}
	st := m.Status()
	count := 0
	for _, n := range st.States {
		count += n
	}
	fmt.Fprintf(w, "store %s: %d sessions in %s\n", store, count, round(time.Since(start)))
	if n := len(st.Damaged); n > 0 {
		fmt.Fprintf(w, "store %s: %d sessions are damaged: 'holdfast session ls' names them\n", store, n)
	}
	return m, nil
}

func pidText(pid int) string {
	if pid == 0 {
		return ""
	}
	return fmt.Sprint(pid)
}

// How often a server looks after its sessions.
const (
	compactEvery = time.Minute // expiry, and the log
	collectEvery = time.Hour   // KV blocks that no session needs
)

// upkeep looks after sessions until the context ends.
func upkeep(ctx context.Context, m *session.Manager, e *engine.Engine, log *slog.Logger) {
	compact, collect := time.NewTicker(compactEvery), time.NewTicker(collectEvery)
	defer compact.Stop()
	defer collect.Stop()
	for {
		var err error
		what := "compaction"
		select {
		case <-compact.C:
			err = m.Compact(ctx)
		case <-collect.C:
			what = "collection of KV blocks"
			_, err = e.CollectKV(ctx, living(ctx, m, log))
		case <-ctx.Done():
			return
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrNoStore) {
			log.Warn(what+" failed; it is tried again", "error", err)
		}
	}
}

// living goes through what sessions may go on from. A session that cannot be read
// needs no blocks: what it lost of its tokens cannot be gone on from.
func living(ctx context.Context, m *session.Manager, log *slog.Logger) iter.Seq2[engine.Living, error] {
	return func(yield func(engine.Living, error) bool) {
		for l, err := range m.Live(ctx) {
			if err != nil && ctx.Err() == nil {
				log.Warn("a session cannot be read", "error", err)
				continue
			}
			if !yield(engine.Living{Principal: l.Principal, Tokens: l.Tokens}, err) {
				return
			}
		}
	}
}
