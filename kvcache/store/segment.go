package store

import (
	"errors"
	"io"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// segment is a file of the store in one of its lives.
type segment struct {
	segmentHeader
	id   uint32 // names the life in memory
	name string
	file vfs.File // for reading

	// The store's lock guards these.
	blocks  int   // that are found here
	pages   int64 // of those
	readers int   // that are reading here: the file is not reused meanwhile
	retired bool  // nothing is found here any more
}

func (s *segment) segmentPages() uint32 { return uint32(s.size / pageSize) }

func (s *segment) place(e *entry) place { return placeOf(s.id, e.page, e.pages) }

// contents is what a segment says about itself.
type contents struct {
	entries []entry
	end     uint32 // the page behind the last batch
	full    bool   // that was the last one
	closed  bool   // the segment may be continued: its end is certain
	// suspect is the page of the last batch, if nothing vouches for it: it may be
	// torn, or not on the disk. 0: all of them are durable.
	suspect uint32
}

// indexRead is how much of a segment's end is read at once: nearly always all of
// its index.
const indexRead = 32 << 10

// load reads the segment's index, and walks the directories behind what that
// knows. Damage ends the walk: blocks behind it are lost. An error is the disk's.
func (s *segment) load() (c contents, err error) {
	c.end = 1
	x, entries, ok, err := s.readIndex()
	if err != nil {
		return c, err
	}
	if ok {
		c = contents{entries: entries, end: x.end, full: x.full, closed: !x.full}
	}
	for !c.full {
		entries, pages, ok, err := s.readDirectory(c.end)
		if err != nil {
			return c, err
		}
		if !ok {
			break
		}
		c.entries = append(c.entries, entries...)
		c.suspect, c.closed = c.end, false
		c.end += pages
	}
	return c, nil
}

func (s *segment) readIndex() (x index, entries []entry, ok bool, err error) {
	b := make([]byte, min(s.size, indexRead))
	if ok, err := s.read(b, s.size-int64(len(b))); !ok {
		return x, nil, false, err
	}
	n := indexBytes(b, s.salt, s.segmentPages())
	if n == 0 || int64(n) > s.size {
		return x, nil, false, nil
	}
	if n > len(b) {
		b = make([]byte, n)
		if ok, err := s.read(b, s.size-int64(n)); !ok {
			return x, nil, false, err
		}
	}
	x, entries, ok = parseIndex(b[len(b)-n:])
	return x, entries, ok, nil
}

func (s *segment) readDirectory(page uint32) (entries []entry, pages uint32, ok bool, err error) {
	if page >= s.segmentPages() {
		return nil, 0, false, nil
	}
	b := make([]byte, pageSize)
	if ok, err := s.read(b, int64(page)*pageSize); !ok {
		return nil, 0, false, err
	}
	n := directoryBytes(b, s.salt, page, s.segmentPages())
	if n == 0 {
		return nil, 0, false, nil
	}
	if n > len(b) {
		b = make([]byte, n)
		if ok, err := s.read(b, int64(page)*pageSize); !ok {
			return nil, 0, false, err
		}
	}
	entries, pages, ok = parseDirectory(b[:n])
	return entries, pages, ok, nil
}

// read reads all of b. ok is false without an error if the file ends before.
func (s *segment) read(b []byte, off int64) (ok bool, err error) {
	if err = readFull(s.file, b, off); errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// readFull reads all of b, or says why not: io.EOF if the file ends before.
func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
