package scheduler

import (
	"cmp"
	"math"
)

// reserve is the part of the rows and of the blocks, as a divisor, that a
// principal leaves free for others when it takes more than its share.
const reserve = 4

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
		p.weight = 1
		if p.Weight != 0 && !math.IsNaN(p.Weight) {
			p.weight = min(max(p.Weight, 1.0/1024), 1024)
		}
		s.weights += p.weight
		p.at = len(s.active)
		s.active = append(s.active, p)
	}
	p.live++
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
	s.weights -= p.weight
}

// part is what p has of rows or of blocks, whichever is more, by weight, with
// so many more.
func (s *Scheduler) part(p *Principal, rows, blocks int) float64 {
	return max(float64(p.rows+rows)/float64(s.limits.Rows), float64(p.blocks+blocks)/float64(s.blocks.Total())) / p.weight
}

// shares is how many times its share of rows or blocks p has; 0 when there is no
// other active principal.
func (s *Scheduler) shares(p *Principal) float64 {
	if len(s.active) == 1 {
		return 0
	}
	return s.part(p, 0, 0) * s.weights
}

// modest reports whether q's principal may have it admitted when rows and blocks
// are free: it is not over its share, or others wait behind it, or enough is left
// for those that may come. Without this, one principal's backlog would take each
// row that becomes free, to give it back to the next newcomer with its work lost.
func (s *Scheduler) modest(q *Sequence) bool {
	return s.shares(q.payer) < 1 || s.queue.full > 1 ||
		len(s.rows)*reserve > s.limits.Rows && s.blocks.Free()*reserve > s.blocks.Total()
}

// compare orders prompts: below 0 if a is to be computed before b.
func compare(a, b *Sequence) int {
	return cmp.Or(cmp.Compare(b.class, a.class), cmp.Compare(a.payer.served, b.payer.served), cmp.Compare(a.Arrived, b.Arrived))
}
