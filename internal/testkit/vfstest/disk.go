// Package vfstest has file systems for tests: a disk in memory that remembers
// every operation and can be cut at any of them, a recorder that makes such a
// memory of a real file system's operations, faults, and slow syncs.
package vfstest

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

const (
	pageSize   = 4096
	sectorSize = 512 // what a disk writes or does not write, as a whole
)

type page = [pageSize]byte

// Disk is a file system in memory. Each change has a number, and each page, file
// length and name keeps its versions by that number, so that Crash can give the
// disk as it may be after a power cut at any time. Reads see the newest version,
// as they do through a page cache. It is safe for concurrent use.
type Disk struct {
	mu    sync.Mutex
	op    int // changes so far
	names map[string]*inode
	start map[string]*inode // names when the disk was made
	moves []move
	syncs []dirSync
	locks map[string]bool
}

// inode is a file: for each page its versions, oldest first, and for the length.
type inode struct {
	pages [][]version[*page] // nil page: zeros
	sizes []version[int64]
	syncs []int // numbers of the syncs that succeeded
}

// version is a value that something has had since operation op.
type version[T any] struct {
	op    int
	value T
	lost  bool // a failed sync forgot it: no later one makes it durable
}

// move is a change of names: from (if any) is gone, to (if any) is file.
type move struct {
	op       int
	dir      string
	from, to string
	file     *inode
}

type dirSync struct {
	op  int
	dir string
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return newDisk(map[string]*inode{}) }

func newDisk(names map[string]*inode) *Disk {
	return &Disk{names: names, start: maps.Clone(names), locks: map[string]bool{}}
}

// Ops returns how many changes there have been: the cuts that Crash takes are 0
// to Ops.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.op
}

func (d *Disk) next() int {
	d.op++
	return d.op
}

// Open implements vfs.FS.
func (d *Disk) Open(name string, flag vfs.Flag) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ino := d.names[name]
	switch create := flag&vfs.Create != 0; {
	case create && ino != nil:
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	case create:
		ino = &inode{sizes: []version[int64]{{}}}
		d.move(move{dir: path.Dir(name), to: name, file: ino})
	case ino == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{d, ino}, nil
}

func (d *Disk) move(m move) {
	m.op = d.next()
	d.moves = append(d.moves, m)
	m.apply(d.names)
}

func (m move) apply(names map[string]*inode) {
	delete(names, m.from)
	if m.file != nil {
		names[m.to] = m.file
	}
}

// Rename implements vfs.FS.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[from] == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	d.move(move{dir: path.Dir(to), from: from, to: to, file: d.names[from]})
	return nil
}

// Remove implements vfs.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	d.move(move{dir: path.Dir(name), from: name})
	return nil
}

// List implements vfs.FS.
func (d *Disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.names {
		if path.Dir(name) == path.Clean(dir) {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MakeDir implements vfs.FS; folders always exist.
func (d *Disk) MakeDir(string) error { return nil }

// SyncDir implements vfs.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs = append(d.syncs, dirSync{d.next(), path.Clean(dir)})
	return nil
}

// Free implements vfs.FS.
func (d *Disk) Free(string) (int64, error) { return 1 << 40, nil }

// Lock implements vfs.FS; a crashed disk has no locks.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locks[name] {
		return nil, &vfs.LockedError{Path: name, PID: os.Getpid()}
	}
	d.locks[name] = true
	return unlock{d, name}, nil
}

type unlock struct {
	d    *Disk
	name string
}

func (u unlock) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	delete(u.d.locks, u.name)
	return nil
}

// file is an open file of a Disk.
type file struct {
	d   *Disk
	ino *inode
}

func last[T any](v []version[T]) (value T) {
	if len(v) > 0 {
		value = v[len(v)-1].value
	}
	return value
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	size := last(f.ino.sizes)
	n := int(max(0, min(int64(len(p)), size-off)))
	for done := 0; done < n; {
		at := off + int64(done)
		rest := p[done:min(n, done+int(pageSize-at%pageSize))]
		if content := f.ino.page(at / pageSize); content != nil {
			copy(rest, content[at%pageSize:])
		} else {
			clear(rest)
		}
		done += len(rest)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (ino *inode) page(i int64) *page {
	if i >= int64(len(ino.pages)) {
		return nil
	}
	return last(ino.pages[i])
}

// WriteAt implements vfs.File. Each write is one operation.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	op := f.d.next()
	for done := 0; done < len(p); {
		at := off + int64(done)
		i := at / pageSize
		for int64(len(f.ino.pages)) <= i {
			f.ino.pages = append(f.ino.pages, nil)
		}
		content := new(page)
		if old := f.ino.page(i); old != nil {
			*content = *old
		}
		done += copy(content[at%pageSize:], p[done:])
		f.ino.pages[i] = append(f.ino.pages[i], version[*page]{op: op, value: content})
	}
	if end := off + int64(len(p)); end > last(f.ino.sizes) {
		f.ino.sizes = append(f.ino.sizes, version[int64]{op: op, value: end})
	}
	return len(p), nil
}

// Allocate implements vfs.File.
func (f *file) Allocate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if size > last(f.ino.sizes) {
		f.ino.sizes = append(f.ino.sizes, version[int64]{op: f.d.next(), value: size})
	}
	return nil
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	op := f.d.next()
	f.ino.sizes = append(f.ino.sizes, version[int64]{op: op, value: size})
	for i := (size + pageSize - 1) / pageSize; i < int64(len(f.ino.pages)); i++ {
		f.ino.pages[i] = append(f.ino.pages[i], version[*page]{op: op})
	}
	return nil
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return last(f.ino.sizes), nil
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.ino.syncs = append(f.ino.syncs, f.d.next())
	return nil
}

// Lose does to the file what a failed sync does: what was written since the last
// good one may or may not be on the disk, and will not be by a later sync.
func (f *file) Lose() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	synced := 0
	if n := len(f.ino.syncs); n > 0 {
		synced = f.ino.syncs[n-1]
	}
	for _, versions := range f.ino.pages {
		lose(versions, synced)
	}
	lose(f.ino.sizes, synced)
}

func lose[T any](versions []version[T], synced int) {
	for i := range versions {
		versions[i].lost = versions[i].lost || versions[i].op > synced
	}
}

// Close implements vfs.File.
func (f *file) Close() error { return nil }
