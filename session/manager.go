package session

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Manager has the sessions of a store. All methods are safe for concurrent use.
// A principal that does not own a session gets ErrNotFound, whatever it asks.
type Manager struct {
	o            Options
	log          *tokenlog.Log // nil: there is no disk
	limit, piece int           // bytes of a session, and of one record of it
	newest       tokenlog.LSN  // that Open read

	mu         sync.Mutex
	sessions   map[ID]*entry
	principals map[string]*principal
	models     map[Model]*Model
	keys       map[[16]byte]ID // of creations, for a day
	gone       map[ID]string   // whose sessions they were
	goneOrder  []ID            // a ring, oldest at goneNext once it is full
	goneNext   int
	open       *list.List // of entries whose tree is in memory; the last used first
	openBytes  int64
	closed     bool

	lateMu  sync.Mutex
	late    map[ID]*entry // what is behind
	lagging atomic.Bool   // there are some
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

// Spec is what a session is made with.
type Spec struct {
	Principal  string
	Durability Durability
	TTL        time.Duration // since its last use; 0: it does not expire
	Pin        bool
	Model      Model
	// Key is an idempotency key: for a day, the same key of the same principal gives the same session.
	Key string
}

// Change is what Update changes: what is not nil.
type Change struct {
	TTL         *time.Duration
	Pin, Parked *bool
}

// Report is what Verify found.
type Report struct {
	Records int   // read back
	Bytes   int64 // of their payloads
	Turns   int   // in the tree
	Tokens  int   // in all turns of the tree
}

// Live is a list of tokens from which a turn may go on.
type Live struct {
	Principal string
	Tokens    []int32
	Model     Model
}

// Status is how a Manager is.
type Status struct {
	Log      tokenlog.Status   // zero without a disk
	Recovery tokenlog.Recovery // what Open found
	States   map[State]int     // sessions by state
	Open     int               // sessions whose turns are in memory
	Behind   int               // sessions that the disk has not, or not all of
	Damaged  []ID              // sessions of which records are lost or not understood, at most 1,000
}

// Create makes a session and returns when it is as durable as it says.
func (m *Manager) Create(ctx context.Context, spec Spec) (Info, error) {
	if err := spec.check(); err != nil {
		return Info{}, err
	}
	e, repeated, err := m.newEntry(spec, nil)
	if err != nil {
		return Info{}, err
	}
	if !repeated {
		e.mu.Lock()
		m.put(e, typeCreate, e.create.append(nil))
		e.mu.Unlock()
	}
	return m.made(ctx, e, repeated)
}

// made waits for a new session to be durable, gives back the right to it, unless it is
// another's, and returns it.
func (m *Manager) made(ctx context.Context, e *entry, others bool) (Info, error) {
	err := m.settle(ctx, e)
	if !others {
		m.release(e)
	}
	if err != nil {
		return Info{}, err
	}
	return m.show(e), nil
}

// settled returns the session as it is once its newest record is durable.
func (m *Manager) settled(ctx context.Context, e *entry) (Info, error) {
	if err := m.settle(ctx, e); err != nil {
		return Info{}, err
	}
	return m.show(e), nil
}

// show returns a session as whoever has the right to it sees it.
func (m *Manager) show(e *entry) Info {
	durable := m.durable()
	m.mu.Lock()
	defer m.mu.Unlock()
	return e.info(durable)
}

func (s *Spec) check() error {
	switch {
	case !s.Durability.known():
		return limit(ErrInvalid, "%v", s.Durability)
	case len(s.Principal) > maxName || len(s.Key) > maxName || len(s.Model.Class) > maxName:
		return limit(ErrTooLarge, "a principal, a key or a class has more than %d bytes", maxName)
	case s.TTL < 0:
		return limit(ErrInvalid, "the TTL is %v; take 0 for none", s.TTL)
	}
	return nil
}

// newEntry makes a session that is in memory only, and that the caller has the right to. It is
// made of t, if that is not nil. repeated says that an earlier one has the same key.
func (m *Manager) newEntry(spec Spec, t *tree) (e *entry, repeated bool, err error) {
	now := m.now()
	if m.log == nil {
		spec.Durability = LevelMemory
	}
	e = &entry{id: newID(), busy: true, tree: t, create: createRecord{
		durability: spec.Durability, pinned: spec.Pin, created: now, ttl: int64(spec.TTL), key: keyOf(spec.Principal, spec.Key),
		model: &spec.Model, principal: spec.Principal,
	}}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.sessions[m.keys[e.create.key]]; spec.Key != "" && old != nil && now-old.create.created < int64(keyLife) && !old.expired(now) {
		return old, true, nil
	}
	if err := m.room(spec.Principal, 1); err != nil {
		return nil, false, err
	}
	m.share(&e.create)
	if t == nil {
		e.tree = &tree{size: recordCost}
		e.tree.sum.created(&e.create)
	}
	e.tree.create = e.create
	s := &e.tree.sum
	s.ttl, s.pinned, s.parked, s.used = e.create.ttl, e.create.pinned, false, now
	e.sum = e.tree.sum
	m.enter(e)
	return e, false, nil
}

// room says whether a principal may have n more sessions; m.mu is held.
func (m *Manager) room(owner string, n int) error {
	if m.closed {
		return ErrClosed
	}
	if p := m.principals[owner]; p != nil && len(p.ids)+n > m.o.MaxOfPrincipal {
		return limit(ErrTooMany, "%d sessions are the most that one principal may have; delete some", m.o.MaxOfPrincipal)
	}
	if len(m.sessions)+n > m.o.MaxSessions {
		return limit(ErrTooMany, "%d sessions are the most that this store may have; delete some", m.o.MaxSessions)
	}
	return nil
}

// enter makes a session known; m.mu is held.
func (m *Manager) enter(e *entry) {
	m.sessions[e.id] = e
	p := m.principals[e.create.principal]
	at, _ := slices.BinarySearchFunc(p.ids, e.id, compareIDs)
	p.ids = slices.Insert(p.ids, at, e.id)
	if e.create.key != ([16]byte{}) {
		m.keys[e.create.key] = e.id
	}
}

// drop makes a session unknown, but for the memory that there was one; m.mu is held.
func (m *Manager) drop(e *entry) {
	e.gone = true
	delete(m.sessions, e.id)
	p := m.principals[e.create.principal]
	if at, ok := slices.BinarySearchFunc(p.ids, e.id, compareIDs); ok {
		p.ids = slices.Delete(p.ids, at, at+1)
	}
	if len(p.ids) == 0 {
		delete(m.principals, p.name)
	}
	if m.keys[e.create.key] == e.id {
		delete(m.keys, e.create.key)
	}
	m.forget(e)
	m.remember(e.id, e.create.principal)
}

// remember notes that there was a session, and forgets the one of longest ago.
func (m *Manager) remember(id ID, principal string) {
	if _, known := m.gone[id]; known {
		return
	}
	if len(m.goneOrder) < maxGone {
		m.goneOrder = append(m.goneOrder, id)
	} else {
		delete(m.gone, m.goneOrder[m.goneNext])
		m.goneOrder[m.goneNext] = id
		m.goneNext = (m.goneNext + 1) % maxGone
	}
	m.gone[id] = principal
}

// find returns the principal's session; m.mu is held.
func (m *Manager) find(principal string, id ID) (*entry, error) {
	if m.closed {
		return nil, ErrClosed
	}
	e := m.sessions[id]
	if e == nil || e.create.durability == 0 || e.create.principal != principal {
		if owner, ok := m.gone[id]; ok && owner == principal && e == nil {
			return nil, ErrGone
		}
		return nil, ErrNotFound
	}
	if e.expired(m.now()) {
		return nil, ErrGone
	}
	return e, nil
}

// Get returns a session as it is now.
func (m *Manager) Get(principal string, id ID) (Info, error) {
	durable := m.durable()
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(principal, id)
	if err != nil {
		return Info{}, err
	}
	return e.info(durable), nil
}

// List returns the principal's sessions behind after, in the order of their IDs, at most limit
// of them, and whether there are more. The zero ID is the beginning.
func (m *Manager) List(principal string, after ID, limit int) (page []Info, more bool) {
	durable := m.durable()
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.principals[principal]
	if p == nil || m.closed {
		return nil, false
	}
	at, found := slices.BinarySearchFunc(p.ids, after, compareIDs)
	if found {
		at++
	}
	for _, id := range p.ids[at:] {
		e, err := m.find(principal, id)
		if err != nil {
			continue
		}
		if len(page) >= limit {
			return page, true
		}
		page = append(page, e.info(durable))
	}
	return page, false
}

// claim gives the right to change a session.
func (m *Manager) claim(principal string, id ID) (*entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(principal, id)
	if err != nil {
		return nil, err
	}
	if e.busy {
		return nil, &BusyError{turnID(e.sum.head)}
	}
	e.busy = true
	return e, nil
}

// release gives it back.
func (m *Manager) release(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.busy = false
}

// Delete ends a session. A session that is in use is not deleted: *BusyError.
func (m *Manager) Delete(ctx context.Context, principal string, id ID) error {
	e, err := m.claim(principal, id)
	if err != nil {
		return err
	}
	return m.remove(ctx, e)
}

// remove ends a session whose right the caller has.
func (m *Manager) remove(ctx context.Context, e *entry) error {
	e.mu.Lock()
	m.mu.Lock()
	m.drop(e)
	m.mu.Unlock()
	e.tree = nil
	if !e.kept() {
		e.mu.Unlock()
		return nil
	}
	err := m.end(e)
	if err != nil {
		m.fallBehind(e)
	} else {
		m.caughtUp(e)
	}
	e.mu.Unlock()
	if err == nil {
		err = m.log.Wait(ctx, tokenlog.LSN(e.lsn.Load()))
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	return err
}

// Turns returns the tree of turns, in the order of their beginnings. It asks for no
// right: while a turn is under way it is seen as far as the log has it.
func (m *Manager) Turns(ctx context.Context, principal string, id ID) (turns []TurnInfo, err error) {
	err = m.read(principal, id, func(e *entry, t *tree) error {
		turns = e.turns(t.nodes)
		return nil
	})
	return turns, err
}

// turns shows turns; e.mu is held.
func (e *entry) turns(nodes []*node) []TurnInfo {
	infos := make([]TurnInfo, len(nodes))
	for i, n := range nodes {
		infos[i] = n.info(e.turn != nil && e.turn.node == n)
	}
	return infos
}

// read calls f with a session's tree, which nobody changes meanwhile.
func (m *Manager) read(principal string, id ID, f func(*entry, *tree) error) error {
	m.mu.Lock()
	e, err := m.find(principal, id)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := m.load(e); err != nil {
		return err
	}
	return f(e, e.tree)
}

// Update changes how long a session lives. Parked says that it is not expected
// soon: its history is written as few records and leaves the memory; the next turn takes the state back.
func (m *Manager) Update(ctx context.Context, principal string, id ID, change Change) (Info, error) {
	if change.TTL != nil && *change.TTL < 0 {
		return Info{}, limit(ErrInvalid, "the TTL is %v; take 0 for none", *change.TTL)
	}
	m.mu.Lock()
	e, err := m.find(principal, id)
	if err == nil && e.fault != nil {
		err = e.fault
	}
	if err == nil && e.busy && change.Parked != nil {
		err = &BusyError{turnID(e.sum.head)}
	}
	m.mu.Unlock()
	if err != nil {
		return Info{}, err
	}
	if err := m.change(e, change); err != nil {
		return Info{}, err
	}
	return m.settled(ctx, e)
}

func (m *Manager) change(e *entry, change Change) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	m.mu.Lock()
	s := e.sum
	gone := e.gone
	m.mu.Unlock()
	if gone {
		return ErrGone
	}
	r := metaRecord{pinned: s.pinned, parked: s.parked, ttl: s.ttl, time: m.now()}
	if change.TTL != nil {
		r.ttl = int64(*change.TTL)
	}
	if change.Pin != nil {
		r.pinned = *change.Pin
	}
	if change.Parked != nil {
		r.parked = *change.Parked
	}
	if e.tree != nil {
		e.tree.sum.changed(&r)
	}
	m.put(e, typeMeta, r.append(nil))
	m.mu.Lock()
	e.sum.changed(&r)
	m.mu.Unlock()
	if change.Parked != nil && *change.Parked {
		return m.park(e)
	}
	return nil
}

// park writes the session as few records, if it has many, and drops its turns from
// memory; e.mu is held.
func (m *Manager) park(e *entry) error {
	if !e.kept() {
		return nil
	}
	if err := m.load(e); err != nil {
		return err
	}
	if e.cost.Load() > int64(2*e.tree.size) && !e.behind.Load() {
		_ = m.rewrite(e) // if there is no room now, it stays as it is
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !e.behind.Load() && !e.busy {
		e.tree = nil
		m.forget(e)
	}
	return nil
}

// Status returns how the sessions are.
func (m *Manager) Status() Status {
	s := Status{States: map[State]int{}}
	if m.log != nil {
		s.Log, s.Recovery = m.log.Status(), m.log.Recovery()
	}
	m.lateMu.Lock()
	s.Behind = len(m.late)
	m.lateMu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Open = m.open.Len()
	for id, e := range m.sessions {
		s.States[e.state()]++
		if e.fault != nil && len(s.Damaged) < maxDamaged {
			s.Damaged = append(s.Damaged, id)
		}
	}
	slices.SortFunc(s.Damaged, compareIDs)
	return s
}
