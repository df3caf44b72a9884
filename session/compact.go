package session

import (
	"context"
	"errors"
	"iter"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Compact ends sessions that have expired, closes interrupted turns of pinned ones past their TTL,
// and frees the log of what nobody needs. It is meant to be called each minute or so, in the background.
func (m *Manager) Compact(ctx context.Context) error {
	if err := m.expire(ctx); err != nil || m.log == nil {
		return err
	}
	for range m.log.Status().Segments {
		if !m.worthwhile() {
			return nil
		}
		ids, more := m.log.Oldest()
		if !more {
			return nil
		}
		for _, id := range ids {
			if err := m.renew(ctx, ID(id)); err != nil {
				return err
			}
		}
		// What is left there is moved as it is: what cannot be read here, or is damaged.
		if _, err := m.log.Compact(ctx, func(tokenlog.Record) bool { return true }); err != nil {
			return err
		}
		if err := m.log.WaitForRoom(ctx); err != nil { // the segment is free when that is durable
			return err
		}
	}
	return nil
}

// worthwhile says whether the log is more than twice as large as what is in it, and
// a few segments.
func (m *Manager) worthwhile() bool {
	var live int64
	m.mu.Lock()
	for _, e := range m.sessions {
		live += e.cost.Load()
	}
	m.mu.Unlock()
	const pageShare = 2 // a batch is filled up to a page
	size := m.o.Log.SegmentBytes
	return int64(m.log.Status().Segments)*size > pageShare*live+4*size
}

// renew writes a session again at the end of the log, as few records.
func (m *Manager) renew(ctx context.Context, id ID) error {
	m.mu.Lock()
	e := m.sessions[id]
	if e != nil && (e.fault != nil || e.gone) {
		e = nil
	}
	m.mu.Unlock()
	if e == nil {
		return nil
	}
	for {
		e.mu.Lock()
		err := m.renewed(e)
		e.mu.Unlock()
		if !errors.Is(err, tokenlog.ErrFull) {
			return err
		}
		if err := m.log.WaitForRoom(ctx); err != nil {
			return err
		}
	}
}

func (m *Manager) renewed(e *entry) error {
	t := e.tree
	if e.behind.Load() {
		return nil
	}
	if t == nil {
		var err error
		if t, err = m.history(e); err != nil || m.fault(e) != nil {
			return nil // it is damaged or unreadable, or just gone
		}
	}
	err := m.replace(e, t.records(m.piece))
	if errors.Is(err, tokenlog.ErrTooLarge) {
		return nil // Log.Compact says so, too
	}
	return err
}

// expire ends what has expired.
func (m *Manager) expire(ctx context.Context) error {
	now := m.now()
	var over, stale []*entry
	m.mu.Lock()
	models := map[Model]*Model{}
	for _, e := range m.sessions {
		s := &e.sum
		if e.create.durability == 0 || m.closed {
			continue
		}
		models[*e.create.model] = e.create.model
		if e.create.key != ([16]byte{}) && now-e.create.created >= int64(keyLife) && m.keys[e.create.key] == e.id {
			delete(m.keys, e.create.key)
		}
		switch {
		case e.expired(now):
			e.busy = true
			over = append(over, e)
		case e.fault == nil && !e.busy && s.open != 0 && s.pinned && s.ttl > 0 && now-s.used > s.ttl:
			e.busy = true
			stale = append(stale, e)
		}
	}
	m.models = models
	m.mu.Unlock()
	for _, e := range stale {
		m.closeTurn(e)
		m.release(e)
	}
	for _, e := range over {
		if err := m.remove(ctx, e); err != nil && !errors.Is(err, ErrNotDurable) {
			return err
		}
	}
	return nil
}

// closeTurn makes an interrupted turn incomplete.
func (m *Manager) closeTurn(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.load(e) != nil || e.tree.sum.open == 0 {
		return
	}
	r := closeRecord{turn: e.tree.sum.open, time: m.now()}
	e.tree.close(r.time)
	m.put(e, typeClose, r.append(nil))
	m.publish(e)
}

// Live yields every list of tokens that a turn may go on from, of all principals'
// sessions: what KV is worth keeping. It reads the store back and may take long. An
// error is of one session, and the others follow.
func (m *Manager) Live(ctx context.Context) iter.Seq2[Live, error] {
	return func(yield func(Live, error) bool) {
		m.mu.Lock()
		entries := make([]*entry, 0, len(m.sessions))
		for _, e := range m.sessions {
			if e.create.durability != 0 {
				entries = append(entries, e)
			}
		}
		m.mu.Unlock()
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield(Live{}, err)
				return
			}
			paths, err := m.live(e)
			if err != nil && !yield(Live{Principal: e.create.principal}, err) {
				return
			}
			for _, tokens := range paths {
				if !yield(Live{e.create.principal, tokens, *e.create.model}, nil) {
					return
				}
			}
		}
	}
}

// live returns the histories of a session that no other of its histories begins with.
func (m *Manager) live(e *entry) (paths [][]int32, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tree
	if t == nil {
		m.mu.Lock()
		gone := e.gone
		m.mu.Unlock()
		if gone {
			return nil, nil
		}
		if t, err = m.history(e); err != nil {
			return nil, err
		}
	}
	covered := map[uint32]bool{}
	for _, n := range t.nodes {
		if parent := t.committed(n.parent); n.state != nodeIncomplete && n.keep == parent.length {
			covered[n.parent] = true
		}
	}
	for _, n := range t.nodes {
		switch {
		case n.state == nodeOpen:
			history := t.tokens(n.parent)
			paths = append(paths, append(append(history[:n.keep:n.keep], n.input...), n.drawn...))
		case n.state == nodeCommitted && !covered[n.number]:
			paths = append(paths, t.tokens(n.number))
		}
	}
	return paths, nil
}
