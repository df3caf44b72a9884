package session

import "context"

// Session is the exclusive right to change a session, until Release, or until
// Begin or Resume hands it to a Turn. It is for one goroutine; what it shows stays readable afterwards.
type Session struct{}

// Begin is a request for a turn.
type Begin struct {
	Head   string   // If-Match: the head that the client knows, "" for any
	Key    string   // idempotency key, "" for none
	Digest [16]byte // of the request: the same Key must come with the same
	// Keep is how many tokens of the head's history the prompt begins with, Input
	// what follows. They and all slices are copied.
	Keep    int
	Input   []int32
	Body    []byte // opaque: what the turn was asked with
	Seed    uint64 // drawn or given: with it, the parameters and the tokens, sampling repeats itself
	Inexact bool   // the model is not the one that made the history
	Room    int    // tokens that the turn may draw: Append allocates nothing for so many
}

// Info returns the session.
func (s *Session) Info() Info { return Info{} }

// Tokens returns the head's history.
func (s *Session) Tokens() []int32 { return nil }

// Turns returns the path from the first turn to the head.
func (s *Session) Turns() []TurnInfo { return nil }

// Turn returns a turn; ErrNoTurn if there is none.
func (s *Session) Turn(id string) (TurnInfo, error) { return TurnInfo{}, errNotYet }

// All returns the tree, in the order of the turns' beginnings.
func (s *Session) All() []TurnInfo { return nil }

// Rewind makes a committed turn the head, "" the beginning, and closes an
// interrupted turn. The turns behind stay in the tree. It accepts the loss in a
// damaged session.
func (s *Session) Rewind(ctx context.Context, turn string) error { return errNotYet }

// Begin begins a turn behind the head; an interrupted one becomes incomplete. A key
// that was seen gives a *RepeatError, or ErrKeyReused if the digest is another; another head a
// *StaleHeadError. On success the Turn has the right; after an error the Session keeps it.
func (s *Session) Begin(ctx context.Context, b Begin) (*Turn, error) { return nil, errNotYet }

// Resume goes on with an interrupted turn.
func (s *Session) Resume(turn string) (*Turn, error) { return nil, errNotYet }

// Release gives the right back, if this Session still has it.
func (s *Session) Release() {}
