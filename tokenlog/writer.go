package tokenlog

import (
	"crypto/rand"
	"time"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// writer is what only the writer goroutine touches.
type writer struct {
	store   [16]byte
	number  uint64   // of the newest segment ever begun
	current *segment // takes batches; nil: the next batch begins another
	direct  vfs.File // current's file, for writing
	spares  []string // files that are ready, the next first
	surplus []string // files that are no use
	named   bool     // the names of the files that Open found are durable
	making  *making
	serial  uint64 // of the newest file name
	zeros   []byte // one slice of a new file
}

// work is what the writer does next.
type work int

const (
	idle work = iota
	commit
	chore
	stop
)

// run is the writer. It ends with Close.
func (l *Log) run() {
	defer close(l.done)
	for l.do(l.next()) {
	}
}

// do does one piece of work; false ends the writer.
func (l *Log) do(w work) bool {
	switch w {
	case commit:
		l.commit()
	case chore:
		l.chore()
	case stop:
		l.abandon()
		l.dropMaking()
		return false
	}
	return true
}

// next waits for work.
func (l *Log) next() work {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if w := l.pick(); w != idle {
			return w
		}
		l.wake.Wait()
	}
}

// pick says what is to be done now, batches before chores; the lock is held.
func (l *Log) pick() work {
	switch {
	case l.flying && (l.failed == nil || l.due):
		l.due = false
		return commit
	case !l.flying && (l.fill.count > 0 || l.freeable() > l.free):
		l.take(false)
		return commit
	case l.closing && !l.flying && l.unmarked():
		l.take(true)
		return commit
	case l.closing:
		return stop
	case l.choresLeft() && (l.spareErr == nil || l.choreDue):
		l.choreDue = false
		return chore
	}
	return idle
}

// take makes the buffer the batch in flight, and an empty one the buffer.
func (l *Log) take(closing bool) {
	l.fill, l.flight, l.flying = l.flight, l.fill, true
	b := l.flight
	b.closing, b.free = closing, l.freeable()
	l.fill.reset(b.end())
}

// freeable returns the LSN below which no living owner's history begins. What made
// it so is appended already, at the latest in the batch that will say it: the two
// become durable together.
func (l *Log) freeable() LSN {
	for i, s := range l.segments {
		if s.owners > 0 || i == len(l.segments)-1 {
			return s.first
		}
	}
	return l.free
}

// unmarked says that there is a segment whose end Close should mark.
func (l *Log) unmarked() bool {
	return l.w.current != nil && !l.flight.closing && l.w.current.fits(l.fill.lsn, pageSize)
}

// commit brings the batch in flight to the disk, in another segment if the first
// fails.
func (l *Log) commit() {
	var err error
	for range 2 {
		if err = l.place(l.flight); err == nil {
			l.committed()
			return
		}
		l.abandon()
		l.mu.Lock()
		l.failures++
		l.mu.Unlock()
	}
	l.fail(err)
}

// place writes and syncs a batch behind the last one, or as the first of a segment.
func (l *Log) place(b *batch) error {
	if s := l.w.current; s == nil || !s.fits(b.lsn, b.total()) {
		if err := l.begin(b); err != nil {
			return err
		}
	}
	s := l.w.current
	if _, err := l.w.direct.WriteAt(b.sealed(s.salt), s.offset(b.lsn)); err != nil {
		return err
	}
	return l.w.direct.Sync()
}

// begin makes a spare the current segment and writes its headers; the sync of its
// first batch makes them durable.
func (l *Log) begin(b *batch) (err error) {
	l.abandon()
	if len(l.w.spares) == 0 {
		if err := l.makeSpare(); err != nil {
			return err
		}
	}
	if !l.w.named {
		if err := l.fs.SyncDir(l.dir); err != nil {
			return err
		}
		l.w.named = true
	}
	name := l.w.spares[0]
	l.setSpares(l.w.spares[1:])
	l.w.number++
	s := &segment{name: name, segmentHeader: segmentHeader{
		major: major, minor: minor, store: l.w.store, number: l.w.number,
		salt: random64(), first: b.lsn, size: l.options.SegmentBytes, free: l.free,
	}}
	l.w.current = s
	if s.file, err = l.fs.Open(l.path(name), 0); err != nil {
		return err
	}
	if l.w.direct, err = l.fs.Open(l.path(name), vfs.Direct); err != nil {
		return err
	}
	head := l.w.zeros[:pageSize]
	defer clear(head)
	s.append(head[:0])
	if _, err = l.w.direct.WriteAt(head, 0); err != nil {
		return err
	}
	_, err = l.w.direct.WriteAt(head, s.size-pageSize)
	return err
}

// abandon leaves the current segment as it is, for good. If nothing durable is in
// it, it goes to the end of the spares.
func (l *Log) abandon() {
	s := l.w.current
	if s == nil {
		return
	}
	if l.w.direct != nil {
		l.w.direct.Close()
	}
	l.w.current, l.w.direct = nil, nil
	if s.end == 0 {
		s.close()
		l.setSpares(append(l.w.spares, s.name))
	}
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return le.Uint64(b[:])
}

// committed publishes that the batch in flight is durable.
func (l *Log) committed() {
	b, s := l.flight, l.w.current
	l.mu.Lock()
	if s.end == 0 {
		l.segments = append(l.segments, s)
	}
	s.end = b.end()
	s.owners += b.bases
	l.flying, l.failed = false, nil
	l.batches++
	l.free = b.free
	retired := l.retire()
	l.durable.Store(uint64(b.end()))
	l.answer(nil)
	l.mu.Unlock()
	l.recycle(retired)
	l.options.Notify()
}

// retire takes out the segments that hold nothing: the disk says that they are
// free, or nothing durable was ever in them.
func (l *Log) retire() (retired []*segment) {
	kept := l.segments[:0]
	for _, s := range l.segments {
		if s != l.w.current && (s.end <= l.free || s.end == s.first) {
			retired = append(retired, s)
		} else {
			kept = append(kept, s)
		}
	}
	clear(l.segments[len(kept):])
	l.segments = kept
	return retired
}

// fail says that nothing can be made durable now, and sets the time of the next try.
func (l *Log) fail(err error) {
	l.mu.Lock()
	l.failed, l.due = err, false
	l.retryLater()
	l.answer(&NotDurableError{err})
	l.mu.Unlock()
	l.options.Notify()
}

// retryLater wakes the writer after RetryEvery; the lock is held.
func (l *Log) retryLater() {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(l.options.RetryEvery, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.due, l.choreDue = true, true
		l.wake.Signal()
	})
}
