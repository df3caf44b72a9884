package session

import (
	"errors"
	"maps"
	"slices"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// fallBehind notes that the log has not got a record. Nothing more of the session
// goes there until all of it does: a hole would not be seen.
func (m *Manager) fallBehind(e *entry) {
	e.behind.Store(true)
	m.lateMu.Lock()
	m.late[e.id] = e
	m.lateMu.Unlock()
	m.lagging.Store(true)
	m.notify()
}

// notify has the catcher look. It is called by the log's writer, and never waits.
func (m *Manager) notify() {
	if m.lagging.Load() {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// catchUps writes what the log has not got, when it may take it. It ends with Close.
func (m *Manager) catchUps() {
	defer close(m.done)
	for {
		select {
		case <-m.wake:
			m.catchUp()
		case <-m.stop:
			return
		}
	}
}

func (m *Manager) catchUp() {
	m.lateMu.Lock()
	late := slices.Collect(maps.Values(m.late))
	m.lateMu.Unlock()
	for _, e := range late {
		if err := m.catch(e); errors.Is(err, tokenlog.ErrFull) {
			m.log.Flush() // the next batch makes room, and notifies
			return
		}
	}
}

// catch brings the log up to the tree, or ends there what is gone here.
func (m *Manager) catch(e *entry) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m.mu.Lock()
	gone := e.gone
	m.mu.Unlock()
	if gone {
		err = m.end(e)
	} else {
		err = m.rewrite(e)
	}
	if err == nil {
		e.owe(tokenlog.LSN(e.lsn.Load()))
		m.caughtUp(e)
		m.log.Flush()
	}
	return err
}

// caughtUp notes that the log has all of a session; e.mu is held.
func (m *Manager) caughtUp(e *entry) {
	m.lateMu.Lock()
	defer m.lateMu.Unlock()
	e.behind.Store(false)
	delete(m.late, e.id)
	m.lagging.Store(len(m.late) > 0)
}

// end ends the session in the log; e.mu is held.
func (m *Manager) end(e *entry) error {
	r := endRecord{time: m.now(), principal: e.create.principal}
	lsn, err := m.log.End(e.owner(), kindOf(typeEnd), r.append(nil))
	if errors.Is(err, tokenlog.ErrNoOwner) {
		return nil // it never came to the log
	}
	if err == nil {
		e.lsn.Store(uint64(lsn))
	}
	return err
}
