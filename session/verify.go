package session

import (
	"context"
	"errors"
	"slices"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Verify reads every record of a session back and checks that they chain, and that
// they give the session that is known.
func (m *Manager) Verify(ctx context.Context, principal string, id ID) (r Report, err error) {
	if err := ctx.Err(); err != nil {
		return r, err
	}
	err = m.read(principal, id, func(e *entry, t *tree) error {
		if fault := m.fault(e); fault != nil {
			return fault
		}
		for _, n := range t.nodes {
			r.Turns++
			r.Tokens += len(n.input) + len(n.drawn)
		}
		if !e.kept() || e.behind.Load() {
			return nil // there is nothing to compare with
		}
		again := new(tree)
		err := m.readBack(e, func(kind tokenlog.Kind, payload []byte) error {
			r.Records++
			r.Bytes += int64(len(payload))
			return again.apply(kind, payload)
		})
		var lost *tokenlog.DamagedError
		if errors.As(err, &lost) {
			if err := m.salvage(e, new(tree)); err != nil {
				return err
			}
			return m.fault(e)
		}
		if err == nil && !again.equals(t) {
			err = errDiffers
		}
		return err
	})
	return r, err
}

var errDiffers = errors.New("session: the log says another session than the one in memory; this is a bug")

// equals says whether two trees say the same.
func (t *tree) equals(other *tree) bool {
	same := func(a, b *node) bool {
		return a.number == b.number && a.parent == b.parent && a.keep == b.keep && a.length == b.length && a.state == b.state && a.seed == b.seed &&
			slices.Equal(a.input, b.input) && slices.Equal(a.drawn, b.drawn) && string(a.body) == string(b.body) &&
			string(a.result) == string(b.result) && a.finish == b.finish && a.created == b.created
	}
	return t.sum == other.sum && slices.EqualFunc(t.nodes, other.nodes, same)
}
