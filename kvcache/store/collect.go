package store

import (
	"context"
	"fmt"
	"slices"
)

// Collected is what a Collect did.
type Collected struct {
	Blocks   int   // that were dead
	Bytes    int64 // that those took
	Moved    int   // blocks that were written again, to free the segments they were in
	Segments int   // that are free now
}

// Collect drops the blocks that are not live, and moves what is left of segments
// that are less than half used. Blocks that are put while it runs, or put again,
// are live. live is called once for each block, by this goroutine, without a lock.
// An error ends it early: what it has done until then is done.
func (s *Store) Collect(ctx context.Context, live func(Key) bool) (c Collected, err error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	segments, end := s.beginCollect()
	defer s.endCollect()
	for i, g := range segments {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		entries := s.list(g)
		last := i == len(segments)-1
		var dead []entry
		for _, e := range entries {
			if _, ok := s.holds(g, &e); ok && (!last || e.page < end) && !live(e.key) {
				dead = append(dead, e)
			}
		}
		s.bury(g, dead, &c)
	}
	for _, g := range segments {
		if err := s.compact(ctx, g, &c); err != nil {
			return c, fmt.Errorf("kvcache/store: compact %s: %w", s.path(g.name), err)
		}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.discard()
	s.w.arena = nil
	return c, nil
}

// list returns the entries of a segment that is in use; none if it is not any more,
// or if the disk fails.
func (s *Store) list(g *segment) []entry {
	if !s.pinSegment(g) {
		return nil
	}
	c, err := g.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unpin(g)
	if err != nil {
		s.stats.Failures++
		return nil
	}
	return c.entries
}

// beginCollect returns the segments in use, and the page at which the last of them
// ends now.
func (s *Store) beginCollect() (segments []*segment, end uint32) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spared = map[uint64]struct{}{}
	segments = slices.Clone(s.segments)
	if end = s.w.end; s.w.current == nil {
		end = maxSegment / pageSize
	}
	return segments, end
}

func (s *Store) endCollect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spared = nil
}

// bury forgets dead blocks, unless they were put again meanwhile.
func (s *Store) bury(g *segment, dead []entry, c *Collected) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range dead {
		e := &dead[i]
		fp := e.key.fingerprint()
		if _, ok := s.spared[fp]; !ok && s.forgetLocked(fp, g.place(e)) {
			c.Blocks++
			c.Bytes += int64(e.pages) * pageSize
			s.stats.Collected++
		}
	}
}

// compact moves what is left of a segment that is less than half used, batch by
// batch, so that Put may come between.
func (s *Store) compact(ctx context.Context, g *segment, c *Collected) error {
	var rest []entry
	for begun := false; ; begun = true {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := s.compactSome(g, &rest, begun, c)
		if done || err != nil {
			return err
		}
	}
}

// compactSome moves one batch, or frees the segment when nothing is left in it.
func (s *Store) compactSome(g *segment, rest *[]entry, begun bool, c *Collected) (done bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	keep := g.retired || g == s.w.current || 2*g.pages >= int64(g.segmentPages())
	s.mu.RUnlock()
	if keep {
		return true, nil
	}
	if !begun && !s.empty(g) {
		*rest = s.list(g)
	}
	if len(*rest) == 0 {
		if s.empty(g) { // else the file does not say any more what it holds
			s.retire(g, false)
			c.Segments++
		}
		return true, nil
	}
	batch, left, _ := s.gather(g, *rest, true)
	*rest = left
	if len(batch) == 0 {
		return false, nil
	}
	if err := s.commit(batch); err != nil {
		return true, err
	}
	c.Moved += len(batch)
	s.moved(len(batch))
	return false, nil
}
