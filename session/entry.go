package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// entry is what is in memory of each session. Locks are taken in the order: mu,
// Manager.mu, Turn.mu; the log's own last.
type entry struct {
	id     ID
	create createRecord // its strings and its model are shared; zero if the first record is lost

	mu   sync.Mutex // one record of the session at a time
	tree *tree      // nil: it is in the log only
	turn *Turn      // under way

	behind atomic.Bool   // the log has not got all; the tree has
	lsn    atomic.Uint64 // of the newest record
	owed   atomic.Uint64 // of the newest one that was acknowledged before it was durable
	cost   atomic.Int64  // bytes of the session's records in the log

	// Under Manager.mu:
	sum   summary // as it is shown: what was acknowledged
	fault error   // *DamagedError or *UnreadableError
	busy  bool    // somebody has the right to change it
	gone  bool
	use   use
}

func (e *entry) owner() tokenlog.Owner { return tokenlog.Owner(e.id) }

// kept says whether the session belongs in the log.
func (e *entry) kept() bool { return e.create.durability != LevelMemory }

// expired says whether the session's time is over.
func (e *entry) expired(now int64) bool {
	return e.sum.ttl > 0 && !e.sum.pinned && !e.busy && now > e.sum.used && now-e.sum.used > e.sum.ttl
}

func (e *entry) info(durable tokenlog.LSN) Info {
	s, c := &e.sum, &e.create
	info := Info{
		ID: e.id, Principal: c.principal, State: e.state(), Head: turnID(s.head), Parent: c.parent, ParentHead: turnID(c.parentHead),
		Durability: c.durability, Durable: e.isDurable(durable), Tokens: int(s.tokens), Turns: int(s.depth), Created: when(c.created), Used: when(s.used),
		TTL: time.Duration(s.ttl), Pinned: s.pinned, Inexact: s.inexact, Model: *c.model,
	}
	if s.ttl > 0 && !s.pinned {
		info.Expires = info.Used.Add(info.TTL)
	}
	return info
}

func (e *entry) state() State {
	switch {
	case e.fault != nil:
		return Damaged
	case e.busy:
		return Active
	case e.sum.open != 0:
		return Interrupted
	case e.sum.parked:
		return Parked
	}
	return Idle
}

// durable returns the end of what is on the disk.
func (m *Manager) durable() tokenlog.LSN {
	if m.log == nil {
		return 0
	}
	return m.log.Durable()
}

// isDurable says whether what the session has acknowledged is on the disk, of which durable is the end.
func (e *entry) isDurable(durable tokenlog.LSN) bool {
	return e.kept() && !e.behind.Load() && tokenlog.LSN(e.owed.Load()) < durable
}

// put adds a record to the log; e.mu is held. If the log cannot take it, the session
// falls behind, and is written again as a whole later.
func (m *Manager) put(e *entry, typ uint8, payload []byte) {
	if !e.kept() || e.behind.Load() {
		return
	}
	lsn, err := m.log.Append(e.owner(), kindOf(typ), payload)
	if err != nil {
		m.fallBehind(e)
		return
	}
	e.lsn.Store(uint64(lsn))
	e.cost.Add(int64(len(payload)) + recordBytes)
}

func (m *Manager) putAll(e *entry, records []typed) {
	for _, r := range records {
		m.put(e, r.typ, r.payload)
	}
}

// recordBytes is what the log adds to a payload, about.
const recordBytes = 92

// wait returns when a record is durable, at once if it cannot be now: then it is owed.
func (m *Manager) wait(ctx context.Context, e *entry, lsn tokenlog.LSN) error {
	if !e.kept() || e.behind.Load() {
		return nil
	}
	err := m.log.Wait(ctx, lsn)
	if errors.Is(err, tokenlog.ErrNotDurable) || errors.Is(err, tokenlog.ErrClosed) {
		e.owe(lsn)
		return nil
	}
	return err
}

func (e *entry) owe(lsn tokenlog.LSN) {
	for old := e.owed.Load(); uint64(lsn) > old && !e.owed.CompareAndSwap(old, uint64(lsn)); old = e.owed.Load() {
	}
}

// settle waits for the newest record.
func (m *Manager) settle(ctx context.Context, e *entry) error {
	return m.wait(ctx, e, tokenlog.LSN(e.lsn.Load()))
}

// rewrite replaces the session's records in the log by the fewest that say the same;
// e.mu is held and the tree is there.
func (m *Manager) rewrite(e *entry) error {
	return m.replace(e, e.tree.records(m.piece))
}

func (m *Manager) replace(e *entry, records []tokenlog.Record) error {
	err := tokenlog.ErrChanged
	for errors.Is(err, tokenlog.ErrChanged) { // by the log's compaction, which says the same in another place
		var last tokenlog.LSN
		if last, err = m.log.Last(e.owner()); err != nil && !errors.Is(err, tokenlog.ErrNoOwner) {
			return err
		}
		err = m.log.Rewrite(e.owner(), last, records)
	}
	if err != nil {
		return err
	}
	last, err := m.log.Last(e.owner())
	if err != nil {
		return err
	}
	cost := int64(0)
	for _, r := range records {
		cost += int64(len(r.Payload)) + recordBytes
	}
	e.cost.Store(cost)
	e.lsn.Store(uint64(last))
	return nil
}
