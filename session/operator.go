package session

import (
	"maps"
	"slices"
)

// Principals returns the names of all who have sessions, in order. It is for
// those who look after a store, not for a server's clients.
func (m *Manager) Principals() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.principals))
}
