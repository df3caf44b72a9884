package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-run/holdfast/internal/slab"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

const (
	extension = ".seg"
	lockName  = "LOCK"
)

func fileName(serial uint64) string { return fmt.Sprintf("%08x%s", serial, extension) }

// Open opens the store in dir, making both if needed. The store stays locked until
// Close: a second Open gives a *vfs.LockedError. A store of a later major version
// gives a *VersionError. Neither is touched. Damaged files are no error: what they
// held is missing.
func Open(fsys vfs.FS, dir string, options Options) (*Store, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := readFiles(fsys, dir); err != nil { // before anything is touched
		return nil, err
	}
	s := &Store{fs: fsys, dir: dir, options: o, index: map[uint64]place{}, lives: map[uint32]*segment{}}
	s.idle.L = &s.mu
	s.w.seen = map[uint64]struct{}{}
	if err := fsys.MakeDir(dir); err != nil {
		return nil, err
	}
	if s.lock, err = fsys.Lock(s.path(lockName)); err != nil {
		return nil, err
	}
	files, err := readFiles(fsys, dir)
	if err == nil {
		s.w.memory, err = slab.New(stageBytes)
	}
	if err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("kvcache/store: open %s: %w", dir, err)
	}
	s.w.stage = s.w.memory.Take(stageBytes)
	s.recover(files)
	return s, nil
}

// found is a file as Open finds it.
type found struct {
	name   string
	size   int64
	kind   fileKind
	header segmentHeader
}

type fileKind int

const (
	unknown fileKind = iota // a disk that fails hides what it is
	blank                   // never used, or its making was cut short
	damaged                 // what it says is no header, or not its own
	used                    // a segment
)

// readFiles looks at the files of a store, and changes nothing.
func readFiles(fsys vfs.FS, dir string) (files []found, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, extension) {
			continue
		}
		f := found{name: name}
		f.read(fsys, dir+"/"+name)
		if f.kind == used && f.header.major != major {
			return nil, &VersionError{File: dir + "/" + name, Major: f.header.major}
		}
		if f.kind == used && (f.header.size != f.size || f.size < minSegment || f.size > maxSegment || f.size%pageSize != 0) {
			f.kind = damaged
		}
		files = append(files, f)
	}
	return files, nil
}

func (f *found) read(fsys vfs.FS, path string) {
	file, err := fsys.Open(path, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if f.size, err = file.Size(); err != nil {
		return
	}
	var sector [segmentHeaderSize]byte
	if f.size < int64(len(sector)) {
		f.kind = blank
		return
	}
	if readFull(file, sector[:], 0) != nil {
		return
	}
	ok := false
	if f.header, ok = parseSegmentHeader(sector[:]); ok {
		f.kind = used
	} else if f.kind = damaged; sector == [segmentHeaderSize]byte{} {
		f.kind = blank
	}
}

// recover takes the files that were found into use.
func (s *Store) recover(files []found) {
	slices.SortStableFunc(files, func(a, b found) int { return cmp.Compare(a.header.number, b.header.number) })
	var suspects []suspect
	for _, f := range files {
		serial, _ := strconv.ParseUint(strings.TrimSuffix(f.name, extension), 16, 64)
		s.w.serial = max(s.w.serial, serial)
		s.total += f.size
		switch {
		case f.kind == used:
			s.w.number = max(s.w.number, f.header.number)
			if late := s.take(f); late.segment != nil {
				suspects = append(suspects, late)
			}
		case f.kind == unknown: // it is left alone: it may be whole
			s.stats.Damaged++
		default:
			s.free(f)
		}
	}
	s.resume()
	for _, late := range suspects {
		s.rescue(late)
	}
	for _, g := range slices.Clone(s.segments) {
		if g.blocks == 0 && g != s.w.current {
			s.retire(g, false)
		}
	}
	s.fitMaxBytes()
}

// free takes a file without contents as a spare, if it has the size.
func (s *Store) free(f found) {
	if f.kind == damaged {
		s.stats.Damaged++
	}
	if f.size == s.options.SegmentBytes {
		s.spares = append(s.spares, f.name)
	} else {
		s.surplus = append(s.surplus, f.name)
	}
}

// suspect is the last batch of a segment that nothing vouches for.
type suspect struct {
	segment *segment
	entries []entry
}

// take takes a segment into use, whose blocks are then found, but for those that are
// suspect. Where two have the same, the newer one's is.
func (s *Store) take(f found) (late suspect) {
	g := &segment{segmentHeader: f.header, name: f.name}
	var c contents
	var err error
	if g.file, err = s.fs.Open(s.path(f.name), 0); err == nil {
		if c, err = g.load(); err != nil {
			g.file.Close()
		}
	}
	if err != nil {
		s.stats.Damaged++
		return late
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(g)
	for i := range c.entries {
		e := &c.entries[i]
		if c.suspect > 0 && e.page >= c.suspect {
			late.segment, late.entries = g, append(late.entries, *e)
		} else {
			s.set(e.key.fingerprint(), g.place(e))
		}
	}
	s.w.current = nil
	if c.closed && g.size == s.options.SegmentBytes { // unless a newer one follows
		s.w.current, s.w.entries, s.w.end, s.w.marked = g, c.entries, c.end, true
	}
	return late
}

// resume opens the current segment for writing, if there is one to go on in.
func (s *Store) resume() {
	if s.w.current == nil {
		return
	}
	var err error
	if s.w.direct, err = s.fs.Open(s.path(s.w.current.name), vfs.Direct); err != nil {
		s.w.current = nil
	}
}

// rescue writes a batch again of which nobody knows whether it is on the disk: the
// blocks that are nowhere else, as far as they can be verified. If that fails they
// are missing.
func (s *Store) rescue(late suspect) {
	g, rest := late.segment, late.entries
	if g.retired { // to make room for others
		return
	}
	s.mu.Lock()
	for i := range rest {
		fp := rest[i].key.fingerprint()
		if _, ok := s.index[fp]; !ok {
			s.set(fp, g.place(&rest[i]))
		}
	}
	s.mu.Unlock()
	var buf []byte
	for len(rest) > 0 && !g.retired {
		var batch []Block
		if batch, rest, _ = s.gather(&buf, g, rest, false); len(batch) == 0 {
			continue
		}
		if s.commit(batch) != nil {
			break
		}
		s.moved(len(batch))
	}
	for i := range late.entries {
		e := &late.entries[i]
		s.forget(e.key.fingerprint(), g.place(e))
	}
}

// fitMaxBytes drops what a smaller MaxBytes than before does not allow: spares, and
// then the oldest segments.
func (s *Store) fitMaxBytes() {
	for s.discard(); s.total > s.options.MaxBytes; s.discard() {
		if n := len(s.spares); n > 0 {
			s.surplus = append(s.surplus, s.spares[n-1])
			s.spares = s.spares[:n-1]
		} else if len(s.segments) > 0 && s.segments[0] != s.w.current {
			s.retire(s.segments[0], true)
		} else {
			return
		}
	}
}
