package session

import "container/list"

// use is a session's place among those whose turns are in memory.
type use struct {
	place *list.Element // nil: none
	bytes int64
}

// touch makes the session the last to leave the memory, and has others leave if there are
// too many. e.mu is held; a session at LevelMemory has no other place.
func (m *Manager) touch(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !e.kept() || e.gone {
		return
	}
	if e.use.place == nil {
		e.use.place = m.open.PushFront(e)
	} else {
		m.open.MoveToFront(e.use.place)
	}
	bytes := int64(e.tree.size)
	m.openBytes += bytes - e.use.bytes
	e.use.bytes = bytes
	for at := m.open.Back(); at != nil && (m.open.Len() > m.o.MaxOpen || m.openBytes > m.o.OpenBytes); {
		victim := at.Value.(*entry)
		at = at.Prev()
		if victim != e {
			m.leave(victim)
		}
	}
}

// leave drops a session's turns from memory, if nobody uses them and the log has them. m.mu
// is held, so the session's lock is tried only: the order is the other way round.
func (m *Manager) leave(e *entry) {
	if e.busy || !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	if !e.behind.Load() {
		e.tree = nil
		m.forget(e)
	}
}

// forget takes a session out of the list; m.mu is held.
func (m *Manager) forget(e *entry) {
	if e.use.place != nil {
		m.open.Remove(e.use.place)
		m.openBytes -= e.use.bytes
		e.use = use{}
	}
}
