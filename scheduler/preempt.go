package scheduler

// grow gives a decoding sequence its next block, and makes another give way if
// there is none. It reports false if q itself had to.
func (s *Scheduler) grow(q *Sequence) bool {
	for {
		if b, ok := s.blocks.Alloc(); ok {
			q.Blocks = append(q.Blocks, b)
			q.payer.blocks++
			return true
		}
		v := s.victim()
		if v == nil {
			v = q
		}
		s.preempt(v)
		if v == q {
			return false
		}
	}
}

// first returns the oldest running sequence of the highest class that runs. It
// gives way to a higher class only.
func (s *Scheduler) first() *Sequence {
	var first *Sequence
	for _, q := range s.running {
		if q != nil && (first == nil || q.class > first.class || q.class == first.class && q.Arrived < first.Arrived) {
			first = q
		}
	}
	return first
}

// capped reports whether q gave way as often as the limit says.
func (s *Scheduler) capped(q *Sequence) bool { return q.Preempted >= s.limits.Preemptions }

// victim returns the running sequence that gives way first.
func (s *Scheduler) victim() *Sequence {
	first := s.first()
	var v *Sequence
	for _, q := range s.running {
		if q != nil && q != first && (v == nil || s.sooner(q, v)) {
			v = q
		}
	}
	return v
}

// sooner reports whether q gives way before v, which was admitted earlier.
func (s *Scheduler) sooner(q, v *Sequence) bool {
	switch {
	case q.class != v.class:
		return q.class < v.class
	case s.capped(q) != s.capped(v):
		return s.capped(v)
	case q.payer.served != v.payer.served:
		return q.payer.served > v.payer.served
	}
	return q.Arrived >= v.Arrived
}

// displace makes one running sequence give way to q, which waits, and reports
// whether it did: not if q would not fit even without all those that must.
func (s *Scheduler) displace(q *Sequence) bool {
	first := s.first()
	var v *Sequence
	blocks := s.blocks.Free()
	for _, r := range s.running {
		if r != nil && (r != first || r.class < q.class) && s.yields(r, q) {
			blocks += len(r.Blocks)
			if v == nil || s.sooner(r, v) {
				v = r
			}
		}
	}
	if v == nil || blocks < s.needs(q) {
		return false
	}
	s.preempt(v)
	return true
}

// yields reports whether r, which runs, gives way to q, which waits: r is of a
// lower class, or its principal has at least twice the part that q's would.
func (s *Scheduler) yields(r, q *Sequence) bool {
	if r.class != q.class {
		return r.class < q.class
	}
	return r.payer != q.payer && !s.capped(r) && s.part(r.payer, 0, 0) >= 2*s.part(q.payer, 1, blocksFor(len(q.Tokens)))
}

// preempt takes everything from a running sequence and lets it wait again.
func (s *Scheduler) preempt(q *Sequence) {
	s.withdraw(q)
	s.offload(q)
	s.release(q)
	q.Preempted++
	s.counters.Preemptions++
	s.again(q)
}

// again lets a sequence that has lost its blocks wait to run once more: in its
// line as soon as nothing under way draws for it.
func (s *Scheduler) again(q *Sequence) {
	q.Computed, q.next = 0, 0
	s.wait(q)
	if q.draws == 0 {
		s.enqueue(q)
	}
	s.dismiss(q)
}

// offload saves to the host what of q's blocks is computed, if there is room.
// Blocks at its start that others use stay where they are; those that the prefix
// index knows but nobody else uses are the next to be evicted, and are saved.
func (s *Scheduler) offload(q *Sequence) {
	n, from := blocksFor(q.Computed), 0
	for from < n && s.blocks.Shared(q.Blocks[from]) {
		from++
	}
	if q.suspect || s.window > 0 || from == n || n-from > len(s.slots) {
		return
	}
	for _, b := range q.Blocks[from:n] {
		slot := s.slots[len(s.slots)-1]
		s.slots = s.slots[:len(s.slots)-1]
		q.saved = append(q.saved, slot)
		s.move(SaveBlock, b, slot)
	}
	q.savedFrom, q.savedLen = from, q.Computed
	s.counters.Offloads++
}
