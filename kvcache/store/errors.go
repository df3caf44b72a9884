package store

import (
	"errors"
	"fmt"
)

var (
	// ErrMissing is returned by Read for a block that is not stored.
	ErrMissing = errors.New("kvcache/store: the block is not stored; compute it")
	// ErrTooLarge is returned by Put for a block beyond MaxTokens or MaxPayload, or
	// that fits no segment. Nothing is written then.
	ErrTooLarge = errors.New("kvcache/store: a block is too large; raise Options.SegmentBytes, or do not store it")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("kvcache/store: closed")
)

// PausedError says that the store does not write for a while, because writing
// failed. It tries again by itself, at the first Put after the pause.
type PausedError struct{ Cause error }

func (e *PausedError) Error() string {
	return fmt.Sprintf("kvcache/store: not writing for now: %v", e.Cause)
}

// Unwrap returns the failure.
func (e *PausedError) Unwrap() error { return e.Cause }

// CorruptError says that what is stored for a block is not that block. The block
// is missing from now on.
type CorruptError struct {
	Key    Key
	File   string
	Offset int64  // in the file, in bytes
	What   string // what is wrong
	Err    error  // of the disk, if that was it
}

func (e *CorruptError) Error() string {
	text := fmt.Sprintf("kvcache/store: %s at %d: block %x: %s", e.File, e.Offset, e.Key.Hash[:8], e.What)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the disk's error, if there was one.
func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError says that a store was written by a later Holdfast. It was not
// touched.
type VersionError struct {
	File  string
	Major uint16
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("kvcache/store: %s has format version %d, this program knows %d; use a newer one, or another folder", e.File, e.Major, major)
}
