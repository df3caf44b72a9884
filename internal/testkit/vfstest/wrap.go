package vfstest

import (
	"errors"
	"io"
	"time"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// Record returns a file system that does everything on real, and what succeeds
// on disk too: disk can then be cut where real cannot. Names are the same on
// both. Each operation is on disk after it is on real and before the caller knows.
func Record(real vfs.FS, disk *Disk) vfs.FS { return recorder{real, disk} }

type recorder struct {
	vfs.FS
	disk *Disk
}

func (r recorder) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := r.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	twin, err := r.disk.Open(name, flag)
	return recordedFile{f, twin}, err
}

func (r recorder) Rename(from, to string) error {
	return both(r.FS.Rename(from, to), func() error { return r.disk.Rename(from, to) })
}

func (r recorder) Remove(name string) error {
	return both(r.FS.Remove(name), func() error { return r.disk.Remove(name) })
}

func (r recorder) SyncDir(dir string) error {
	return both(r.FS.SyncDir(dir), func() error { return r.disk.SyncDir(dir) })
}

// both does on the disk what was done on the real file system.
func both(err error, twin func() error) error {
	if err != nil {
		return err
	}
	return twin()
}

type recordedFile struct {
	vfs.File
	twin vfs.File
}

func (f recordedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if _, err := f.twin.WriteAt(p[:n], off); err != nil {
		return 0, err
	}
	return n, err
}

func (f recordedFile) Allocate(size int64) error {
	return both(f.File.Allocate(size), func() error { return f.twin.Allocate(size) })
}

func (f recordedFile) Truncate(size int64) error {
	return both(f.File.Truncate(size), func() error { return f.twin.Truncate(size) })
}

func (f recordedFile) Sync() error { return both(f.File.Sync(), f.twin.Sync) }

// Call is one call of a file system.
type Call struct {
	Op   string // open, create, read, write, allocate, truncate, size, sync, close, rename, remove, list, makedir, syncdir, lock, free
	Name string
}

// Fault returns a file system whose calls fail as decide says: it is asked before
// each, and an error is the call's result. A write that fails has written its first
// half; a sync that fails has lost what it should have synced, as on Linux;
// anything else has not happened.
func Fault(fs vfs.FS, decide func(Call) error) vfs.FS { return faulty{fs, decide} }

type faulty struct {
	fs     vfs.FS
	decide func(Call) error
}

func (f faulty) Open(name string, flag vfs.Flag) (vfs.File, error) {
	op := "open"
	if flag&vfs.Create != 0 {
		op = "create"
	}
	if err := f.decide(Call{op, name}); err != nil {
		return nil, err
	}
	inner, err := f.fs.Open(name, flag)
	return faultyFile{inner, name, f.decide}, err
}

func (f faulty) Rename(from, to string) error {
	return first(f.decide(Call{"rename", from}), func() error { return f.fs.Rename(from, to) })
}

func (f faulty) Remove(name string) error {
	return first(f.decide(Call{"remove", name}), func() error { return f.fs.Remove(name) })
}

func (f faulty) List(dir string) ([]string, error) {
	if err := f.decide(Call{"list", dir}); err != nil {
		return nil, err
	}
	return f.fs.List(dir)
}

func (f faulty) MakeDir(dir string) error {
	return first(f.decide(Call{"makedir", dir}), func() error { return f.fs.MakeDir(dir) })
}

func (f faulty) SyncDir(dir string) error {
	return first(f.decide(Call{"syncdir", dir}), func() error { return f.fs.SyncDir(dir) })
}

func (f faulty) Lock(name string) (io.Closer, error) {
	if err := f.decide(Call{"lock", name}); err != nil {
		return nil, err
	}
	return f.fs.Lock(name)
}

func (f faulty) Free(dir string) (int64, error) {
	if err := f.decide(Call{"free", dir}); err != nil {
		return 0, err
	}
	return f.fs.Free(dir)
}

// first returns err, or what the call says if there is none.
func first(err error, call func() error) error {
	if err != nil {
		return err
	}
	return call()
}

type faultyFile struct {
	inner  vfs.File
	name   string
	decide func(Call) error
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.decide(Call{"read", f.name}); err != nil {
		return 0, err
	}
	return f.inner.ReadAt(p, off)
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.decide(Call{"write", f.name}); err != nil {
		n, _ := f.inner.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.inner.WriteAt(p, off)
}

func (f faultyFile) Allocate(size int64) error {
	return first(f.decide(Call{"allocate", f.name}), func() error { return f.inner.Allocate(size) })
}

func (f faultyFile) Truncate(size int64) error {
	return first(f.decide(Call{"truncate", f.name}), func() error { return f.inner.Truncate(size) })
}

func (f faultyFile) Size() (int64, error) {
	if err := f.decide(Call{"size", f.name}); err != nil {
		return 0, err
	}
	return f.inner.Size()
}

func (f faultyFile) Sync() error {
	if err := f.decide(Call{"sync", f.name}); err != nil {
		if disk, ok := f.inner.(*file); ok {
			disk.Lose()
		}
		return err
	}
	return f.inner.Sync()
}

func (f faultyFile) Close() error {
	return errors.Join(f.decide(Call{"close", f.name}), f.inner.Close())
}

// Slow returns a file system whose syncs take d longer.
func Slow(fs vfs.FS, d time.Duration) vfs.FS {
	return Fault(fs, func(c Call) error {
		if c.Op == "sync" {
			time.Sleep(d)
		}
		return nil
	})
}
