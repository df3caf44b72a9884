package store

import (
	"fmt"
	"time"

	"github.com/zeebo/xxh3"
)

const (
	// batchBytes bounds what one sync makes durable, unless a single block is
	// larger: large lumps stall the syncs of others.
	batchBytes = 8 << 20
	// stageBytes is how much is written at once.
	stageBytes = 1 << 20
)

// Put stores blocks: those that are not stored already, in batches of up to 8 MiB,
// each made durable by one sync and found only then. It returns when all are
// durable. After an error Has tells which are; the store lives, writes nothing for
// a while (*PausedError), and then tries again. A store that is full makes room as
// it goes: one too small for what is put may have dropped the first by the end.
// What the blocks refer to must not change meanwhile.
func (s *Store) Put(blocks []Block) error {
	for i := range blocks {
		if b := &blocks[i]; len(b.Tokens) > MaxTokens || len(b.Payload) > MaxPayload || !s.takes(blockPages(len(b.Tokens), len(b.Payload))) {
			return ErrTooLarge
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	for len(blocks) > 0 {
		batch, rest := s.next(blocks)
		if len(batch) > 0 {
			if err := s.commit(batch); err != nil {
				return fmt.Errorf("kvcache/store: put %d blocks: %w", len(batch), err)
			}
			s.mu.Lock()
			s.stats.Put += uint64(len(batch))
			s.mu.Unlock()
		}
		blocks = rest
	}
	return nil
}

// takes says whether a block of so many pages fits an empty segment.
func (s *Store) takes(pages uint32) bool {
	return int64(1+directoryPages(1)+pages+indexPages(1))*pageSize <= s.options.SegmentBytes
}

// next takes the blocks of one batch from the front: such that are not stored. The
// others count as used.
func (s *Store) next(blocks []Block) (batch, rest []Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.w.seen)
	pages, most := uint32(0), s.batchPages()
	for i := range blocks {
		b := &blocks[i]
		fp := b.Key.fingerprint()
		if p, ok := s.index[fp]; ok {
			s.index[fp] = p | usedBit
			s.stats.Skipped++
			if s.spared != nil {
				s.spared[fp] = struct{}{}
			}
			continue
		}
		if _, ok := s.w.seen[fp]; ok {
			s.stats.Skipped++
			continue
		}
		pages += blockPages(len(b.Tokens), len(b.Payload))
		if pages > most && len(batch) > 0 {
			return batch, blocks[i:]
		}
		s.w.seen[fp] = struct{}{}
		batch = append(batch, *b)
	}
	return batch, nil
}

// batchPages is the most pages of blocks in a batch of more than one.
func (s *Store) batchPages() uint32 {
	return uint32(min(batchBytes, s.options.SegmentBytes/4) / pageSize)
}

// commit writes a batch. After a failure the segment is not written again, and no
// other for a while. Store.writing is held.
func (s *Store) commit(batch []Block) error {
	if err := s.mayWrite(); err != nil {
		return err
	}
	err := s.write(batch)
	if err != nil {
		s.abandon()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err; err != nil {
		s.stats.Failures++
		s.retryAt = time.Now().Add(s.options.RetryEvery)
	}
	return err
}

func (s *Store) mayWrite() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.failed != nil && time.Now().Before(s.retryAt):
		return &PausedError{s.failed}
	}
	return nil
}

// batchSize returns the pages of a batch, its directory included.
func batchSize(batch []Block) (pages uint32) {
	pages = directoryPages(len(batch))
	for i := range batch {
		pages += blockPages(len(batch[i].Tokens), len(batch[i].Payload))
	}
	return pages
}

// fits says whether so many pages of so many blocks fit the current segment.
func (s *Store) fits(pages uint32, blocks int) bool {
	g := s.w.current
	return g != nil && s.w.end+pages+indexPages(len(s.w.entries)+blocks) <= g.segmentPages()
}

// write writes and syncs a batch behind the last one, in another segment if this
// one is full, and makes its blocks be found.
func (s *Store) write(batch []Block) error {
	pages := batchSize(batch)
	if !s.fits(pages, len(batch)) {
		if err := s.rotate(pages, len(batch)); err != nil {
			return err
		}
	}
	if err := s.append(batch, pages); err != nil {
		return err
	}
	s.publish()
	return nil
}

// append writes and syncs a batch, for which there is room.
func (s *Store) append(batch []Block, pages uint32) error {
	w, g := &s.w, s.w.current
	w.planned = w.planned[:0]
	page := w.end + directoryPages(len(batch))
	for i := range batch {
		e := entry{batch[i].Key, page, blockPages(len(batch[i].Tokens), len(batch[i].Payload))}
		w.planned = append(w.planned, e)
		page += e.pages
	}
	w.staged, w.at = 0, int64(w.end)*pageSize
	w.head = appendDirectory(w.head[:0], g.salt, w.end, pages, w.planned)
	if err := w.put(w.head); err != nil {
		return err
	}
	for i := range batch {
		b := &batch[i]
		h := blockHeader{
			salt: g.salt, page: w.planned[i].page, payload: uint32(len(b.Payload)), key: b.Key,
			parent: b.Parent, root: b.Root, digest: xxh3.Hash128(b.Payload).Bytes(),
		}
		w.head = h.append(w.head[:0], b.Tokens)
		if err := w.put(w.head); err != nil {
			return err
		}
		if err := w.put(b.Payload); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.direct.Sync()
}

// put stages bytes and then zeros up to a page, and writes what is full.
func (w *writer) put(b []byte) error {
	for len(b) > 0 {
		n := copy(w.stage[w.staged:], b)
		w.staged, b = w.staged+n, b[n:]
		if w.staged == len(w.stage) {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	end := (w.staged + pageSize - 1) &^ (pageSize - 1)
	clear(w.stage[w.staged:end])
	w.staged = end
	return nil
}

// flush writes what is staged.
func (w *writer) flush() error {
	if w.staged == 0 {
		return nil
	}
	n, err := w.direct.WriteAt(w.stage[:w.staged], w.at)
	w.at, w.staged = w.at+int64(n), 0
	return err
}

// publish makes the blocks of the batch that was written be found. If some were
// found elsewhere, they have moved.
func (s *Store) publish() {
	w, g := &s.w, s.w.current
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range w.planned {
		e := &w.planned[i]
		s.set(e.key.fingerprint(), g.place(e))
	}
	w.entries = append(w.entries, w.planned...)
	s.stats.WrittenBytes += uint64(w.at) - uint64(w.end)*pageSize
	w.end, w.marked = uint32(w.at/pageSize), false
}
