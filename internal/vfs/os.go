package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the machine's file system.
type OS struct{}

// Open implements FS.
func (OS) Open(name string, flag Flag) (File, error) {
	mode := os.O_RDWR
	if flag&Create != 0 {
		mode |= os.O_CREATE | os.O_EXCL
	}
	if flag&Direct != 0 {
		f, err := os.OpenFile(name, mode|unix.O_DIRECT, 0o600)
		if err == nil || !errors.Is(err, unix.EINVAL) {
			return wrap(f, err)
		}
		// A file system without direct I/O answers EINVAL, and may have made
		// the file before it noticed.
		mode &^= os.O_EXCL
	}
	f, err := os.OpenFile(name, mode, 0o600)
	if err == nil && flag&ReadAhead != 0 {
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_WILLNEED) // a wish
	}
	return wrap(f, err)
}

func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// List implements FS.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// MakeDir implements FS.
func (o OS) MakeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := o.MakeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Free implements FS.
func (OS) Free(dir string) (int64, error) {
	var s unix.Statfs_t
	err := retry(func() error { return unix.Statfs(dir, &s) })
	if err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Frsize, nil
}

// Lock implements FS with flock: it belongs to the open file, so that a second
// Lock of the same process is refused too, and the kernel drops it with the
// process, however that ends.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		err = claim(f)
	} else if errors.Is(err, unix.EWOULDBLOCK) {
		err = &LockedError{Path: name, PID: holder(f)}
	} else {
		err = &fs.PathError{Op: "flock", Path: name, Err: err}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// claim writes this process's number into a lock file. A disk too full for
// that, or one that fails, costs the next process the number and no more.
func claim(f *os.File) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(f.Name())
	if err != nil || !os.SameFile(mine, named) {
		return &LockedError{Path: f.Name()} // someone replaced the file under us
	}
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return nil
}

// holder reads the process number out of a lock file, 0 if there is none.
func holder(f *os.File) int {
	var buf [20]byte
	n, _ := f.ReadAt(buf[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	return pid
}

// file is a file of the machine. It hides what os.File has beyond File.
type file struct{ f *os.File }

func (f file) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f file) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f file) Truncate(size int64) error                { return f.f.Truncate(size) }
func (f file) Close() error                             { return f.f.Close() }

func (f file) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Sync() error {
	return f.failed("fdatasync", retry(func() error { return unix.Fdatasync(int(f.f.Fd())) }))
}

func (f file) Allocate(size int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.f.Truncate(size) // what is written later may then meet a full disk
	}
	return f.failed("fallocate", err)
}

func (f file) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.f.Name(), Err: err}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
