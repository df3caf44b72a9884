package session

import (
	"context"
	"errors"
	"slices"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Fork makes n sessions that share the history up to a turn, "" for the head, and
// are self-contained. It needs no right: the parent may be in use. A fork has the
// turns of the path under their IDs, the parent's durability and TTL, and is not pinned.
func (m *Manager) Fork(ctx context.Context, principal string, id ID, at string, n int) ([]Info, error) {
	if n < 1 || n > m.o.MaxForks {
		return nil, limit(ErrTooMany, "%d forks; take 1 to %d", n, m.o.MaxForks)
	}
	number, err := parseTurn(at)
	if err != nil {
		return nil, err
	}
	var t *tree
	err = m.read(principal, id, func(e *entry, whole *tree) (err error) {
		if at == "" {
			m.mu.Lock()
			number = e.sum.head
			m.mu.Unlock()
		}
		t, err = whole.branch(number)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.create.parent, t.create.parentHead, t.create.created = id, number, m.now()
	t.sum.used = t.create.created
	forks, err := m.multiply(t, n)
	if err != nil {
		return nil, err
	}
	m.write(forks, t.records(m.piece))
	infos := make([]Info, n)
	for i, e := range forks {
		info, failed := m.made(ctx, e, false)
		infos[i], err = info, errors.Join(err, failed)
	}
	if err != nil {
		return nil, err
	}
	return infos, nil
}

// branch returns a tree of its own with the path to a turn.
func (t *tree) branch(number uint32) (*tree, error) {
	head := t.committed(number)
	if head == nil {
		return nil, ErrNoTurn
	}
	b := &tree{create: t.create, nodes: t.path(number), size: recordCost}
	b.create.key, b.create.pinned, b.create.ttl = [16]byte{}, false, t.sum.ttl
	for _, n := range b.nodes {
		b.size += n.size()
	}
	b.sum.created(&b.create)
	b.sum.head, b.sum.next, b.sum.tokens, b.sum.depth, b.sum.inexact = number, number+1, head.length, head.depth, head.inexact
	return b, nil
}

// multiply makes n sessions of a tree, known, and in the caller's right.
func (m *Manager) multiply(t *tree, n int) (forks []*entry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.room(t.create.principal, n); err != nil {
		return nil, err
	}
	m.share(&t.create)
	for range n {
		own := *t
		own.nodes = slices.Clone(t.nodes)
		e := &entry{id: newID(), create: t.create, tree: &own, sum: t.sum, busy: true}
		m.enter(e)
		forks = append(forks, e)
	}
	return forks, nil
}

// write gives the log the first records of sessions.
func (m *Manager) write(sessions []*entry, records []tokenlog.Record) {
	for _, e := range sessions {
		e.mu.Lock()
		if e.kept() {
			if err := m.replace(e, records); err != nil {
				m.fallBehind(e)
			}
		}
		m.touch(e)
		e.mu.Unlock()
	}
}
