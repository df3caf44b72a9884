package session

import "context"

// Turn is a turn under way, with the exclusive right to its session until Commit
// or Abandon. Append and Flush are for the step loop; the other methods may be
// called beside them.
type Turn struct{}

// Commit ends a turn.
type Commit struct {
	Tokens int    // how many of the drawn ones count
	Finish string // why it ended, as the API says it
	Result []byte // opaque: the answer
}

// ID returns the turn's ID, which no other turn of the session ever has.
func (t *Turn) ID() string { return "" }

// Prompt returns the tokens to compute: the history's first Keep, and Input.
func (t *Turn) Prompt() []int32 { return nil }

// Drawn returns the tokens that had been drawn before a Resume.
func (t *Turn) Drawn() []int32 { return nil }

// Body returns what Begin got.
func (t *Turn) Body() []byte { return nil }

// Seed returns the seed that Begin got.
func (t *Turn) Seed() uint64 { return 0 }

// Info returns the turn as it is now.
func (t *Turn) Info() TurnInfo { return TurnInfo{} }

// Session returns the session as it is now.
func (t *Turn) Session() Info { return Info{} }

// Append adds a token that was drawn. It never waits, and allocates nothing within Begin.Room.
func (t *Turn) Append(token int32) {}

// Flush hands the step's tokens to the log, as soon as the session's durability
// needs them. It never waits.
func (t *Turn) Flush() {}

// Await returns when so many drawn tokens, those of before a Resume counted, may be shown
// to the client, as the session's durability says; at once if durability has dropped.
// The error is ctx's.
func (t *Turn) Await(ctx context.Context, tokens int) error { return nil }

// Commit makes the turn history and its ID the head, and gives the right back. It
// waits as durability says. An error of ctx leaves the turn committed, but maybe not durable yet; after ErrTooLarge and
// ErrInvalid it is still under way.
func (t *Turn) Commit(ctx context.Context, c Commit) (head string, err error) {
	return "", errNotYet
}

// Abandon ends the turn without a commit: it is interrupted. After Commit or
// Abandon it does nothing.
func (t *Turn) Abandon() {}

// Durable says whether all that the turn has acknowledged is on the disk, as Info.Durable.
func (t *Turn) Durable() bool { return false }
