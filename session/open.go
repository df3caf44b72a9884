package session

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// Open opens the sessions in dir, making it if needed. With dir "" there is no disk,
// and every session is at LevelMemory. A store that another process has open gives a
// *vfs.LockedError, one of a later version a *tokenlog.VersionError; neither is touched.
func Open(fsys vfs.FS, dir string, o Options) (*Manager, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Manager{
		o: o, sessions: map[ID]*entry{}, principals: map[string]*principal{}, models: map[Model]*Model{}, keys: map[[16]byte]ID{},
		gone: map[ID]string{}, open: list.New(), late: map[ID]*entry{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if m.o.Log.SegmentBytes == 0 {
		m.o.Log.SegmentBytes = 64 << 20
	}
	buffer := cmp.Or(o.Log.BufferBytes, int(min(8<<20, m.o.Log.SegmentBytes-2*vfs.Align)))
	m.limit, m.piece = buffer*3/4, min(512<<10, buffer/4) // so that a session can be written again at once
	if dir != "" {
		m.o.Log.Notify = m.notify
		if m.log, err = tokenlog.Open(fsys, dir, m.o.Log, m.replay); err != nil {
			return nil, err
		}
		m.recovered()
	}
	go m.catchUps()
	return m, nil
}

// replay takes a record of the log, from the oldest on.
func (m *Manager) replay(r tokenlog.Record) error {
	id := ID(r.Owner)
	m.newest = r.LSN
	e := m.sessions[id]
	switch {
	case r.End:
		var end endRecord
		if r.Kind.Type == typeEnd && end.parse(r.Payload) == nil {
			m.remember(id, end.principal)
		}
		delete(m.sessions, id)
		return nil
	case r.Base || e == nil:
		e = &entry{id: id}
		m.sessions[id] = e
		if r.Kind.Type == typeCreate && r.Kind.Version <= version && e.create.parse(r.Payload) == nil {
			m.share(&e.create)
		} else {
			e.create = createRecord{}
			e.fault = &UnreadableError{r.Kind.Type, r.Kind.Version, "begins the session"}
		}
	}
	e.lsn.Store(uint64(r.LSN))
	e.owed.Store(uint64(r.LSN))
	e.cost.Add(int64(len(r.Payload)) + recordBytes)
	if e.fault == nil {
		e.fault = e.sum.replay(r.Kind, r.Payload)
	}
	return nil
}

// share makes the record use one copy of what many sessions have in common.
func (m *Manager) share(c *createRecord) {
	if known := m.models[*c.model]; known != nil {
		c.model = known
	} else {
		m.models[*c.model] = c.model
	}
	p := m.principals[c.principal]
	if p == nil {
		p = &principal{name: c.principal}
		m.principals[c.principal] = p
	}
	c.principal = p.name
}

// recovered completes what replay gathered.
func (m *Manager) recovered() {
	for _, lost := range m.log.Recovery().Owners {
		if e := m.sessions[ID(lost.Owner)]; e == nil {
			m.log.Mend(lost.Owner) // nothing of it is whole: there is nothing to keep
		} else if e.fault == nil {
			e.fault = e.damaged()
		}
	}
	now := m.now()
	for id, e := range m.sessions {
		if e.create.durability == 0 {
			continue
		}
		p := m.principals[e.create.principal]
		p.ids = append(p.ids, id)
		if k := e.create.key; k != ([16]byte{}) && now-e.create.created < int64(keyLife) {
			m.keys[k] = id
		}
	}
	for _, p := range m.principals {
		slices.SortFunc(p.ids, compareIDs)
	}
	// What is shown must not be lost: the last batch may be in the page cache only.
	m.log.Wait(context.Background(), m.newest) // if the disk fails, Durable says so
}

// damaged says which turn is the first that is not whole, of a session whose summary is
// that of the records before.
func (e *entry) damaged() *DamagedError {
	return &DamagedError{turnID(cmp.Or(e.sum.open, max(e.sum.next, 1)))}
}

// Close makes durable what can be and gives the store back. Turns that are under way are
// interrupted. If something is left in memory only, the error says so.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	m.closed = true
	var busy []*entry
	for _, e := range m.sessions {
		if e.busy {
			busy = append(busy, e)
		}
	}
	m.mu.Unlock()
	for _, e := range busy {
		e.mu.Lock()
		if e.turn != nil {
			e.turn.flush()
		}
		e.mu.Unlock()
	}
	close(m.stop)
	<-m.done
	if m.log == nil {
		return nil
	}
	for range 3 { // what is behind may take more than the log's buffer
		if m.catchUp(); !m.lagging.Load() || m.log.WaitForRoom(context.Background()) != nil {
			break
		}
	}
	err := m.log.Close()
	if err == nil && m.lagging.Load() {
		err = ErrNotDurable
	}
	return err
}

func (m *Manager) now() int64 { return m.o.Now().UnixNano() }

// principal has the sessions of one.
type principal struct {
	name string
	ids  []ID // ascending
}

func compareIDs(a, b ID) int { return bytes.Compare(a[:], b[:]) }

// keyOf returns what is kept of a principal's idempotency key; zero for no key.
func keyOf(principal, key string) (k [16]byte) {
	if key == "" {
		return k
	}
	h := blake3.New()
	h.WriteString("holdfast idempotency key 1")
	h.Write(le.AppendUint32(nil, uint32(len(principal))))
	h.WriteString(principal)
	h.WriteString(key)
	copy(k[:], h.Sum(nil))
	return k
}
