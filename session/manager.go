package session

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/tokenlog"
)

var errNotYet = errors.New("session: not written yet")

// Manager has the sessions of a store. All methods are safe for concurrent use.
// A principal that does not own a session gets ErrNotFound, whatever it asks.
type Manager struct{}

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

// Open opens the sessions in dir, making it if needed. With dir "" there is no disk,
// and every session is at LevelMemory. A store that another process has open gives a
// *vfs.LockedError, one of a later version a *tokenlog.VersionError; neither is touched.
func Open(fsys vfs.FS, dir string, o Options) (*Manager, error) { return nil, errNotYet }

// Close gives the store back. Turns that are under way are interrupted.
func (m *Manager) Close() error { return errNotYet }

// Create makes a session and returns when it is as durable as it says.
func (m *Manager) Create(ctx context.Context, spec Spec) (Info, error) { return Info{}, errNotYet }

// Get returns a session as it is now.
func (m *Manager) Get(principal string, id ID) (Info, error) { return Info{}, errNotYet }

// List returns the principal's sessions behind after, in the order of their IDs, at most limit
// of them, and whether there are more. The zero ID is the beginning.
func (m *Manager) List(principal string, after ID, limit int) (page []Info, more bool) {
	return nil, false
}

// Turns returns the tree of turns, in the order of their beginnings. It asks for no
// right: while a turn is under way it is seen as far as the log has it.
func (m *Manager) Turns(ctx context.Context, principal string, id ID) ([]TurnInfo, error) {
	return nil, errNotYet
}

// Delete ends a session. A session that is in use is not deleted: *BusyError.
func (m *Manager) Delete(ctx context.Context, principal string, id ID) error { return errNotYet }

// Fork makes n sessions that share the history up to a turn, "" for the head, and
// are self-contained. It needs no right: the parent may be in use. A fork has the
// turns of the path under their IDs, the parent's durability and TTL, and is not pinned.
func (m *Manager) Fork(ctx context.Context, principal string, id ID, at string, n int) ([]Info, error) {
	return nil, errNotYet
}

// Update changes how long a session lives. Parked says that it is not expected
// soon: its history is written as few records and leaves the memory; the next turn takes the state back.
func (m *Manager) Update(ctx context.Context, principal string, id ID, change Change) (Info, error) {
	return Info{}, errNotYet
}

// Export writes a session as an archive: its whole tree, without its principal and keys.
func (m *Manager) Export(ctx context.Context, principal string, id ID, w io.Writer) error {
	return errNotYet
}

// Import makes a session of an archive. It is the principal's, whatever spec says; a zero
// spec.Model takes the archive's, another must equal it: *ModelError. An archive
// that is not whole, or too large, is an *ArchiveError, and nothing of it is taken.
func (m *Manager) Import(ctx context.Context, principal string, r io.Reader, spec Spec) (Info, error) {
	return Info{}, errNotYet
}

// Verify reads every record of a session back and checks that they chain, and that
// they give the session that is known.
func (m *Manager) Verify(ctx context.Context, principal string, id ID) (Report, error) {
	return Report{}, errNotYet
}

// Live yields every list of tokens that a turn may go on from, of all principals'
// sessions: what KV is worth keeping. It reads the store back and may take long. An error is of one session
// and the others follow.
func (m *Manager) Live(ctx context.Context) iter.Seq2[Live, error] { return nil }

// Status returns how the sessions are.
func (m *Manager) Status() Status { return Status{} }

// Compact ends sessions that have expired, closes interrupted turns of pinned ones past their TTL,
// and frees the log of what nobody needs. It is meant to be called each minute or so, in the background.
func (m *Manager) Compact(ctx context.Context) error { return errNotYet }

// Acquire gives the exclusive right to change a session; *BusyError if another has it. A
// damaged session can be acquired, to read and rewind it.
func (m *Manager) Acquire(ctx context.Context, principal string, id ID) (*Session, error) {
	return nil, errNotYet
}
