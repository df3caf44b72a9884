// Package vfs is the little of a file system that a durable store needs, behind
// an interface, so that tests can cut the power between any two calls and fail
// any one of them (internal/testkit/vfstest).
//
// What a store may rely on, and no more:
//
//   - A file's bytes and length survive a power cut once Sync has returned nil.
//   - A name (created, renamed, removed) survives once SyncDir of its folder has.
//   - Until then any part may be lost, in any order, torn at 512 bytes.
//   - After a failed Sync nothing is known about what was written since the last
//     good one, for ever: Linux marks the pages clean, a second Sync answers nil,
//     and reads show bytes that are not on the disk. Abandon such a range.
package vfs

import (
	"fmt"
	"io"
)

// Align is what offsets, lengths and memory of a Direct file's writes are
// multiples of, in bytes.
const Align = 4096

// Flag says how to open a file. Files are opened for reading and writing.
type Flag int

const (
	// Create makes the file, which must not exist.
	Create Flag = 1 << iota
	// Direct asks for writes past the page cache, so that an error is told by
	// the write that meets it and no cached page can lie afterwards. It is a
	// wish: where the file system refuses, writes are buffered. Writes must be
	// aligned to Align.
	Direct
	// ReadAhead says that all of the file will be read soon: it begins to come
	// from the disk meanwhile.
	ReadAhead
)

// FS is a file system. Names are slash-separated paths. It is safe for
// concurrent use.
type FS interface {
	Open(name string, flag Flag) (File, error)
	// Rename replaces to by from, atomically.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names of the files in a folder, without the folder, sorted.
	List(dir string) ([]string, error)
	// MakeDir makes a folder and those above it, durably; an existing one is no
	// error.
	MakeDir(dir string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(dir string) error
	// Lock takes a lock file for this process, making it if needed, and writes
	// the process's number into it. A lock that another holds is a *LockedError;
	// one whose holder died is taken over. The file is never removed: that would
	// let two holders in.
	Lock(name string) (io.Closer, error)
	// Free returns the bytes that can still be written below a folder.
	Free(dir string) (int64, error)
}

// File is an open file. Different ranges may be read and written concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Allocate reserves the space of the first size bytes and makes the file
	// that long. On failure the file may be left with any length.
	Allocate(size int64) error
	Truncate(size int64) error
	Size() (int64, error)
	// Sync makes the file's bytes and length durable, not its name.
	Sync() error
}

// LockedError says that another process, or this one, holds a lock.
type LockedError struct {
	Path string
	PID  int // of the holder; 0 if it did not say
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process; stop it, or name another folder", e.Path)
	}
	return fmt.Sprintf("%s is locked by process %d; stop it, or name another folder", e.Path, e.PID)
}
