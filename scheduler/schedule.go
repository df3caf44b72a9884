package scheduler

import "slices"

// Schedule chooses the next step's batch. It may be called again before that
// step is applied, but not a third time.
func (s *Scheduler) Schedule(b Budget) *Batch {
	s.now = b.Now
	s.filling = s.nextBatch()
	s.left.tokens, s.left.logits = b.Tokens, b.Logits
	for q := s.dues.past(b.Now); q != nil; q = s.dues.past(b.Now) {
		s.finish(q, Expired)
		s.counters.Expired++
		s.filling.Ended = append(s.filling.Ended, q)
	}
	s.queue.age(b.Now)
	s.compact()
	if !s.alone && s.retry(b) {
		s.alone = true
		return s.filling
	}
	s.alone = false
	s.decode()
	s.prefill(b)
	if len(s.filling.Items) == 0 {
		s.alone = s.retry(b)
	}
	return s.filling
}

// compact closes the holes that ended sequences have left among the running.
func (s *Scheduler) compact() {
	if s.holes == 0 {
		return
	}
	kept := s.running[:0]
	for _, q := range s.running {
		if q != nil {
			q.at = len(kept)
			kept = append(kept, q)
		}
	}
	clear(s.running[len(kept):])
	s.running, s.holes = kept, 0
}

// decode adds the newest token of every sequence whose other tokens are computed
// or under way, and collects the others in s.prompts. If the budget is too small
// for all, the next step begins with the first that was left out.
func (s *Scheduler) decode() {
	s.prompts = s.prompts[:0]
	n := len(s.running)
	first := s.turn
	if first >= n {
		first = 0
	}
	s.turn = 0
	for i := range n {
		at := first + i
		if at >= n {
			at -= n
		}
		q := s.running[at]
		switch {
		case q == nil || q.alone: // gave way just now, or runs alone
		case q.next != q.known()-1:
			if q.next < q.known() {
				s.prompts = append(s.prompts, prompt{q, q.run})
			}
		case q.known() >= q.MaxLen: // its last token is under way
		case s.left.tokens <= 0 || s.left.logits <= 0:
			if s.turn == 0 {
				s.turn = at
			}
		case q.next < len(q.Blocks)*BlockTokens || s.grow(q):
			s.add(q, 1)
		}
	}
}

// prompt is a running sequence with more than one token to compute, and its run.
type prompt struct {
	q   *Sequence
	run uint32
}

// prefill gives what is left of the step to prompts.
func (s *Scheduler) prefill(b Budget) {
	slices.SortStableFunc(s.prompts, func(x, y prompt) int { return compare(x.q, y.q) })
	room := s.room(b)
	begun := s.prompts
	open := true // whoever is next in the queue may be admitted
	for s.left.tokens > 0 {
		for len(begun) > 0 && begun[0].run != begun[0].q.run { // gave way just now
			begun = begun[1:]
		}
		var q *Sequence
		if open {
			q = s.queue.best()
		}
		switch {
		case q != nil && (len(begun) == 0 || compare(q, begun[0].q) < 0):
			if !room.any() {
				return
			}
			if open = s.admit(q); !open || q.alone {
				continue
			}
		case len(begun) > 0:
			q, begun = begun[0].q, begun[1:]
		default:
			return
		}
		if !s.chunk(q, &room) {
			return
		}
	}
}

// room is the time that a step has for prompts.
type room struct {
	endless bool
	ns, all float64 // what is left of it, and was to begin with
	begun   bool    // has a chunk
}

// any reports whether another chunk may be added.
func (r *room) any() bool { return r.endless || !r.begun || r.ns > 0 }

// room returns the time that the step has for prompts, now that what decodes is
// known.
func (s *Scheduler) room(b Budget) room {
	r := room{endless: true}
	within := func(ns float64) {
		if r.endless || ns < r.ns {
			r.endless, r.ns = false, ns
		}
	}
	decodes := len(s.filling.Items) > 0
	if b.ITL > 0 && decodes {
		within(float64(b.ITL) - s.cost.predict(s.filling.load))
	}
	if b.Prefill > 0 && s.waiting+s.Running() > 1 {
		within(float64(b.Prefill))
	}
	r.all = r.ns
	return r
}

// chunk adds as much of q's prompt as fits, and reports whether more may follow.
func (s *Scheduler) chunk(q *Sequence, r *room) (more bool) {
	rest := q.known() - q.next
	n := min(rest, s.left.tokens)
	if !r.endless {
		ns := r.ns
		if over := s.shares(q.payer); over > 1 {
			ns -= r.all * (1 - 1/min(over, 4)) // so that a newcomer waits for a short step only
		}
		if fits := s.cost.chunk(q.next, n, ns); fits < n {
			n = fits - fits%tile
			if !r.begun {
				n = min(max(n, tile), rest, s.left.tokens)
			}
		}
	}
	n = s.withinLogits(q, n)
	if n <= 0 {
		return false
	}
	if n < rest && !q.split {
		q.split = true
		s.counters.Splits++
	}
	was := s.cost.predict(s.filling.load)
	s.add(q, n)
	r.ns -= s.cost.predict(s.filling.load) - was
	r.begun = true
	return n == rest
}

// withinLogits shortens a chunk of n tokens to the rows of logits that are left.
func (s *Scheduler) withinLogits(q *Sequence, n int) int {
	if q.PromptLogits && q.reported < q.prompt {
		done := max(q.reported-q.next, 0) // positions whose logits nobody waits for any more
		n = min(n, done+s.left.logits)
	}
	if s.left.logits <= 0 && q.next+n == q.known() {
		n--
	}
	return n
}

// retry adds a chunk of a sequence that is computed again after NaN, if there is
// one: nothing else is in its steps.
func (s *Scheduler) retry(b Budget) bool {
	for _, q := range s.retries {
		if q.draws == 0 && q.next < q.known() {
			room := s.room(b)
			s.chunk(q, &room)
			return len(s.filling.Items) > 0
		}
	}
	return false
}
