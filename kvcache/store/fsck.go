package store

import (
	"context"
	"slices"
)

// Report is what Fsck found.
type Report struct {
	Segments int
	Blocks   int   // that were read
	Bytes    int64 // that those take
	Bad      int   // of them, blocks that did not verify: they are forgotten
}

// Fsck reads and verifies every block, while the store is used. What does not
// verify is counted and forgotten, as by Read. An error is ctx's.
func (s *Store) Fsck(ctx context.Context) (r Report, err error) {
	s.mu.RLock()
	segments := slices.Clone(s.segments)
	s.mu.RUnlock()
	for _, g := range segments {
		if err := s.fsck(ctx, g, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (s *Store) fsck(ctx context.Context, g *segment, r *Report) error {
	r.Segments++
	var buf []byte
	for _, e := range s.list(g) {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, ok := s.holds(g, &e)
		if !ok || !s.pinSegment(g) {
			continue
		}
		n := int(e.pages) * pageSize
		if len(buf) < n {
			buf = make([]byte, n)
		}
		_, what, _ := g.readBlock(&e, buf[:n])
		r.Blocks++
		r.Bytes += int64(n)
		s.mu.Lock()
		if s.unpin(g); what != "" {
			r.Bad++
			s.discredit(e.key.fingerprint(), p)
		}
		s.mu.Unlock()
	}
	return nil
}
