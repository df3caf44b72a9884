package tokenlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/internal/slab"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// Options of a log. The zero value is what a worker uses.
type Options struct {
	// SegmentBytes is the size of new segment files, a multiple of 4096. The log
	// takes at least three. The default value is 64 MiB.
	SegmentBytes int64
	// BufferBytes bounds a batch, a rewrite, and what waits for the disk; the log
	// has two such buffers, which cost memory as far as they are used. It is a
	// multiple of 4096 and at most SegmentBytes - 8192. The default value is 8 MiB.
	BufferBytes int
	// MaxSegments bounds the log's files. The default value is 256.
	MaxSegments int
	// RetryEvery is how long the log waits before it tries a failed disk again.
	// The default value is 1 s.
	RetryEvery time.Duration
	// Notify is called when Durable or Status().Err has changed, on the writer: it
	// must not block. The default value does nothing.
	Notify func()
}

// maxSegment bounds a segment file, in bytes.
const maxSegment = 1 << 30

func (o Options) withDefaults() (Options, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = int(min(8<<20, o.SegmentBytes-2*pageSize))
	}
	if o.MaxSegments == 0 {
		o.MaxSegments = 256
	}
	if o.RetryEvery == 0 {
		o.RetryEvery = time.Second
	}
	if o.Notify == nil {
		o.Notify = func() {}
	}
	return o, errors.Join(
		bad(o.SegmentBytes%pageSize != 0 || o.SegmentBytes > maxSegment, "SegmentBytes is %d; take a multiple of %d up to %d", o.SegmentBytes, pageSize, maxSegment),
		bad(o.BufferBytes%pageSize != 0 || o.BufferBytes < pageSize || int64(o.BufferBytes) > o.SegmentBytes-2*pageSize,
			"BufferBytes is %d; take a multiple of %d up to %d", o.BufferBytes, pageSize, o.SegmentBytes-2*pageSize),
		bad(o.MaxSegments < spares+1, "MaxSegments is %d; take %d or more", o.MaxSegments, spares+1),
	)
}

func bad(is bool, format string, args ...any) error {
	if !is {
		return nil
	}
	return fmt.Errorf("tokenlog: "+format, args...)
}

// Log is an open log. All methods are safe for concurrent use.
type Log struct {
	fs      vfs.FS
	dir     string
	options Options
	lock    io.Closer
	memory  *slab.Slab
	durable atomic.Uint64
	done    chan struct{} // the writer has ended
	found   Recovery
	w       writer // the writer's own

	mu       sync.Mutex
	wake     sync.Cond // the writer waits for something to do
	owners   map[Owner]owner
	segments []*segment // in the order of LSNs; the last may be written to
	fill     *batch     // takes appends
	flight   *batch     // is being written, while flying
	flying   bool
	free     LSN   // what is below it is nobody's: the disk says so
	failed   error // why nothing can be made durable now
	failures uint64
	batches  uint64
	ready    int   // spare segments
	spareErr error // why there are too few
	due      bool  // it is time to try a batch again
	choreDue bool  // and a chore
	timer    *time.Timer
	waiters  []waiter
	closing  bool
	closed   bool
}

// segment is a file of the log, from its activation until it is free.
type segment struct {
	segmentHeader
	name   string
	file   vfs.File // for reading; nil until that is needed
	end    LSN      // of its last durable batch
	owners int      // living ones whose history begins here
}

// offset returns where in the file lsn is.
func (s *segment) offset(lsn LSN) int64 { return pageSize + int64(lsn-s.first) }

// fits says whether n bytes at lsn lie between the header and its copy.
func (s *segment) fits(lsn LSN, n int) bool { return s.offset(lsn)+int64(n) <= s.size-pageSize }

func (s *segment) close() {
	if s.file != nil {
		s.file.Close()
	}
}

type waiter struct {
	lsn    LSN
	result chan error
}

// Append adds a record of owner behind its others; the first begins its history.
// payload is copied. The writer takes it at the next Flush or Wait, or before; it is
// durable once its LSN is below Durable.
func (l *Log) Append(owner Owner, kind Kind, payload []byte) (LSN, error) {
	return l.append(owner, kind, 0, payload)
}

// End adds the last record of owner, which then has no history. A later Append
// begins a new one.
func (l *Log) End(owner Owner, kind Kind, payload []byte) (LSN, error) {
	return l.append(owner, kind, flagEnd, payload)
}

func (l *Log) append(id Owner, kind Kind, flags uint8, payload []byte) (LSN, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.owners[id]
	switch {
	case l.closing:
		return 0, ErrClosed
	case len(payload) > MaxPayload:
		return 0, ErrTooLarge
	case flags&flagEnd != 0 && !known:
		return 0, ErrNoOwner
	case o.damaged && flags&flagEnd == 0:
		return 0, &DamagedError{Owner: id, Seq: o.seq + 1}
	case !known && len(l.owners) >= maxOwners:
		return 0, ErrOwners
	case !l.fill.room(recordBytes(len(payload)), 1):
		if l.fill.count == 0 {
			return 0, ErrTooLarge
		}
		return 0, ErrFull
	}
	h := header(id, o, kind)
	h.flags |= flags
	if h.prev == 0 {
		h.group = 1
	}
	lsn := l.add(&h, &o, payload)
	if flags&flagEnd != 0 {
		l.begins(o.start, -1)
		delete(l.owners, id)
	} else {
		l.owners[id] = o
	}
	if l.fill.used > len(l.fill.buf)/2 {
		l.wake.Signal()
	}
	return lsn, nil
}

// header returns the header of a record that continues o.
func header(id Owner, o owner, kind Kind) recordHeader {
	return recordHeader{
		owner: id, link: o.link, prev: o.last, seq: o.seq + 1,
		typ: kind.Type, version: kind.Version, flags: bit[uint8](kind.Skippable, flagSkippable),
	}
}

// add appends a record to the buffer and to its owner's books.
func (l *Log) add(h *recordHeader, o *owner, payload []byte) LSN {
	lsn := l.fill.next()
	l.fill.add(h, payload)
	if h.base() {
		if o.start != 0 {
			l.begins(o.start, -1)
		}
		o.start = lsn
		l.begins(lsn, +1)
	}
	o.last, o.link, o.seq = lsn, h.check, h.seq
	return lsn
}

// begins counts living owners whose history begins at lsn.
func (l *Log) begins(lsn LSN, change int) {
	switch {
	case lsn == 0: // an owner of which nothing is whole
	case lsn >= l.fill.lsn:
		l.fill.bases += change
	case l.flying && lsn >= l.flight.lsn:
		l.flight.bases += change
	default:
		if s := l.segmentOf(lsn); s != nil {
			s.owners += change
		}
	}
}

// segmentOf returns the segment that holds lsn, nil if none does any more.
func (l *Log) segmentOf(lsn LSN) *segment {
	for i := len(l.segments) - 1; i >= 0; i-- {
		if s := l.segments[i]; s.first <= lsn && lsn < s.end {
			return s
		}
	}
	return nil
}

// Flush has the writer take what was appended, as soon as it is done with what it
// took before. A step calls it after its last record, so that a step is a batch.
func (l *Log) Flush() { l.wake.Signal() }

// Durable returns the end of what is durable: a record with a lower LSN is.
func (l *Log) Durable() LSN { return LSN(l.durable.Load()) }

// Wait returns nil once the record is durable. While the log is not durable it
// returns a *NotDurableError at once; the record stays in memory and may become
// durable later.
func (l *Log) Wait(ctx context.Context, lsn LSN) error {
	l.mu.Lock()
	switch {
	case lsn < l.Durable():
		l.mu.Unlock()
		return nil
	case l.failed != nil:
		defer l.mu.Unlock()
		return &NotDurableError{l.failed}
	case l.closed:
		defer l.mu.Unlock()
		return ErrClosed
	}
	w := waiter{lsn, make(chan error, 1)}
	l.waiters = append(l.waiters, w)
	l.wake.Signal()
	l.mu.Unlock()
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer tells waiters what has become of their records; the lock is held. Those
// above the durable end go on waiting unless err says why they should not.
func (l *Log) answer(err error) {
	waiting := l.waiters[:0]
	for _, w := range l.waiters {
		switch {
		case w.lsn < l.Durable():
			w.result <- nil
		case err != nil:
			w.result <- err
		default:
			waiting = append(waiting, w)
		}
	}
	clear(l.waiters[len(waiting):])
	l.waiters = waiting
}

// Mend accepts that a damaged owner's history ends with its last whole record:
// later ones continue there.
func (l *Log) Mend(id Owner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.owners[id]
	switch {
	case !known || !o.damaged:
	case o.seq == 0:
		delete(l.owners, id)
	default:
		o.damaged = false
		l.owners[id] = o
	}
}

// Status is how a log is.
type Status struct {
	Durable  LSN    // records below it are durable
	Appended LSN    // where the next batch begins or goes on
	Err      error  // why nothing can be made durable now; nil: all is well
	Failures uint64 // writes and syncs that failed since Open
	Batches  uint64 // that were written and synced since Open
	Owners   int    // living ones
	Segments int    // files in use
	Spares   int    // files ready to be used
	SpareErr error  // why there are too few of them; nil if there are not
}

// Status returns how the log is now.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{
		Durable: l.Durable(), Appended: l.fill.next(), Err: l.failed, Failures: l.failures, Batches: l.batches,
		Owners: len(l.owners), Segments: len(l.segments), Spares: l.ready, SpareErr: l.spareErr,
	}
}

// Close makes everything durable that can be, marks the end and gives the log
// back. If records are left behind in memory, it says so.
func (l *Log) Close() error {
	if !l.beginClose() {
		return ErrClosed
	}
	<-l.done
	return l.release()
}

// beginClose has the writer end when nothing is left; false if it was asked before.
func (l *Log) beginClose() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.closing, l.due = true, true // one more try, if the disk has failed
	l.wake.Signal()
	return true
}

// release gives back what the log holds, when the writer has ended.
func (l *Log) release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	var err error
	if l.failed != nil {
		err = &NotDurableError{l.failed}
	}
	l.answer(errors.Join(ErrClosed, err))
	for _, s := range l.segments {
		s.close()
	}
	return errors.Join(err, l.lock.Close(), l.memory.Close())
}

func (l *Log) path(name string) string { return path.Join(l.dir, name) }
