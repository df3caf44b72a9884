package session

import (
	"errors"
	"fmt"
	"strings"
)

// Errors about what is asked for.
var (
	// ErrNotFound is returned for a session that does not exist, or is another principal's.
	ErrNotFound = errors.New("session: there is no such session")
	// ErrGone is returned for a session that expired or was deleted not long ago.
	ErrGone = errors.New("session: the session has expired or was deleted")
	// ErrNoTurn is returned for a turn that the session does not have, or that
	// cannot be a head because it was not committed.
	ErrNoTurn = errors.New("session: there is no such turn; list the session's turns")
	// ErrNotRunning is returned by Resume for a turn that was not interrupted, or is not the
	// session's last.
	ErrNotRunning = errors.New("session: the turn is not interrupted; begin a new one")
	// ErrKeyReused is returned when an idempotency key comes again with another request.
	ErrKeyReused = errors.New("session: the idempotency key was used for another request; take a new one")
	// ErrReleased is returned by a Session whose right was given back or taken over.
	ErrReleased = errors.New("session: the right to change the session was given back")
)

// Errors about limits and the disk.
var (
	// ErrTooMany is returned when a limit on sessions, turns, tokens or forks is reached.
	ErrTooMany = errors.New("session: too many")
	// ErrTooLarge is returned for a body, a result, a key or an archive above its limit.
	ErrTooLarge = errors.New("session: too large")
	// ErrInvalid is returned for an argument that makes no sense.
	ErrInvalid = errors.New("session: invalid")
	// ErrNotDurable is returned by Delete when the session is gone but the disk does not say so yet.
	ErrNotDurable = errors.New("session: not on the disk yet, which fails; it is tried again")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("session: the sessions are closed")
)

// StaleHeadError says that a turn was asked for behind another head than the session has.
type StaleHeadError struct{ Head string }

func (e *StaleHeadError) Error() string {
	return fmt.Sprintf("session: the head is %q by now; read what came, then try again with it", e.Head)
}

// BusyError says that somebody else has the right to change the session.
type BusyError struct{ Head string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("session: a turn is under way behind head %q; wait for its end, or fork", e.Head)
}

// RepeatError says that a turn with this idempotency key was begun before; Turn is how it is now.
type RepeatError struct{ Turn TurnInfo }

func (e *RepeatError) Error() string {
	return fmt.Sprintf("session: the idempotency key was used for %s, which is %s", e.Turn.ID, e.Turn.State)
}

// DamagedError says that the records of a session are lost from a turn on. Those
// before are whole: rewind to one, or fork there.
type DamagedError struct{ Turn string }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("session: its records are damaged from %s on; rewind or fork before that", e.Turn)
}

// UnreadableError says that a session holds a record that this program does not
// understand: a later one wrote it, or the record makes no sense. Nothing of it is
// touched, and nothing can be done with it but delete it.
type UnreadableError struct {
	Type, Version uint8 // of the record
	What          string
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("session: a record of type %d, version %d, %s; use a newer program, or delete the session", e.Type, e.Version, e.What)
}

// ModelError says that a session was made with another model.
type ModelError struct{ Differs []string } // as Model.Differs

func (e *ModelError) Error() string {
	return "session: it was made with another " + strings.Join(e.Differs, ", ")
}

// ArchiveError says why an archive was refused. Nothing of it was taken.
type ArchiveError struct{ What string }

func (e *ArchiveError) Error() string { return "session: not a good archive: " + e.What }

// limit returns an error that says which limit, of how many, was met.
func limit(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{kind}, args...)...)
}
