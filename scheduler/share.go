package scheduler

import "cmp"

// enter counts one more live sequence of p. If it was idle, its service is lifted
// to the least of the active principals: being away saves nothing up.
func (s *Scheduler) enter(p *Principal) {
	if p.live == 0 {
		least := s.level
		for i, a := range s.active {
			if i == 0 || a.served < least {
				least = a.served
			}
		}
		p.served = max(p.served, least)
		p.at = len(s.active)
		s.active = append(s.active, p)
	}
	p.live++
	p.rated()
}

// leave counts one less.
func (s *Scheduler) leave(p *Principal) {
	p.live--
	if p.live > 0 {
		return
	}
	last := s.active[len(s.active)-1]
	s.active[p.at], last.at = last, p.at
	s.active[len(s.active)-1] = nil
	s.active = s.active[:len(s.active)-1]
	s.level = p.served
}

// compare orders prompts: below 0 if a is to be computed before b.
func compare(a, b *Sequence) int {
	return cmp.Or(cmp.Compare(b.class, a.class), cmp.Compare(a.payer.served, b.payer.served), cmp.Compare(a.Arrived, b.Arrived))
}
