package scheduler

// Reset is called when the device has lost all that was on it, and with it the
// batches under way: they are not applied. Sequences keep their tokens and lose
// their blocks and host slots (a save may have been lost on its way); those that
// ran wait to be computed again, before others that arrived with them. It returns
// how many those are. Blocks' contents are the pool's to forget.
func (s *Scheduler) Reset() (again int) {
	for i := range s.batches {
		b := &s.batches[i]
		for _, it := range b.Items {
			if q := it.Seq; q.State == Waiting && q.place == parked { // until this batch is applied
				q.draws = 0
				s.enqueue(q)
				again++
			}
		}
		b.Items, b.Moves = b.Items[:0], b.Moves[:0]
	}
	for _, q := range s.running {
		if q != nil {
			s.release(q)
			q.draws = 0
			s.again(q)
			again++
		}
	}
	for i := range s.queue.classes {
		for _, l := range s.queue.classes[i].lines {
			for q := l.back.first; q != nil; q = q.behind {
				s.free(q)
			}
		}
	}
	s.alone = false
	return again
}
