package session

import (
	"errors"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// load reads a session's turns back, if they are not in memory; e.mu is held. Of a damaged
// session those before the damage.
func (m *Manager) load(e *entry) error {
	if fault, ok := m.fault(e).(*UnreadableError); ok {
		return fault
	}
	m.mu.Lock()
	gone := e.gone
	m.mu.Unlock()
	if gone {
		return ErrGone
	}
	if e.tree == nil {
		t, err := m.history(e)
		if err != nil {
			return err
		}
		e.tree = t
	}
	m.touch(e)
	return nil
}

// history reads a session's records back and makes its tree of them.
func (m *Manager) history(e *entry) (*tree, error) {
	t := new(tree)
	err := m.readBack(e, t.apply)
	var lost *tokenlog.DamagedError
	var unreadable *UnreadableError
	switch {
	case errors.As(err, &lost):
		t = new(tree)
		if err := m.salvage(e, t); err != nil {
			return nil, err
		}
	case errors.As(err, &unreadable):
		m.mu.Lock()
		e.fault = unreadable
		m.mu.Unlock()
		return nil, err
	case err != nil:
		return nil, err
	}
	return t, nil
}

// readBack calls f with a session's records, oldest first; e.mu is held.
func (m *Manager) readBack(e *entry, f func(tokenlog.Kind, []byte) error) error {
	type place struct {
		kind       tokenlog.Kind
		start, end int
	}
	var bytes []byte
	var places []place
	collect := func() error {
		bytes, places = bytes[:0], places[:0]
		for r, err := range m.log.History(e.owner()) {
			if err != nil {
				return err
			}
			start := len(bytes)
			bytes = append(bytes, r.Payload...)
			places = append(places, place{r.Kind, start, len(bytes)})
		}
		return nil
	}
	err := collect()
	for errors.Is(err, tokenlog.ErrChanged) { // by the log's compaction, which asks for no lock of ours
		err = collect()
	}
	if err != nil {
		return err
	}
	for i := len(places) - 1; i >= 0; i-- {
		p := places[i]
		if err := f(p.kind, bytes[p.start:p.end]); err != nil {
			return err
		}
	}
	return nil
}

// salvage reads a session back whose log is damaged in its middle, found only now, as far
// as it goes, and says so from now on.
func (m *Manager) salvage(e *entry, t *tree) error {
	err := m.log.Salvage(e.owner(), func(r tokenlog.Record) error {
		if r.Base {
			*t = tree{}
		}
		return t.apply(r.Kind, r.Payload)
	})
	if err != nil || t.create.durability == 0 {
		return errors.Join(&DamagedError{turnID(1)}, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.sum = t.sum
	e.fault = e.damaged()
	return nil
}
