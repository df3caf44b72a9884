package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// plain is a session as a list of turns, with nothing to go wrong: what the tests
// compare with.
type plain struct {
	turns          []TurnInfo
	head, open     string
	next           int
	pinned, parked bool
	ttl            time.Duration
	parent         ID
	parentHead     string
}

func (p *plain) clone() *plain {
	c := *p
	c.turns = slices.Clone(p.turns)
	return &c
}

func (p *plain) turn(id string) *TurnInfo {
	for i := range p.turns {
		if p.turns[i].ID == id {
			return &p.turns[i]
		}
	}
	return nil
}

func (p *plain) tokens(head string) []int32 {
	t := p.turn(head)
	if t == nil {
		return nil
	}
	return slices.Concat(p.tokens(t.Parent)[:t.Keep], t.Input, t.Drawn)
}

func (p *plain) depth(head string) int {
	if t := p.turn(head); t != nil {
		return 1 + p.depth(t.Parent)
	}
	return 0
}

func (p *plain) begin(keep int, input []int32, body []byte, seed uint64) {
	p.close()
	p.open = fmt.Sprintf("turn_%d", p.next)
	p.turns = append(p.turns, TurnInfo{ID: p.open, Parent: p.head, State: TurnInterrupted, Keep: keep, Input: input, Body: body, Seed: seed})
	p.next++
	p.parked = false
}

func (p *plain) close() {
	if p.open != "" {
		p.turn(p.open).State = TurnIncomplete
		p.open = ""
	}
}

func (p *plain) draw(tokens []int32) {
	t := p.turn(p.open)
	t.Drawn = slices.Concat(t.Drawn, tokens)
}

func (p *plain) commit(tokens int, finish string, result []byte) {
	t := p.turn(p.open)
	t.State, t.Drawn, t.Finish, t.Result = TurnCommitted, t.Drawn[:tokens], finish, result
	p.head, p.open = t.ID, ""
}

func (p *plain) rewind(head string) {
	p.close()
	p.head = head
}

func (p *plain) fork(id ID, at string) *plain {
	f := &plain{head: at, ttl: p.ttl, parent: id, parentHead: at, next: 1}
	for t := p.turn(at); t != nil; t = p.turn(t.Parent) {
		f.turns = append(f.turns, *t)
		f.next = max(f.next, 1+turnNumber(t.ID))
	}
	slices.Reverse(f.turns)
	return f
}

func turnNumber(id string) (n int) {
	fmt.Sscanf(id, "turn_%d", &n)
	return n
}

func (p *plain) committed() (ids []string) {
	ids = append(ids, "")
	for _, t := range p.turns {
		if t.State == TurnCommitted {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// String is what must be equal.
func (p *plain) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "head %q tokens %d turns %d pinned %v parked %v ttl %v parent %v %q\n", p.head, len(p.tokens(p.head)), p.depth(p.head),
		p.pinned, p.parked, p.ttl, p.parent, p.parentHead)
	for _, t := range p.turns {
		fmt.Fprintf(&s, " %s<%s %s keep %d input %v drawn %v body %x result %x seed %d finish %q\n", t.ID, t.Parent, t.State, t.Keep, t.Input, t.Drawn,
			t.Body, t.Result, t.Seed, t.Finish)
	}
	return s.String()
}

// found returns a session as a manager has it, and "" if it has none.
func found(m *Manager, id ID) (string, error) {
	info, err := m.Get("alice", id)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrGone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	turns, err := m.Turns(nil, "alice", id)
	if err != nil {
		return "", err
	}
	for i := range turns {
		if turns[i].State == TurnOpen {
			turns[i].State = TurnInterrupted
		}
	}
	p := &plain{turns: turns, head: info.Head, pinned: info.Pinned, ttl: info.TTL, parent: info.Parent, parentHead: info.ParentHead}
	m.mu.Lock()
	p.parked = m.sessions[id].sum.parked
	m.mu.Unlock()
	s := p.String()
	if n := len(p.tokens(p.head)); n != info.Tokens || p.depth(p.head) != info.Turns {
		return "", fmt.Errorf("Info says %d tokens and %d turns, the turns say otherwise: %s", info.Tokens, info.Turns, s)
	}
	return s, nil
}

// track is what the world knows of a session.
type track struct {
	id      ID
	level   Durability
	now     *plain
	pending []int32 // appended, not yet given to the log
	turn    *Turn
	states  []state // all that the session has been, oldest first
	acks    []acked
}

// state is what a session was from an operation of the disk on.
type state struct {
	text string // "" before it existed, and after its end
	p    *plain
	born int
}

// acked says that states[index] was acknowledged at an operation.
type acked struct{ op, index int }

// world uses sessions in all ways, and keeps a plain copy of each.
type world struct {
	t      testing.TB
	m      *Manager
	choose func(n int) int // 0 to n-1
	ops    func() int      // operations of the disk so far
	tracks []*track
	faulty bool
	serial int32
	verbs  map[string]int
	clock  time.Time
}

// is adds a state that tr has now.
func (w *world) is(tr *track, born int) {
	if tr.now == nil {
		tr.states = append(tr.states, state{"", nil, born})
		return
	}
	tr.states = append(tr.states, state{tr.now.String(), tr.now.clone(), born})
}

// ack notes that the newest state was acknowledged, if the session says that it is durable.
func (w *world) ack(tr *track, durable bool) {
	if durable {
		tr.acks = append(tr.acks, acked{w.ops(), len(tr.states) - 1})
	} else if !w.faulty && tr.level != LevelMemory {
		w.t.Errorf("%v is not durable, and nothing fails", tr.id)
	}
}

func (w *world) durable(tr *track) bool {
	info, err := w.m.Get("alice", tr.id)
	return err == nil && info.Durable
}

func (w *world) tokens(n int) (tokens []int32) {
	for range n {
		w.serial++
		tokens = append(tokens, w.serial)
	}
	return tokens
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		w.serial++
		b[i] = byte(w.serial)
	}
	return b
}

func (w *world) fail(what string, err error) {
	if err != nil {
		w.t.Errorf("%s: %v", what, err)
	}
}

// step does one thing.
func (w *world) step() {
	if len(w.tracks) == 0 || w.choose(12) == 0 && len(w.tracks) < 5 {
		w.create()
		return
	}
	tr := w.tracks[w.choose(len(w.tracks))]
	if tr.now == nil {
		return
	}
	if tr.turn != nil && w.choose(6) > 0 {
		w.inTurn(tr)
		return
	}
	switch n := w.choose(20); {
	case n < 9:
		w.begin(tr)
	case n < 11:
		w.rewind(tr)
	case n < 13:
		w.fork(tr)
	case n < 16:
		w.update(tr)
	case n < 17:
		w.delete(tr)
	case n < 18:
		w.verbs["compact"]++
		if err := w.m.Compact(w.t.Context()); err != nil && !w.faulty {
			w.t.Errorf("compact: %v", err)
		}
		w.verifyAll()
	case n < 19:
		w.resume(tr)
	default:
		if err := w.squeeze(tr); err != nil && !w.faulty {
			w.t.Errorf("rewrite: %v", err)
		}
	}
}

// squeeze has the session written again, as compaction does.
func (w *world) squeeze(tr *track) error {
	w.verbs["rewrite"]++
	e := w.m.sessions[tr.id]
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.kept() || e.behind.Load() {
		return nil
	}
	return w.m.renewed(e)
}

func (w *world) verifyAll() {
	for _, tr := range w.tracks {
		if tr.now == nil {
			continue
		}
		if _, err := w.m.Verify(w.t.Context(), "alice", tr.id); err != nil && !w.faulty {
			w.t.Errorf("verify: %v", err)
		}
	}
}

func (w *world) create() {
	w.verbs["create"]++
	born := w.ops()
	spec := Spec{Principal: "alice", Durability: []Durability{LevelMemory, LevelTurn, LevelStep, LevelTurn, LevelStep}[w.choose(5)], Pin: w.choose(4) == 0, Model: testModel}
	info, err := w.m.Create(w.t.Context(), spec)
	if err != nil {
		w.fail("create", err)
		return
	}
	tr := &track{id: info.ID, level: spec.Durability, states: []state{{"", nil, -1}}, now: &plain{next: 1, pinned: spec.Pin}}
	w.tracks = append(w.tracks, tr)
	w.is(tr, born)
	w.ack(tr, info.Durable)
}

func (w *world) begin(tr *track) {
	w.verbs["begin"]++
	born := w.ops()
	s, err := w.m.Acquire(w.t.Context(), "alice", tr.id)
	if tr.turn != nil {
		wantType[*BusyError](w.t, "acquire in a turn", err)
		return
	}
	if err != nil {
		w.fail("acquire", err)
		return
	}
	history := tr.now.tokens(tr.now.head)
	if got := s.Tokens(); !slices.Equal(got, history) {
		w.t.Errorf("tokens %v, want %v", got, history)
	}
	keep := len(history)
	if w.choose(3) == 0 {
		keep = w.choose(keep + 1)
	}
	b := Begin{Head: tr.now.head, Keep: keep, Input: w.tokens(1 + w.choose(20)), Body: w.bytes(w.choose(30)), Seed: uint64(w.serial)}
	if w.choose(8) == 0 {
		b.Body = w.bytes(6000) // more than one record of a small log
	}
	turn, err := s.Begin(w.t.Context(), b)
	if errors.Is(err, ErrTooMany) {
		w.verbs["full"]++
		s.Release()
		return
	}
	if err != nil {
		w.fail("begin", err)
		return
	}
	if tr.now.open != "" {
		w.verbs["incomplete"]++
		tr.now.close()
		w.is(tr, born)
	}
	tr.now.begin(keep, b.Input, b.Body, b.Seed)
	w.is(tr, born)
	tr.turn = turn
	if turn.ID() != tr.now.open {
		w.t.Errorf("%s, want %s", turn.ID(), tr.now.open)
	}
	if want := slices.Concat(history[:keep], b.Input); !slices.Equal(turn.Prompt(), want) {
		w.t.Errorf("prompt %v, want %v", turn.Prompt(), want)
	}
}

// flushed moves what is pending to the turn.
func (w *world) flushed(tr *track, born int) {
	if len(tr.pending) > 0 {
		tr.now.draw(tr.pending)
		tr.pending = nil
		w.is(tr, born)
	}
}

// inTurn goes on with a turn that is under way.
func (w *world) inTurn(tr *track) {
	born := w.ops()
	switch n := w.choose(10); {
	case n < 6:
		w.verbs["draw"]++
		for _, token := range w.tokens(1 + w.choose(40)) {
			tr.turn.Append(token)
			tr.pending = append(tr.pending, token)
			if w.choose(3) == 0 {
				tr.turn.Flush()
				tr.turn.Write()
				if tr.level == LevelStep || len(tr.pending) >= gather {
					w.flushed(tr, born)
				}
			}
		}
		if w.choose(2) == 0 {
			w.await(tr)
		}
	case n < 9:
		w.verbs["commit"]++
		w.flushed(tr, born)
		drawn := len(tr.now.turn(tr.now.open).Drawn)
		c := Commit{Tokens: drawn - min(drawn, w.choose(3)), Finish: "stop", Result: w.bytes(w.choose(30))}
		head, err := tr.turn.Commit(w.t.Context(), c)
		if errors.Is(err, ErrTooLarge) {
			w.verbs["full"]++
			tr.turn.Abandon()
			tr.turn = nil
			return
		}
		if err != nil || head != tr.now.open {
			w.t.Errorf("commit: %q, %v", head, err)
		}
		tr.now.commit(c.Tokens, c.Finish, c.Result)
		w.is(tr, born)
		w.ack(tr, w.durable(tr))
		tr.turn = nil
	default:
		w.verbs["abandon"]++
		w.flushed(tr, born)
		tr.turn.Abandon()
		tr.turn = nil
	}
}

// await waits for some of the tokens: at LevelStep they are promised then, at
// LevelTurn that the turn has begun.
func (w *world) await(tr *track) {
	w.verbs["await"]++
	born := w.ops()
	all := len(tr.now.turn(tr.now.open).Drawn) + len(tr.pending)
	n := all
	if w.choose(2) == 0 {
		n = w.choose(all + 1)
	}
	if tr.level == LevelStep && n > all-len(tr.pending) {
		w.flushed(tr, born)
	}
	w.fail("await", tr.turn.Await(w.t.Context(), n))
	if !tr.turn.Durable() {
		return
	}
	op := w.ops()
	for i := range tr.states {
		if t := tr.states[i].p; t != nil && t.open == tr.now.open && (tr.level == LevelTurn || tr.level == LevelStep && len(t.turn(t.open).Drawn) >= n) {
			tr.acks = append(tr.acks, acked{op, i})
			return
		}
	}
	if tr.level != LevelMemory {
		w.t.Errorf("no state with %d tokens", n)
	}
}

func (w *world) resume(tr *track) {
	if tr.turn != nil || tr.now.open == "" {
		return
	}
	w.verbs["resume"]++
	s, err := w.m.Acquire(w.t.Context(), "alice", tr.id)
	if err != nil {
		w.fail("acquire", err)
		return
	}
	if tr.turn, err = s.Resume(tr.now.open); err != nil {
		w.fail("resume", err)
		return
	}
	if got := tr.turn.Drawn(); !slices.Equal(got, tr.now.turn(tr.now.open).Drawn) {
		w.t.Errorf("drawn before: %v", got)
	}
}

func (w *world) rewind(tr *track) {
	if tr.turn != nil {
		return
	}
	w.verbs["rewind"]++
	born := w.ops()
	s, err := w.m.Acquire(w.t.Context(), "alice", tr.id)
	if err != nil {
		w.fail("acquire", err)
		return
	}
	defer s.Release()
	heads := tr.now.committed()
	head := heads[w.choose(len(heads))]
	w.fail("rewind", s.Rewind(w.t.Context(), head))
	tr.now.rewind(head)
	w.is(tr, born)
	w.ack(tr, w.durable(tr))
}

func (w *world) fork(tr *track) {
	if len(w.tracks) > 8 {
		return
	}
	w.verbs["fork"]++
	born := w.ops()
	heads := tr.now.committed()[1:]
	at := tr.now.head
	if len(heads) > 0 && w.choose(2) == 0 {
		at = heads[w.choose(len(heads))]
	}
	infos, err := w.m.Fork(w.t.Context(), "alice", tr.id, at, 1+w.choose(2))
	w.fail("fork", err)
	for _, info := range infos {
		f := &track{id: info.ID, level: tr.level, states: []state{{"", nil, -1}}, now: tr.now.fork(tr.id, at)}
		w.tracks = append(w.tracks, f)
		w.is(f, born)
		w.ack(f, info.Durable)
	}
}

func (w *world) update(tr *track) {
	w.verbs["update"]++
	born := w.ops()
	var c Change
	pin, parked, ttl := w.choose(2) == 0, w.choose(2) == 0, time.Duration(1+w.choose(5))*time.Hour
	if w.choose(2) == 0 {
		c.Pin, tr.now.pinned = &pin, pin
	}
	if tr.turn == nil && w.choose(2) == 0 {
		w.verbs["park"]++
		c.Parked, tr.now.parked = &parked, parked
	}
	if w.choose(2) == 0 {
		c.TTL, tr.now.ttl = &ttl, ttl
	}
	info, err := w.m.Update(w.t.Context(), "alice", tr.id, c)
	w.fail("update", err)
	w.is(tr, born)
	w.ack(tr, info.Durable)
}

func (w *world) delete(tr *track) {
	if tr.turn != nil {
		return
	}
	w.verbs["delete"]++
	born := w.ops()
	err := w.m.Delete(w.t.Context(), "alice", tr.id)
	tr.now = nil
	w.is(tr, born)
	if err == nil {
		w.ack(tr, tr.level != LevelMemory)
	} else if !w.faulty || !errors.Is(err, ErrNotDurable) {
		w.t.Errorf("delete: %v", err)
	}
}

// check compares all sessions with what a manager has.
func (w *world) check() {
	for _, tr := range w.tracks {
		want := ""
		if tr.now != nil {
			want = tr.now.String()
		}
		if got, err := found(w.m, tr.id); err != nil || got != want {
			w.t.Fatalf("%v: %v\ngot  %s\nwant %s", tr.id, err, got, want)
		}
	}
	w.t.Helper()
}

// ends abandons what is under way, as Close does.
func (w *world) ends() {
	born := w.ops()
	for _, tr := range w.tracks {
		if tr.now != nil {
			w.flushed(tr, born)
		}
		tr.turn = nil
	}
}

// reopen closes the sessions and opens them again: those at LevelMemory are gone.
func (w *world) reopen(fs vfs.FS, o Options) {
	w.verbs["reopen"]++
	w.ends()
	if err := w.m.Close(); err != nil && !w.faulty {
		w.t.Fatal(err)
	}
	var err error
	if w.m, err = Open(fs, "store", o); err != nil {
		w.t.Fatal(err)
	}
	w.tracks = slices.DeleteFunc(w.tracks, func(tr *track) bool { return tr.level == LevelMemory })
}
