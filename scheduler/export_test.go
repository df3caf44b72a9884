package scheduler

import "fmt"

// Check reports books that disagree: rows, host slots, the running list, the
// queue and its counts, principals. live are all sequences that were added.
func (s *Scheduler) Check(live []*Sequence) error {
	rows, slots := make(map[int32]bool), make(map[int32]bool)
	once := func(m map[int32]bool, what string, n int32) error {
		if m[n] {
			return fmt.Errorf("%s %d has two owners", what, n)
		}
		m[n] = true
		return nil
	}
	for _, r := range s.rows {
		if err := once(rows, "row", r); err != nil {
			return err
		}
	}
	for _, h := range s.slots {
		if err := once(slots, "slot", h); err != nil {
			return err
		}
	}
	running, waiting, queued, lined, deadlines := 0, 0, 0, 0, 0
	payers := map[*Principal][3]int{}
	for _, q := range live {
		for _, h := range q.saved {
			if err := once(slots, "slot", h); err != nil {
				return err
			}
		}
		n := payers[q.payer]
		switch q.State {
		case Running:
			running++
			n[1]++
			n[2] += len(q.Blocks)
			if err := once(rows, "row", q.Row); err != nil {
				return err
			}
			if s.running[q.at] != q || len(q.saved) > 0 {
				return fmt.Errorf("a running sequence is not in its place")
			}
			if len(q.Blocks) < blocksFor(q.next) || q.Computed > q.next || q.sealed > q.Computed/BlockTokens {
				return fmt.Errorf("%d blocks, %d sealed, for %d computed of %d launched tokens", len(q.Blocks), q.sealed, q.Computed, q.next)
			}
		case Waiting:
			waiting++
			queued += q.queued
			if q.place == inLine {
				lined++
			}
			if len(q.Blocks) > 0 {
				return fmt.Errorf("a waiting sequence has %d blocks", len(q.Blocks))
			}
			if q.place == parked && q.draws == 0 {
				return fmt.Errorf("a waiting sequence is nowhere")
			}
		}
		if q.State != Finished {
			n[0]++
			if q.deadline() != 0 {
				deadlines++
			}
		} else if len(q.Blocks)+len(q.saved)+len(q.followers) > 0 || q.due != 0 {
			return fmt.Errorf("a finished sequence holds something")
		}
		payers[q.payer] = n
	}
	for p, n := range payers {
		if have := [3]int{p.live, p.rows, p.blocks}; have != n {
			return fmt.Errorf("a principal has sequences, rows, blocks %v, counted %v", n, have)
		}
	}
	for _, l := range [][3]any{
		{"rows", len(rows), s.limits.Rows},
		{"slots", len(slots), s.limits.HostBlocks},
		{"running", running, s.Running()},
		{"waiting", waiting, s.Waiting()},
		{"queued tokens", queued, s.QueuedTokens()},
		{"deadlines", deadlines, len(s.dues.heap)},
	} {
		if l[1] != l[2] {
			return fmt.Errorf("%s: %d, not %d", l[0], l[1], l[2])
		}
	}
	full := 0
	for c := range s.queue.classes {
		lines := s.queue.classes[c].lines
		full += len(lines)
		for i, l := range lines {
			if l.at != i || l.head() == nil || l.key > l.payer.served || i > 0 && l.before(lines[(i-1)/2]) {
				return fmt.Errorf("class %d: the heap is broken at %d", c, i)
			}
			for _, list := range []list{l.back, l.fresh} {
				for q := list.first; q != nil; q = q.behind {
					lined--
				}
			}
		}
	}
	if full != s.queue.full {
		return fmt.Errorf("%d lines, counted %d", full, s.queue.full)
	}
	if lined != 0 {
		return fmt.Errorf("%d sequences believe that they are in a line, and are not", lined)
	}
	return nil
}
