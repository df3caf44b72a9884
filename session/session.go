package session

import (
	"context"
	"slices"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Session is the exclusive right to change a session, until Release, or until
// Begin or Resume hands it to a Turn. It is for one goroutine; what it shows stays readable afterwards.
type Session struct {
	m    *Manager
	e    *entry
	tree *tree
	held bool
}

// Acquire gives the exclusive right to change a session; *BusyError if another has it. A
// damaged session can be acquired, to read and rewind it.
func (m *Manager) Acquire(ctx context.Context, principal string, id ID) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, err := m.claim(principal, id)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := m.load(e); err != nil {
		m.release(e)
		return nil, err
	}
	return &Session{m: m, e: e, tree: e.tree, held: true}, nil
}

// Info returns the session.
func (s *Session) Info() Info { return s.m.show(s.e) }

// Tokens returns the head's history.
func (s *Session) Tokens() []int32 {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.tree.tokens(s.tree.sum.head)
}

// Turns returns the path from the first turn to the head.
func (s *Session) Turns() []TurnInfo {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.turns(s.tree.path(s.tree.sum.head))
}

// Turn returns a turn; ErrNoTurn if there is none.
func (s *Session) Turn(id string) (TurnInfo, error) {
	number, err := parseTurn(id)
	if err != nil {
		return TurnInfo{}, err
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	n := s.tree.node(number)
	if n == nil {
		return TurnInfo{}, ErrNoTurn
	}
	return s.e.turns([]*node{n})[0], nil
}

// All returns the tree, in the order of the turns' beginnings.
func (s *Session) All() []TurnInfo {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.turns(s.tree.nodes)
}

// Release gives the right back, if this Session still has it.
func (s *Session) Release() {
	if s.held {
		s.held = false
		s.m.release(s.e)
	}
}

// Rewind makes a committed turn the head, "" the beginning, and closes an
// interrupted turn. The turns behind stay in the tree. It accepts the loss in a
// damaged session.
func (s *Session) Rewind(ctx context.Context, turn string) error {
	if !s.held {
		return ErrReleased
	}
	number, err := parseTurn(turn)
	if err != nil {
		return err
	}
	if err := s.rewind(number); err != nil {
		return err
	}
	if err := s.m.settle(ctx, s.e); err != nil {
		return err
	}
	s.publish()
	return nil
}

func (s *Session) rewind(number uint32) error {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	n := s.tree.committed(number)
	if n == nil {
		return ErrNoTurn
	}
	r := rewindRecord{head: number, inexact: n.inexact, next: s.tree.sum.next, length: n.length, depth: n.depth, time: s.m.now()}
	damaged := s.m.fault(e) != nil
	if damaged {
		r.next = min(maxTurn, r.next+uint32(s.m.o.MaxTurns)) // so many turns may be lost, whose numbers a client may know
	}
	s.tree.rewind(&r)
	if damaged {
		return s.m.mend(e)
	}
	s.m.put(e, typeRewind, r.append(nil))
	return nil
}

// publish shows what has been acknowledged.
func (s *Session) publish() {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.m.publish(s.e)
}

// publish shows what the tree says; e.mu is held.
func (m *Manager) publish(e *entry) {
	m.mu.Lock()
	e.sum = e.tree.sum
	m.mu.Unlock()
	m.touch(e)
}

// fault returns why a session cannot go on.
func (m *Manager) fault(e *entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return e.fault
}

// mend writes a damaged session again, as its tree is; e.mu is held.
func (m *Manager) mend(e *entry) error {
	m.log.Mend(e.owner())
	if err := m.rewrite(e); err != nil {
		m.fallBehind(e)
	}
	m.mu.Lock()
	e.fault = nil
	m.mu.Unlock()
	return nil
}

// Begin is a request for a turn.
type Begin struct {
	Head   string   // If-Match: the head that the client knows, "" for any
	Key    string   // idempotency key, "" for none
	Digest [16]byte // of the request: the same Key must come with the same
	// Keep is how many tokens of the head's history the prompt begins with, Input
	// what follows. All slices are copied.
	Keep    int
	Input   []int32
	Body    []byte // opaque: what the turn was asked with
	Seed    uint64 // drawn or given: with it, the parameters and the tokens, sampling repeats itself
	Inexact bool   // the model is not the one that made the history
	Room    int    // tokens that the turn may draw: Append allocates nothing for so many
}

// Begin begins a turn behind the head; an interrupted one becomes incomplete. A key
// that was seen gives a *RepeatError, or ErrKeyReused if the digest is another; another head a
// *StaleHeadError. On success the Turn has the right; after an error the Session keeps it.
func (s *Session) Begin(ctx context.Context, b Begin) (*Turn, error) {
	if !s.held {
		return nil, ErrReleased
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, e, t := s.m, s.e, s.tree
	e.mu.Lock()
	defer e.mu.Unlock()
	key := keyOf(e.create.principal, b.Key)
	if err := t.repeats(e, key, b.Digest); err != nil {
		return nil, err
	}
	if err := m.fault(e); err != nil {
		return nil, err
	}
	if head := turnID(t.sum.head); b.Head != "" && b.Head != head {
		return nil, &StaleHeadError{head}
	}
	if err := m.admit(t, &b); err != nil {
		return nil, err
	}
	now := m.now()
	if t.sum.open != 0 {
		r := closeRecord{turn: t.sum.open, time: now}
		t.close(now)
		m.put(e, typeClose, r.append(nil))
	}
	parent := t.committed(t.sum.head)
	n := t.add(&openRecord{
		turn: t.sum.next, parent: parent.number, inexact: b.Inexact || parent.inexact && b.Keep > 0, keep: uint32(b.Keep), time: now,
		seed: b.Seed, key: key, digest: b.Digest,
	}, parent, slices.Clone(b.Input), slices.Clone(b.Body))
	m.putAll(e, n.openRecords(m.piece))
	return s.hand(n, b.Room), nil
}

// hand gives the right to a new Turn; e.mu is held.
func (s *Session) hand(n *node, room int) *Turn {
	m, e := s.m, s.e
	s.held = false
	t := newTurn(m, e, s.tree, n, room)
	t.opened = tokenlog.LSN(e.lsn.Load())
	e.turn = t
	m.publish(e)
	if m.log != nil {
		m.log.Flush() // its sync goes on beside the prefill
	}
	return t
}

// repeats says that one of the last turns had this key.
func (t *tree) repeats(e *entry, key, digest [16]byte) error {
	if key == ([16]byte{}) {
		return nil
	}
	for _, n := range t.nodes[max(0, len(t.nodes)-keyTurn):] {
		if n.key == key && n.digest != digest {
			return ErrKeyReused
		}
		if n.key == key {
			return &RepeatError{e.turns([]*node{n})[0]}
		}
	}
	return nil
}

// admit checks a turn against the limits.
func (m *Manager) admit(t *tree, b *Begin) error {
	length := b.Keep + len(b.Input)
	added := recordCost + 4*len(b.Input) + len(b.Body)
	switch {
	case len(b.Key) > maxName:
		return limit(ErrTooLarge, "the key has %d bytes, %d are the most", len(b.Key), maxName)
	case len(b.Body) > m.o.MaxBody:
		return limit(ErrTooLarge, "the body has %d bytes, %d are the most", len(b.Body), m.o.MaxBody)
	case b.Keep < 0 || b.Keep > int(t.sum.tokens):
		return limit(ErrInvalid, "keep %d of %d tokens", b.Keep, t.sum.tokens)
	case length > m.o.MaxTokens:
		return limit(ErrTooMany, "the prompt has %d tokens, %d are the most", length, m.o.MaxTokens)
	case len(t.nodes) >= m.o.MaxTurns || t.sum.next >= maxTurn:
		return limit(ErrTooMany, "the session has %d turns, the most; fork it, which leaves other branches behind", len(t.nodes))
	case t.size+added > m.limit*3/4: // the rest is for what is drawn and answered
		return limit(ErrTooMany, "the session has %d bytes, and would have %d more; %d are the most; fork it, which leaves other branches behind", t.size, added, m.limit*3/4)
	}
	return nil
}

// Resume goes on with an interrupted turn.
func (s *Session) Resume(turn string) (*Turn, error) {
	if !s.held {
		return nil, ErrReleased
	}
	number, err := parseTurn(turn)
	if err != nil {
		return nil, err
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if err := s.m.fault(s.e); err != nil {
		return nil, err
	}
	n := s.tree.node(number)
	switch {
	case n == nil:
		return nil, ErrNoTurn
	case number != s.tree.sum.open:
		return nil, ErrNotRunning
	}
	return s.hand(n, 0), nil
}
