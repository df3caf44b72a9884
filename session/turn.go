package session

import (
	"context"
	"slices"
	"sync"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Turn is a turn under way, with the exclusive right to its session until Commit
// or Abandon. Append, Flush and Write are for the step loop; the other methods may be
// called beside them.
type Turn struct {
	m      *Manager
	e      *entry
	tree   *tree
	node   *node
	prompt []int32
	before []int32      // drawn before a resume
	opened tokenlog.LSN // of the record that began the turn, or of the newest at a resume

	mu     sync.Mutex
	drawn  []int32
	logged int    // of the drawn, those that the tree has, and the log if it can
	marks  []mark // where in the log they are, if they are not durable
	safe   int    // tokens that are durable
	over   bool

	tokens, record []byte // scratch of flush

	unwritten bool // the step loop's: Flush has handed something over
}

// mark says that so many tokens of the turn are durable when lsn is.
type mark struct {
	tokens int
	lsn    tokenlog.LSN
}

const (
	// gather is how many tokens wait for each other at LevelTurn, where nobody waits
	// for them: a killed worker draws so many again.
	gather = 32
	// stepTokens bounds the tokens of a record that the step loop writes.
	stepTokens = 128
	// maxMarks bounds the marks of a turn: with more, tokens wait for later ones.
	maxMarks = 64
	// minRoom is the least room for tokens.
	minRoom = 64
)

func newTurn(m *Manager, e *entry, tree *tree, n *node, room int) *Turn {
	history := tree.tokens(n.parent)
	t := &Turn{
		m: m, e: e, tree: tree, node: n, before: n.drawn, logged: len(n.drawn),
		prompt: append(slices.Grow(history[:n.keep:n.keep], len(n.input)), n.input...),
		marks:  make([]mark, 0, maxMarks), tokens: make([]byte, 0, 4*stepTokens), record: make([]byte, 0, headStep+4*stepTokens),
	}
	room = max(minRoom, min(room, m.o.MaxTokens))
	t.drawn = append(make([]int32, 0, len(n.drawn)+room), n.drawn...)
	t.safe = len(n.drawn)
	return t
}

// ID returns the turn's ID, which no other turn of the session ever has.
func (t *Turn) ID() string { return turnID(t.node.number) }

// Prompt returns the tokens to compute: the history's first Keep, and Input.
func (t *Turn) Prompt() []int32 { return t.prompt }

// Drawn returns the tokens that had been drawn before a Resume.
func (t *Turn) Drawn() []int32 { return t.before }

// Body returns what Begin got.
func (t *Turn) Body() []byte { return t.node.body }

// Seed returns the seed that Begin got.
func (t *Turn) Seed() uint64 { return t.node.seed }

// Info returns the turn as it is now.
func (t *Turn) Info() TurnInfo {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	return t.e.turns([]*node{t.node})[0]
}

// Session returns the session as it is now.
func (t *Turn) Session() Info { return t.m.show(t.e) }

// Durable says whether all that the turn has acknowledged is on the disk, as Info.Durable.
func (t *Turn) Durable() bool { return t.e.isDurable(t.m.durable()) }

// Append adds a token that was drawn. It never waits, and allocates nothing within Begin.Room.
func (t *Turn) Append(token int32) {
	t.mu.Lock()
	if !t.over {
		t.drawn = append(t.drawn, token)
	}
	t.mu.Unlock()
}

// Flush hands the step's tokens to the log, as soon as the session's durability
// needs them; Write then has them written. It never waits: if the session is being
// written right now, the next Flush or Await does it.
func (t *Turn) Flush() {
	t.mu.Lock()
	pending := len(t.drawn) - t.logged
	t.mu.Unlock()
	if pending == 0 || pending < gather && t.e.create.durability != LevelStep || !t.e.mu.TryLock() {
		return
	}
	t.flush()
	t.e.mu.Unlock()
	t.unwritten = true
}

// Write has what Flush has handed over written, in the background.
func (t *Turn) Write() {
	if t.unwritten && t.m.log != nil {
		t.m.log.Flush()
	}
	t.unwritten = false
}

// flush gives what was drawn to the tree and the log; e.mu is held.
func (t *Turn) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	for t.logged < len(t.drawn) {
		some := t.drawn[t.logged:min(len(t.drawn), t.logged+stepTokens)]
		t.tokens = appendTokens(t.tokens[:0], some)
		r := stepRecord{turn: t.node.number, first: uint32(t.logged), tokens: t.tokens}
		t.record = r.append(t.record[:0])
		t.logged += len(some)
		t.node.drawn = t.drawn[:t.logged:t.logged]
		t.tree.size += len(t.tokens)
		t.m.put(t.e, typeStep, t.record)
	}
	t.mark()
}

// mark notes where the tokens are; mu is held.
func (t *Turn) mark() {
	if t.m.log == nil || t.e.behind.Load() {
		return
	}
	durable, n := t.m.log.Durable(), 0
	for n < len(t.marks) && t.marks[n].lsn < durable {
		t.safe = t.marks[n].tokens
		n++
	}
	t.marks = slices.Delete(t.marks, 0, n)
	now := mark{t.logged, tokenlog.LSN(t.e.lsn.Load())}
	if len(t.marks) < maxMarks {
		t.marks = append(t.marks, now)
	} else {
		t.marks[maxMarks-1] = now
	}
}

// Await returns when so many drawn tokens, those of before a Resume counted, may be shown
// to the client, as the session's durability says; at once if durability has dropped.
// The error is ctx's.
func (t *Turn) Await(ctx context.Context, tokens int) error {
	lsn := t.opened
	if t.e.create.durability == LevelStep {
		lsn = max(lsn, t.place(tokens))
	}
	return t.m.wait(ctx, t.e, lsn)
}

// place returns the record that must be durable for so many tokens to be.
func (t *Turn) place(tokens int) tokenlog.LSN {
	t.mu.Lock()
	pending := tokens > t.logged && t.logged < len(t.drawn)
	t.mu.Unlock()
	if pending {
		t.e.mu.Lock()
		t.flush()
		t.e.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if tokens <= t.safe {
		return 0
	}
	for _, m := range t.marks {
		if m.tokens >= tokens {
			return m.lsn
		}
	}
	return tokenlog.LSN(t.e.lsn.Load()) // no mark: the session was written again as a whole
}

// Commit ends a turn.
type Commit struct {
	Tokens int    // how many of the drawn ones count
	Finish string // why it ended, as the API says it
	Result []byte // opaque: the answer
}

// Commit makes the turn history and its ID the head, and gives the right back. It
// waits as durability says. An error of ctx leaves the turn committed, but maybe not
// durable yet; after ErrTooLarge and ErrInvalid it is still under way.
func (t *Turn) Commit(ctx context.Context, c Commit) (head string, err error) {
	if err := t.commit(&c); err != nil {
		return "", err
	}
	err = t.m.settle(ctx, t.e)
	t.end()
	return t.ID(), err
}

func (t *Turn) commit(c *Commit) error {
	m, e, n := t.m, t.e, t.node
	if len(c.Finish) > maxWord || len(c.Result) > m.o.MaxBody {
		return limit(ErrTooLarge, "the finish has %d bytes, the result %d; %d and %d are the most", len(c.Finish), len(c.Result), maxWord, m.o.MaxBody)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.turn != t {
		return ErrReleased
	}
	t.flush()
	switch {
	case c.Tokens < 0 || c.Tokens > len(n.drawn):
		return limit(ErrInvalid, "%d of %d tokens that were drawn", c.Tokens, len(n.drawn))
	case t.tree.size+len(c.Result) > m.limit:
		return limit(ErrTooLarge, "the session has %d bytes, and would have %d more; %d are the most", t.tree.size, len(c.Result), m.limit)
	case int(n.keep)+len(n.input)+c.Tokens > m.o.MaxTokens:
		return limit(ErrTooLarge, "the history would have %d tokens, %d are the most", int(n.keep)+len(n.input)+c.Tokens, m.o.MaxTokens)
	}
	t.tree.commit(n, &commitRecord{
		turn: n.number, inexact: n.inexact, tokens: uint32(c.Tokens), length: n.keep + uint32(len(n.input)+c.Tokens), depth: n.depth, time: m.now(),
	}, c.Finish, slices.Clone(c.Result))
	m.putAll(e, n.commitRecords(m.piece))
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	return nil
}

// Abandon ends the turn without a commit: it is interrupted. After Commit or
// Abandon it does nothing.
func (t *Turn) Abandon() {
	t.e.mu.Lock()
	mine := t.e.turn == t && t.node.state == nodeOpen
	if mine {
		t.flush()
		t.mu.Lock()
		mine, t.over = !t.over, true
		t.mu.Unlock()
	}
	t.e.mu.Unlock()
	if mine {
		t.end()
		if t.m.log != nil {
			t.m.log.Flush()
		}
	}
}

// end gives the right back.
func (t *Turn) end() {
	t.e.mu.Lock()
	if t.e.turn == t {
		t.e.turn = nil
		t.m.publish(t.e)
		t.m.release(t.e)
	}
	t.e.mu.Unlock()
}
