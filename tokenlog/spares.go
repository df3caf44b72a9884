package tokenlog

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

const (
	// spares is how many segments are kept ready: on a full disk, and after a
	// failed sync, they are what can still be written.
	spares = 2
	// maxSpares is how many free segments are kept to be used again, rather than
	// given back to the file system.
	maxSpares = 4

	sliceBytes  = 1 << 20 // written in one chore
	shrinkBytes = 8 << 20 // given back in one chore: large pieces stall others' syncs
)

var errTooMany = errors.New("tokenlog: the log has as many segments as it may have; end sessions, Compact, or raise Options.MaxSegments")

// making is a segment file that is being made. Every byte of it is written before
// use: the first write to a block that was only reserved is a change of metadata,
// which doubles the cost of a sync. It has a temporary name until it is whole.
type making struct {
	name string
	file vfs.File
	done int64
}

// choresLeft says whether the writer should prepare or remove files when it has
// nothing else to do. The lock is held.
func (l *Log) choresLeft() bool {
	return l.shortOfSpares() || len(l.w.surplus) > 0
}

func (l *Log) shortOfSpares() bool {
	return len(l.w.spares) < spares && len(l.segments)+len(l.w.spares) < l.options.MaxSegments
}

// chore does one slice of that, small enough for a batch to wait for.
func (l *Log) chore() {
	l.mu.Lock()
	short := l.shortOfSpares()
	l.mu.Unlock()
	var err error
	if short {
		err = l.grow()
	} else {
		err = l.shrink()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spareErr = err; err != nil {
		l.failures, l.choreDue = l.failures+1, false
		l.retryLater()
	}
}

// makeSpare makes a whole spare at once, for a batch that cannot do without.
func (l *Log) makeSpare() error {
	l.mu.Lock()
	full := len(l.segments) >= l.options.MaxSegments
	l.mu.Unlock()
	if full {
		return errTooMany
	}
	for len(l.w.spares) == 0 {
		if err := l.grow(); err != nil {
			return err
		}
	}
	return nil
}

// grow does the next step of making a spare. After a failure nothing is left of it.
func (l *Log) grow() (err error) {
	defer func() {
		if err != nil {
			l.dropMaking()
		}
	}()
	size := l.options.SegmentBytes
	switch m := l.w.making; {
	case m == nil:
		return l.beginMaking(size)
	case m.done < size:
		n, err := m.file.WriteAt(l.w.zeros[:min(int64(len(l.w.zeros)), size-m.done)], m.done)
		m.done += int64(n)
		return err
	default:
		return l.finishMaking(m)
	}
}

func (l *Log) beginMaking(size int64) error {
	free, err := l.fs.Free(l.dir)
	if err != nil {
		return err
	}
	if free < size {
		return fmt.Errorf("tokenlog: a segment needs %d bytes, %s has %d left: %w", size, l.dir, free, syscall.ENOSPC)
	}
	l.w.serial++
	m := &making{name: fileName(l.w.serial, temporary)}
	if m.file, err = l.fs.Open(l.path(m.name), vfs.Create|vfs.Direct); err != nil {
		return err
	}
	l.w.making = m
	return m.file.Allocate(size)
}

// finishMaking gives a written file its name. It is a spare only once file and name
// are durable.
func (l *Log) finishMaking(m *making) error {
	if err := m.file.Sync(); err != nil {
		return err
	}
	name := fileName(l.w.serial, extension)
	if err := l.fs.Rename(l.path(m.name), l.path(name)); err != nil {
		return err
	}
	m.name = name
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	m.file.Close()
	l.w.making = nil
	l.setSpares(append(l.w.spares, name))
	return nil
}

// dropMaking removes a file that did not become a spare. On a full disk it holds
// what everyone else needs.
func (l *Log) dropMaking() {
	m := l.w.making
	if m == nil {
		return
	}
	l.w.making = nil
	m.file.Truncate(0)
	m.file.Close()
	if l.fs.Remove(l.path(m.name)) != nil {
		l.w.surplus = append(l.w.surplus, m.name)
	}
}

// recycle makes free segments spares, or surplus.
func (l *Log) recycle(free []*segment) {
	for _, s := range free {
		s.close()
		if s.size == l.options.SegmentBytes && len(l.w.spares) < maxSpares {
			l.setSpares(append(l.w.spares, s.name))
		} else {
			l.w.surplus = append(l.w.surplus, s.name)
		}
	}
}

func (l *Log) setSpares(names []string) {
	l.w.spares = names
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready = len(names); l.ready >= spares {
		l.spareErr = nil
	}
}

// shrink gives back a piece of a file that is no use, and in the end the file.
func (l *Log) shrink() error {
	name := l.w.surplus[0]
	left, err := l.cut(name)
	if left > 0 && err == nil {
		return nil
	}
	if err == nil {
		err = l.fs.Remove(l.path(name))
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		l.w.surplus = l.w.surplus[1:]
		return nil
	}
	return err
}

func (l *Log) cut(name string) (left int64, err error) {
	f, err := l.fs.Open(l.path(name), 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if left, err = f.Size(); err != nil {
		return 0, err
	}
	left = max(0, left-shrinkBytes)
	return left, f.Truncate(left)
}
