package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// discardBytes is how much of a file is given back at once: larger pieces stall the
// syncs of others.
const discardBytes = 8 << 20

// rotate makes another segment the current one, with room for so many pages of so
// many blocks. If that was the last that may be, the oldest gives way to be the
// next: of its blocks, those that were used move, as far as there is room and up
// to half a segment.
func (s *Store) rotate(pages uint32, blocks int) error {
	s.finish()
	s.discard()
	name, err := s.takeSpare()
	if err != nil {
		return err
	}
	if err := s.begin(name); err != nil {
		s.mu.Lock()
		s.spares = append(s.spares, name)
		s.mu.Unlock()
		return err
	}
	if old := s.lastResort(); old != nil && !s.w.moving {
		if err := s.secondChance(old, pages, blocks); err != nil {
			return err
		}
		s.retire(old, true)
	}
	return nil
}

// lastResort returns the oldest segment if the current one is the last that could
// be begun without it.
func (s *Store) lastResort() *segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.spares)+s.retiring > 0 || s.mayGrow() || len(s.segments) < 2 {
		return nil
	}
	return s.segments[0]
}

// mayGrow says whether there may be another file; the lock is held.
func (s *Store) mayGrow() bool { return s.total+s.options.SegmentBytes <= s.options.MaxBytes }

// secondChance moves used blocks of a segment to the current one.
func (s *Store) secondChance(old *segment, pages uint32, blocks int) error {
	c, err := old.load()
	if err != nil {
		return nil // then there is no chance
	}
	used := slices.DeleteFunc(c.entries, func(e entry) bool {
		p, ok := s.holds(old, &e)
		return !ok || !p.used()
	})
	var buf []byte
	for budget := old.segmentPages() / 2; len(used) > 0; {
		batch, rest, n := s.gather(&buf, old, used, true)
		used = rest
		if n > budget || !s.fits(n+pages, len(batch)+blocks) {
			return nil
		}
		if len(batch) == 0 {
			continue
		}
		if err := s.append(batch, n); err != nil {
			return err
		}
		s.publish()
		s.moved(len(batch))
		budget -= n
	}
	return nil
}

func (s *Store) moved(blocks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Moved += uint64(blocks)
}

// gather reads the blocks of one batch from the front of some entries of a segment,
// and says how many pages the batch has. Those that are not found there are passed
// over; those that do not verify are forgotten, and counted if they are known to
// have been durable. The blocks lie in buf, which grows as needed.
func (s *Store) gather(buf *[]byte, g *segment, entries []entry, durable bool) (batch []Block, rest []entry, pages uint32) {
	n, size := 0, uint32(0)
	for ; n < len(entries) && (n == 0 || size+entries[n].pages <= s.batchPages()); n++ {
		size += entries[n].pages
	}
	if need := int(size) * pageSize; len(*buf) < need {
		*buf = make([]byte, need)
	}
	at := 0
	for i := range entries[:n] {
		e := &entries[i]
		p, ok := s.holds(g, e)
		if !ok {
			continue
		}
		if !s.takes(e.pages) { // segments were larger once
			s.forget(e.key.fingerprint(), p)
			continue
		}
		piece := (*buf)[at : at+int(e.pages)*pageSize]
		b, what, _ := g.readBlock(e, piece)
		if what == "" {
			batch = append(batch, b)
			at += len(piece)
		} else if durable {
			s.mu.Lock()
			s.discredit(e.key.fingerprint(), p)
			s.mu.Unlock()
		}
	}
	return batch, entries[n:], batchSize(batch)
}

// takeSpare takes a free file: one that there is, a new one, one that is still being
// read, or the oldest segment's.
func (s *Store) takeSpare() (string, error) {
	for {
		s.mu.Lock()
		for len(s.spares) == 0 && s.retiring > 0 {
			s.idle.Wait()
		}
		if len(s.spares) > 0 {
			name := s.spares[0]
			s.spares = s.spares[1:]
			s.mu.Unlock()
			return name, nil
		}
		var oldest *segment
		if len(s.segments) > 0 {
			oldest = s.segments[0]
		}
		grow := s.mayGrow() || oldest == nil
		s.mu.Unlock()
		if grow {
			err := s.grow()
			if err == nil {
				continue
			}
			if oldest == nil || !errors.Is(err, syscall.ENOSPC) {
				return "", err
			}
		}
		s.retire(oldest, true)
	}
}

// grow makes a new spare: its file and its name are durable. After a failure nothing
// is left of it.
func (s *Store) grow() error {
	size := s.options.SegmentBytes
	free, err := s.fs.Free(s.dir)
	if err != nil {
		return err
	}
	if free < 2*size { // a cache does not take the last that the log beside it may need
		return fmt.Errorf("kvcache/store: a segment needs %d bytes and leaves as many, %s has %d: %w", size, s.dir, free, syscall.ENOSPC)
	}
	s.w.serial++
	name := fileName(s.w.serial)
	f, err := s.fs.Open(s.path(name), vfs.Create)
	if err != nil {
		return err
	}
	err = f.Allocate(size)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	left := false
	if err != nil {
		f.Truncate(0) // on a full disk it holds what everyone else needs
		left = s.fs.Remove(s.path(name)) != nil
	}
	f.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.spares = append(s.spares, name)
		s.total += size
	case left:
		s.surplus = append(s.surplus, name)
	}
	return err
}

// begin makes a free file the current segment. Its header is durable before any
// batch is written: until then the file may come back as what it was.
func (s *Store) begin(name string) (err error) {
	if !s.w.named {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return err
		}
		s.w.named = true
	}
	s.w.number++
	g := &segment{name: name, segmentHeader: segmentHeader{
		major: major, minor: minor, number: s.w.number, salt: random64(), size: s.options.SegmentBytes,
	}}
	if g.file, err = s.fs.Open(s.path(name), 0); err != nil {
		return err
	}
	direct, err := s.fs.Open(s.path(name), vfs.Direct)
	if err != nil {
		g.file.Close()
		return err
	}
	w := &s.w
	w.head = g.append(w.head[:0])
	w.direct, w.staged, w.at = direct, 0, 0
	if err = w.put(w.head); err == nil {
		err = w.flush()
	}
	if err == nil {
		err = direct.Sync()
	}
	if err != nil {
		direct.Close()
		g.file.Close()
		w.direct = nil
		return err
	}
	w.current, w.entries, w.end, w.marked = g, w.entries[:0], 1, true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(g)
	return nil
}

// adopt takes a segment among those in use, as the newest; the lock is held.
func (s *Store) adopt(g *segment) {
	g.id = s.w.lives
	s.w.lives++
	s.segments = append(s.segments, g)
	s.lives[g.id] = g
}

// mark writes the index of the current segment at its end. full says that no batch
// will follow.
func (s *Store) mark(full bool) error {
	w, g := &s.w, s.w.current
	if g == nil || len(w.entries) == 0 || w.marked && !full {
		return nil
	}
	size := int(indexPages(len(w.entries))) * pageSize
	used := len(w.entries)*entrySize + indexSize
	w.head = slices.Grow(w.head[:0], size)[:size-used]
	clear(w.head)
	w.head = index{end: w.end, full: full}.append(w.head, g.salt, w.entries)
	w.staged, w.at = 0, g.size-int64(size)
	err := w.put(w.head)
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = w.direct.Sync()
	}
	if err != nil {
		s.mu.Lock()
		s.stats.Failures++
		s.mu.Unlock()
	}
	return err
}

// finish ends the current segment with its index. Without one it is still read, by
// its directories.
func (s *Store) finish() {
	_ = s.mark(true)
	s.abandon()
}

// abandon leaves the current segment as it is, for good. If nothing is found in it,
// its file is free.
func (s *Store) abandon() {
	g := s.w.current
	s.closeCurrent()
	if g != nil && s.empty(g) {
		s.retire(g, false)
	}
}

// empty says whether nothing is found in a segment.
func (s *Store) empty(g *segment) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return g.blocks == 0
}

func (s *Store) closeCurrent() {
	if s.w.current != nil {
		s.w.direct.Close()
	}
	s.w.current, s.w.direct = nil, nil
}

// retire drops what is found in a segment, and makes its file free once nobody
// reads it. Store.writing is held.
func (s *Store) retire(g *segment, evicted bool) {
	var entries []entry
	if !s.empty(g) {
		c, _ := g.load()
		entries = c.entries
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.index)
	for i := range entries {
		e := &entries[i]
		s.forgetLocked(e.key.fingerprint(), g.place(e))
	}
	if g.blocks > 0 { // the file does not say any more what was in it
		for fp, p := range s.index {
			if p.segment() == g.id {
				s.drop(fp)
			}
		}
	}
	if evicted {
		s.stats.Evicted += uint64(before - len(s.index))
	}
	g.retired = true
	delete(s.lives, g.id)
	s.segments = slices.DeleteFunc(s.segments, func(o *segment) bool { return o == g })
	if g.readers > 0 {
		s.retiring++
	} else {
		s.recycle(g)
	}
}

// recycle makes the file of a retired segment a spare, if it has the size; the lock
// is held.
func (s *Store) recycle(g *segment) {
	g.file.Close()
	if g.size == s.options.SegmentBytes {
		s.spares = append(s.spares, g.name)
	} else {
		s.surplus = append(s.surplus, g.name)
	}
	s.idle.Broadcast()
}

// discard removes files that are no use, piece by piece. What fails is tried again
// the next time.
func (s *Store) discard() {
	s.mu.Lock()
	names := s.surplus
	s.surplus = nil
	s.mu.Unlock()
	for _, name := range names {
		size, err := s.shrink(name)
		s.mu.Lock()
		s.total -= size
		if err != nil {
			s.stats.Failures++
			s.surplus = append(s.surplus, name)
		}
		s.mu.Unlock()
	}
}

// shrink empties and removes a file, and says by how many bytes it got smaller.
func (s *Store) shrink(name string) (freed int64, err error) {
	f, err := s.fs.Open(s.path(name), 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	for freed < size {
		left := max(0, size-freed-discardBytes)
		if err := f.Truncate(left); err != nil {
			return freed, err
		}
		freed = size - left
	}
	return freed, s.fs.Remove(s.path(name))
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return le.Uint64(b[:])
}
