package store

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// headers are buffers for the headers of blocks.
var headers = sync.Pool{New: func() any { return new([]byte) }}

// Read reads a block's payload into dst, which has its length, and verifies that
// it is the block with this key and these tokens, whole. ErrMissing if it is not
// stored. After any error dst may hold anything. It may be called by any
// goroutine; each call waits for the disk.
func (s *Store) Read(k Key, tokens []int32, dst []byte) error {
	fp := k.fingerprint()
	g, p, err := s.pin(fp)
	if err != nil {
		return err
	}
	buf := headers.Get().(*[]byte)
	what, err := g.verify(p, &k, tokens, dst, buf)
	headers.Put(buf)
	if what != "" {
		return s.corrupt(fp, p, &CorruptError{k, s.path(g.name), p.offset(), what, err}, g)
	}
	s.mu.Lock()
	s.stats.Read++
	s.stats.ReadBytes += uint64(len(dst))
	s.unpin(g)
	s.mu.Unlock()
	return nil
}

// pin finds a block, marks it as used, and keeps its segment from being reused.
func (s *Store) pin(fp uint64) (*segment, place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.index[fp]
	switch {
	case s.closed:
		return nil, 0, ErrClosed
	case !ok:
		s.stats.Missing++
		return nil, 0, ErrMissing
	}
	s.index[fp] = p | usedBit
	g := s.lives[p.segment()]
	g.readers++
	return g, p, nil
}

// pinSegment keeps a segment from being reused, if it is in use.
func (s *Store) pinSegment(g *segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.retired || s.closed {
		return false
	}
	g.readers++
	return true
}

// unpin ends a reading; the lock is held.
func (s *Store) unpin(g *segment) {
	if g.readers--; g.readers == 0 && g.retired {
		s.retiring--
		s.recycle(g)
	}
}

// corrupt counts and forgets a block that did not verify, and unpins its segment.
func (s *Store) corrupt(fp uint64, p place, found *CorruptError, g *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discredit(fp, p)
	s.unpin(g)
	return found
}

// discredit forgets and counts a block that did not verify; the lock is held.
func (s *Store) discredit(fp uint64, p place) {
	if s.forgetLocked(fp, p) {
		s.stats.Corrupt++
	}
}

// verify reads the payload of the block at p into dst. what says why it is not the
// block that was asked for.
func (s *segment) verify(p place, k *Key, tokens []int32, dst []byte, buf *[]byte) (what string, err error) {
	n := headerBytes(len(tokens))
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	head := (*buf)[:n]
	if err := readFull(s.file, head, p.offset()); err != nil {
		return "its header cannot be read", err
	}
	h, stored, ok := parseBlockHeader(head)
	switch {
	case !ok:
		return "its header is damaged", nil
	case h.salt != s.salt || h.page != p.page() || h.key != *k:
		return "another block lies in its place", nil
	case !sameTokens(stored, tokens):
		return "it has other tokens", nil
	case int(h.payload) != len(dst):
		return "it has another length", nil
	}
	if err := readFull(s.file, dst, p.offset()+int64(pagesOf(n))*pageSize); err != nil {
		return "it cannot be read", err
	}
	if xxh3.Hash128(dst).Bytes() != h.digest {
		return "its payload is damaged", nil
	}
	return "", nil
}

// readBlock reads and verifies all of the block of an entry, into buf, which has
// its bytes; the block refers to it.
func (s *segment) readBlock(e *entry, buf []byte) (b Block, what string, err error) {
	if err := readFull(s.file, buf, int64(e.page)*pageSize); err != nil {
		return b, "it cannot be read", err
	}
	h, tokens, ok := parseBlockHeader(buf)
	switch {
	case !ok:
		return b, "its header is damaged", nil
	case h.salt != s.salt || h.page != e.page || h.key != e.key || blockPages(int(h.tokens), int(h.payload)) != e.pages:
		return b, "another block lies in its place", nil
	}
	b = Block{Key: h.key, Parent: h.parent, Root: h.root, Tokens: make([]int32, h.tokens)}
	for i := range b.Tokens {
		b.Tokens[i] = int32(le.Uint32(tokens[4*i:]))
	}
	b.Payload = buf[pagesOf(headerBytes(len(tokens)/4))*pageSize:][:h.payload]
	if xxh3.Hash128(b.Payload).Bytes() != h.digest {
		return b, "its payload is damaged", nil
	}
	return b, "", nil
}
