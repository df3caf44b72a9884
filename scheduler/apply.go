package scheduler

import "slices"

// Apply takes the tokens drawn for the batch's items with Draw, in order; a
// negative one means that there was none to draw. Batches are applied in the
// order in which they were scheduled. Sequences that end give everything back
// before Apply returns, and Item.Kept says whose tokens count.
func (s *Scheduler) Apply(b *Batch, drawn []int32) {
	n := 0
	for i := range b.Items {
		it := &b.Items[i]
		q := it.Seq
		if it.Draw {
			q.draws--
		}
		live := q.run == it.run && q.State == Running
		if live {
			q.Computed = it.Start + it.Tokens
		}
		if q.PromptLogits && it.Start < q.prompt {
			q.reported = max(q.reported, min(it.Start+it.Tokens, q.prompt))
		}
		if it.Draw {
			token := int32(-1)
			if n < len(drawn) {
				token = drawn[n]
			}
			n++
			s.draw(it, token, live)
		}
		if q.State == Waiting && q.place == parked && q.draws == 0 {
			s.enqueue(q)
		}
	}
}

// draw gives an item's token to its sequence. One that was preempted while the
// step ran keeps the token: it was computed from the right ones. What was
// computed behind the end, or behind NaN, is a ghost.
func (s *Scheduler) draw(it *Item, token int32, live bool) {
	q := it.Seq
	if q.State == Finished || it.Start+it.Tokens != len(q.Tokens) {
		s.counters.Ghosts++
		return
	}
	if token < 0 {
		s.poisoned(q)
		return
	}
	if live {
		if q.Computed >= (q.sealed+1)*BlockTokens {
			s.seal(q)
		}
		if q.alone {
			q.alone = false
			s.retries = slices.DeleteFunc(s.retries, func(r *Sequence) bool { return r == q })
		}
	}
	it.Kept = true
	q.Tokens = append(q.Tokens, token)
	q.payer.charge(outputCost)
	if q.leads {
		s.dismiss(q)
	}
	switch {
	case slices.Contains(q.Stop, token):
		s.finish(q, Stopped)
	case len(q.Tokens) >= q.MaxLen:
		s.finish(q, Length)
	}
}

// seal lets others find the blocks of q that are full and computed. It is called
// when q has drawn a token, so that nothing whose logits came out as NaN is ever
// shared.
func (s *Scheduler) seal(q *Sequence) {
	if q.suspect {
		return
	}
	for ; q.sealed < q.Computed/BlockTokens; q.sealed++ {
		if s.blocks.Seal(q.Root, q.Blocks, q.sealed, q.Tokens) {
			q.Sent = min(q.Sent, q.sealed) // the device must hear of the change
		}
		s.sealWindow(q, q.sealed)
	}
}

// poisoned takes from a sequence whose logits held no number all that it has, to
// compute it once more, by itself and from nothing but its tokens; the second
// time it fails.
func (s *Scheduler) poisoned(q *Sequence) {
	if q.suspect {
		s.finish(q, Failed)
		return
	}
	s.counters.Retries++
	if q.State == Running {
		s.release(q)
	} else {
		s.unwait(q)
		s.free(q)
	}
	q.suspect, q.alone, q.reported = true, true, 0
	s.again(q)
}
