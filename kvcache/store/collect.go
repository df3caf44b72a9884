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
	m := move{from: g}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err := s.compactSome(&m, c); done || err != nil {
			return err
		}
	}
}

// move is a segment that is being compacted.
type move struct {
	from  *segment
	begun bool
	rest  []entry
	buf   []byte
}

// compactSome moves one batch, or frees the segment when nothing is left in it.
func (s *Store) compactSome(m *move, c *Collected) (done bool, err error) {
	g := m.from
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	keep := g.retired || g == s.w.current || 2*g.pages >= int64(g.segmentPages())
	s.mu.RUnlock()
	if keep {
		return true, nil
	}
	if !m.begun && !s.empty(g) {
		m.rest = s.list(g)
	}
	m.begun = true
	if len(m.rest) == 0 {
		if s.empty(g) { // else the file does not say any more what it holds
			s.retire(g, false)
			c.Segments++
		}
		return true, nil
	}
	batch, rest, _ := s.gather(&m.buf, g, m.rest, true)
	m.rest = rest
	if len(batch) == 0 {
		return false, nil
	}
	if !s.mayMove(batch) {
		return true, nil
	}
	s.w.moving = true
	defer func() { s.w.moving = false }()
	if err := s.commit(batch); err != nil {
		return true, err
	}
	c.Moved += len(batch)
	s.moved(len(batch))
	return false, nil
}

// mayMove says whether a batch can be written without that something else must give
// way: compaction drops nothing that is live.
func (s *Store) mayMove(batch []Block) bool {
	if s.fits(batchSize(batch), len(batch)) {
		return true
	}
	s.mu.RLock()
	spare, more := len(s.spares) > 0, s.mayGrow()
	s.mu.RUnlock()
	if spare || !more {
		return spare
	}
	err := s.grow()
	if err != nil {
		s.failure()
	}
	return err == nil
}

func (s *Store) failure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Failures++
}
