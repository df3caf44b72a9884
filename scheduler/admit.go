package scheduler

// admit gives a waiting sequence a row and the blocks of all its tokens, and
// fills them with what is known already: a prefix that others have computed, its
// leader's prompt, its own blocks on the host. At least the last token is computed
// again: its logits are needed. It reports false if rows or blocks are lacking,
// even after others gave way.
func (s *Scheduler) admit(q *Sequence) bool {
	if !s.modest(q) {
		return false
	}
	for !s.fits(q) {
		if !s.displace(q) {
			return false
		}
	}
	s.unwait(q)
	s.queue.classes[q.class].since = s.now
	q.State, q.Row = Running, s.rows[len(s.rows)-1]
	s.rows = s.rows[:len(s.rows)-1]
	q.at = len(s.running)
	s.running = append(s.running, q)
	q.Computed = s.fill(q)
	q.payer.rows++
	q.payer.blocks += len(q.Blocks)
	q.next = q.Computed
	s.free(q)
	if q.alone {
		s.retries = append(s.retries, q)
	}
	if !q.admitted {
		q.admitted, q.Cached = true, q.Computed
		q.payer.charge(len(q.Tokens) - q.Cached)
		s.dues.set(q) // QueueBy is met
	}
	return true
}

// fits reports whether a row is free and the blocks that q lacks; if so, q has
// the blocks of the prefix that is known.
func (s *Scheduler) fits(q *Sequence) bool {
	if q.lack > 0 && !s.there(q) {
		return false // without looking the prefix up again
	}
	switch {
	case s.forks(q):
		q.Blocks = append(q.Blocks[:0], q.Leader.Blocks[:q.sharedWithLeader()]...)
		for _, b := range q.Blocks {
			s.blocks.Retain(b)
		}
	case q.matchable():
		q.Blocks = s.blocks.Match(q.Blocks[:0], q.Root, q.Tokens[:len(q.Tokens)-1])
	default:
		q.Blocks = q.Blocks[:0]
	}
	q.lack = blocksFor(len(q.Tokens)) - len(q.Blocks)
	if s.there(q) {
		return true
	}
	for i := len(q.Blocks) - 1; i >= 0; i-- {
		s.blocks.Release(q.Blocks[i])
	}
	q.Blocks = q.Blocks[:0]
	return false
}

// there reports whether a row is free and the blocks that q was seen to lack.
func (s *Scheduler) there(q *Sequence) bool { return len(s.rows) > 0 && s.blocks.Free() >= s.needs(q) }

// needs is how many free blocks q is admitted at. One that gave way before comes
// back to stay: the others will each soon decode into a new block.
func (s *Scheduler) needs(q *Sequence) int {
	if q.Preempted > 0 {
		return q.lack + s.Running()
	}
	return q.lack
}

// forks reports whether q can start from its leader's blocks: they are computed,
// and sealed, so that a block is sealed once though two sequences have it.
func (s *Scheduler) forks(q *Sequence) bool {
	l := q.Leader
	return l != nil && !q.admitted && q.matchable() && l.State == Running &&
		l.Computed >= l.prompt && l.sealed >= q.sharedWithLeader() && s.seesPrompt(l) && q.follows(l)
}

// sharedWithLeader is how many of the leader's blocks a fork leaves as they are.
// Its first step writes the prompt's last position: that block it copies.
func (q *Sequence) sharedWithLeader() int { return (q.prompt - 1) / BlockTokens }

// fill completes q's blocks and returns how many tokens are computed in them.
func (s *Scheduler) fill(q *Sequence) (computed int) {
	known := len(q.Blocks)
	q.sealed = known
	for len(q.Blocks) < blocksFor(len(q.Tokens)) {
		b, _ := s.blocks.Alloc() // fits has counted
		q.Blocks = append(q.Blocks, b)
	}
	if s.forks(q) {
		s.counters.Forks++
		s.counters.Copies++
		s.move(CopyBlock, q.Leader.Blocks[known], q.Blocks[known])
		s.fillWindow(q, known, true)
		return q.prompt - 1
	}
	s.fillWindow(q, known, false)
	if len(q.saved) == 0 || known < q.savedFrom {
		return known * BlockTokens
	}
	for i := known - q.savedFrom; i < len(q.saved); i++ {
		s.move(LoadBlock, q.saved[i], q.Blocks[q.savedFrom+i])
	}
	return max(known*BlockTokens, q.savedLen)
}

func (s *Scheduler) move(k MoveKind, from, to int32) {
	s.filling.Moves = append(s.filling.Moves, Move{k, from, to})
}
