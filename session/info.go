package session

import (
	"fmt"
	"time"
)

// Durability says what of a session is on the disk before a client sees it.
type Durability uint8

const (
	// LevelMemory: nothing. A restart loses the session.
	LevelMemory Durability = iota + 1
	// LevelTurn: the turn's beginning before its first token, and its commit before its end.
	LevelTurn
	// LevelStep: also each token before it is shown.
	LevelStep
)

var durabilities = [...]string{LevelMemory: "memory", LevelTurn: "turn", LevelStep: "step"}

// String returns "memory", "turn" or "step".
func (d Durability) String() string {
	if !d.known() {
		return fmt.Sprintf("durability %d", uint8(d))
	}
	return durabilities[d]
}

func (d Durability) known() bool { return d >= LevelMemory && d <= LevelStep }

// ParseDurability reads what String wrote.
func ParseDurability(s string) (Durability, error) {
	for d := LevelMemory; d <= LevelStep; d++ {
		if durabilities[d] == s {
			return d, nil
		}
	}
	return 0, fmt.Errorf("session: durability %.20q is not known; take memory, turn or step", s)
}

// Model is what a session's tokens, and the KV that they stand for, were made with.
type Model struct {
	Weights, Tokenizer, Template [32]byte // digests
	Class                        string   // numerics class, docs/NUMERICS.md
}

// Differs names what is different in other: "weights", "tokenizer", "template",
// "class". With an equal tokenizer a session can go on from its token IDs.
func (m Model) Differs(other Model) (what []string) {
	for _, d := range []struct {
		name  string
		equal bool
	}{
		{"weights", m.Weights == other.Weights},
		{"tokenizer", m.Tokenizer == other.Tokenizer},
		{"template", m.Template == other.Template},
		{"class", m.Class == other.Class},
	} {
		if !d.equal {
			what = append(what, d.name)
		}
	}
	return what
}

// State says what can be done with a session.
type State string

const (
	Idle        State = "idle"        // a turn can begin
	Active      State = "active"      // somebody has the right to change it
	Interrupted State = "interrupted" // its last turn was cut short: resume it, or begin another
	Parked      State = "parked"      // idle, and not expected soon
	Damaged     State = "damaged"     // records are lost or not understood: rewind, fork below, or delete
)

// States lists them all.
var States = []State{Idle, Active, Interrupted, Parked, Damaged}

// Info is a session as it is shown.
type Info struct {
	ID         ID
	Principal  string
	State      State
	Head       string // ID of the last committed turn of the path, "" for none
	Parent     ID     // of the session that this one was forked from; zero for none
	ParentHead string // the parent's turn at which it was
	Durability Durability
	// Durable says that what this session has acknowledged is on the disk as its
	// durability says. It is false at LevelMemory, and while the disk fails.
	Durable bool
	Tokens  int // of the head's history
	Turns   int // on the path to the head
	Created time.Time
	Used    time.Time     // when a turn last began or ended, or it was changed
	TTL     time.Duration // 0: it does not expire
	Expires time.Time     // Used + TTL; zero if it does not
	Pinned  bool          // it does not expire while it is
	// Inexact says that a turn of the path went on with another model than the
	// one that made what came before it.
	Inexact bool
	Model   Model
}

// TurnState says how a turn ended.
type TurnState string

const (
	TurnOpen        TurnState = "open"        // is being generated
	TurnCommitted   TurnState = "committed"   // is history
	TurnInterrupted TurnState = "interrupted" // was cut short and can be resumed
	TurnIncomplete  TurnState = "incomplete"  // was cut short, and another came
)

// TurnInfo is a turn as it is shown. Its slices belong to the session: read them only.
type TurnInfo struct {
	ID      string
	Parent  string // the head when it began, "" for none
	State   TurnState
	Keep    int     // tokens of the parent's history that its prompt began with
	Input   []int32 // the prompt's tokens behind those
	Drawn   []int32 // the tokens drawn: those that count, once it is committed
	Body    []byte  // as Begin got it
	Result  []byte  // as Commit got it
	Seed    uint64
	Finish  string
	Inexact bool
	Created time.Time
}

// Prompt tokens and drawn ones: the history's length once the turn is committed.
func (t *TurnInfo) length() int { return t.Keep + len(t.Input) + len(t.Drawn) }
