package tokenlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/holdfast-run/holdfast/internal/slab"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

const (
	extension = ".seg"
	temporary = ".tmp"
	lockName  = "LOCK"
)

// fileName returns the name of the log's file with a serial number.
func fileName(serial uint64, ext string) string { return fmt.Sprintf("%08x%s", serial, ext) }

// Open opens the log in dir, making both if needed, and calls replay for every
// record, in the order of their LSNs. An error of replay ends Open and is
// returned. The log stays locked until Close: a second Open gives a
// *vfs.LockedError. A log of a later major version gives a *VersionError.
//
// What was read is durable, but for the last batch if the log was not closed: it
// may be in the page cache only, so it is written again behind the others, and
// Durable says when it is safe.
func Open(fsys vfs.FS, dir string, options Options, replay func(Record) error) (*Log, error) {
	l, err := open(fsys, dir, options, replay)
	if err == nil {
		go l.run()
	}
	return l, err
}

// open opens a log whose writer does not run yet.
func open(fsys vfs.FS, dir string, options Options, replay func(Record) error) (*Log, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := readHeaders(fsys, dir); err != nil { // before anything is touched
		return nil, err
	}
	l := &Log{fs: fsys, dir: dir, options: o, owners: map[Owner]owner{}, done: make(chan struct{})}
	l.wake.L = &l.mu
	if err := fsys.MakeDir(dir); err != nil {
		return nil, err
	}
	if l.lock, err = fsys.Lock(l.path(lockName)); err != nil {
		return nil, err
	}
	if err := l.recover(replay); err != nil {
		for _, s := range l.segments {
			s.close()
		}
		if l.memory != nil {
			l.memory.Close()
		}
		l.lock.Close()
		return nil, fmt.Errorf("tokenlog: open %s: %w", dir, err)
	}
	return l, nil
}

func (l *Log) recover(replay func(Record) error) error {
	files, err := readHeaders(l.fs, l.dir)
	if err != nil {
		return err
	}
	r := recovery{l: l, replay: replay}
	if err := r.run(files); err != nil {
		return err
	}
	if err := l.allocate(r.last); err != nil {
		return err
	}
	l.flight.reset(r.end)
	l.fill.reset(r.end)
	if last := r.last; len(last) > 0 && !r.closed {
		l.refly(last, r.lastLSN)
	}
	l.free = r.kept
	l.durable.Store(uint64(l.flight.lsn))
	for id, o := range l.owners {
		l.begins(o.start, +1)
		if o.damaged {
			r.found.Owners = append(r.found.Owners, DamagedError{id, o.seq + 1})
		}
	}
	l.found = r.found
	l.sortFiles(files)
	return l.resume(r.closed && !r.begun)
}

// allocate makes the buffers, large enough for the batch that may have to be
// written again.
func (l *Log) allocate(last []byte) (err error) {
	size := max(l.options.BufferBytes, len(last))
	if int64(size) > l.options.SegmentBytes-2*pageSize {
		return fmt.Errorf("the last batch has %d bytes, more than a segment of %d takes; raise Options.SegmentBytes", len(last), l.options.SegmentBytes)
	}
	zeros := int(min(sliceBytes, l.options.SegmentBytes))
	if l.memory, err = slab.New(2*size + zeros); err != nil {
		return err
	}
	l.fill, l.flight = &batch{buf: l.memory.Take(size)}, &batch{buf: l.memory.Take(size)}
	l.w.zeros = l.memory.Take(zeros)
	return nil
}

// refly makes the last batch that was read the one in flight: it is written again,
// at the same LSN.
func (l *Log) refly(last []byte, lsn LSN) {
	b := l.flight
	b.reset(lsn)
	b.used, b.count = int(le.Uint32(last[36:])), int(le.Uint32(last[40:]))
	copy(b.buf, last[:b.used])
	at := len(last) - footerSize - b.count*entrySize
	b.directory = append(b.directory, last[at:len(last)-footerSize]...)
	b.free = LSN(le.Uint64(last[24:]))
	l.flying = true
	// Where it was read is not yet anyone else's: the segment ends before it.
	l.segments[len(l.segments)-1].end = lsn
}

// sortFiles gives every file that is no segment a use: spare, surplus, or none if
// nothing is known of it.
func (l *Log) sortFiles(files []logFile) {
	used := map[string]bool{}
	for _, s := range l.segments {
		used[s.name] = true
	}
	for _, f := range files {
		serial, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSuffix(f.name, extension), temporary), 16, 64)
		l.w.serial = max(l.w.serial, serial)
		l.w.number = max(l.w.number, f.header.number)
		switch {
		case used[f.name] || f.kind == unreadable:
		case f.kind != incomplete && f.size == l.options.SegmentBytes && len(l.w.spares) < maxSpares:
			l.w.spares = append(l.w.spares, f.name)
		default:
			l.w.surplus = append(l.w.surplus, f.name)
		}
	}
	l.ready = len(l.w.spares)
}

// resume goes on in the last segment if the log was closed there, and else in
// another: the torn end of a batch may lie behind the last good one, and where a
// later segment was begun the last one has its end.
func (l *Log) resume(possible bool) (err error) {
	if !possible {
		return nil
	}
	s := l.segments[len(l.segments)-1]
	l.w.current, l.flight.closing = s, true
	l.w.direct, err = l.fs.Open(l.path(s.name), vfs.Direct)
	return err
}

// logFile is a file as it is found.
type logFile struct {
	name   string
	size   int64
	kind   fileKind
	header segmentHeader
}

type fileKind int

const (
	incomplete fileKind = iota // its making was cut short
	blank                      // never used
	used                       // has a header
	unreadable                 // has something that is no header
)

// readHeaders looks at the files of a log, and changes nothing.
func readHeaders(fsys vfs.FS, dir string) (files []logFile, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, name := range names {
		f := logFile{name: name}
		if strings.HasSuffix(name, extension) {
			if err := f.read(fsys, dir+"/"+name); err != nil {
				return nil, err
			}
		} else if !strings.HasSuffix(name, temporary) {
			continue
		}
		if f.kind == used && f.header.major != major {
			return nil, &VersionError{File: dir + "/" + name, Major: f.header.major}
		}
		files = append(files, f)
	}
	return files, nil
}

// read fills in what the file's first sector, or its copy in the last page, says.
// A disk that cannot read either is an error: without them nobody knows what the
// log is.
func (f *logFile) read(fsys vfs.FS, path string) error {
	file, err := fsys.Open(path, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	f.kind = unreadable
	if f.size, err = file.Size(); err != nil || f.size > maxSegment {
		return err
	}
	if f.size < 3*pageSize {
		f.kind = incomplete
		return nil
	}
	zero := true
	for _, at := range []int64{0, f.size - pageSize} {
		var sector [headerSize]byte
		if err = readFull(file, sector[:], at); err != nil {
			continue
		}
		if h, ok := parseSegmentHeader(sector[:]); ok {
			f.kind, f.header = used, h
			return nil
		}
		zero = zero && sector == [headerSize]byte{}
	}
	if zero {
		f.kind = blank
	}
	return err
}

// newStore returns the identity of a new log.
func newStore() (id [16]byte) {
	rand.Read(id[:]) // never fails
	return id
}
