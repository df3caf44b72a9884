package tokenlog

import (
	"errors"
	"fmt"
)

// Errors of Append, End and Rewrite. None has an effect on the log.
var (
	// ErrFull is returned when the buffer has no room, because the disk is slow
	// or the log is not durable now. The record is not in the log. Wait for
	// Options.Notify, or go on at a lower durability and Rewrite the owner later.
	ErrFull = errors.New("tokenlog: the buffer is full of records that are not durable yet; wait, or go on without the log")
	// ErrTooLarge is returned for a payload above MaxPayload, and for a rewrite
	// that does not fit the buffer.
	ErrTooLarge = errors.New("tokenlog: too large; split it, or raise Options.BufferBytes")
	// ErrOwners is returned for a new owner when there are too many.
	ErrOwners = errors.New("tokenlog: too many living owners; end some")
	// ErrNoOwner is returned when something is asked of an owner without history.
	ErrNoOwner = errors.New("tokenlog: the owner has no history in the log")
	// ErrChanged is returned when an owner has got more records, or other ones,
	// since the caller looked.
	ErrChanged = errors.New("tokenlog: the owner's history has changed; read it again")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("tokenlog: closed")
)

// ErrNotDurable matches every error that says that records are in memory only.
var ErrNotDurable = errors.New("tokenlog: not durable now")

// NotDurableError says that nothing can be made durable now, and why. The log
// tries again by itself; Status tells when it succeeded.
type NotDurableError struct{ Cause error }

func (e *NotDurableError) Error() string { return fmt.Sprintf("%v: %v", ErrNotDurable, e.Cause) }

// Is matches ErrNotDurable.
func (e *NotDurableError) Is(target error) bool { return target == ErrNotDurable }

// Unwrap returns the failure of the disk.
func (e *NotDurableError) Unwrap() error { return e.Cause }

// DamagedError says that an owner's records are lost from a number on. Those
// before are whole. Until Mend accepts the loss nothing more of the owner is taken but its
// end; Rewrite and Compact do not hide it.
type DamagedError struct {
	Owner Owner
	Seq   uint32 // of the first record that is lost
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("tokenlog: records of %v are damaged from number %d on; rewind before it, or end the session", e.Owner, e.Seq)
}

// VersionError says that a log was written by a later Holdfast. It was not
// touched.
type VersionError struct {
	File  string
	Major uint16
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("tokenlog: %s has format version %d, this program knows %d; use a newer one, or another folder", e.File, e.Major, major)
}

// Damage is one piece of the log that was written and cannot be read.
type Damage struct {
	File string
	LSN  LSN    // where it begins; 0 if the file does not tell
	Size int64  // bytes, 0 if unknown
	What string // what is wrong
	// Owners whose records are lost in it. Others may have lost some too if
	// Unknown is set; an owner with a later record is then found by its gap, one
	// without is not.
	Owners  []Owner
	Unknown bool
}

func (d Damage) String() string {
	return fmt.Sprintf("%s, LSN %d, %d bytes: %s; %d owners damaged", d.File, d.LSN, d.Size, d.What, len(d.Owners))
}
