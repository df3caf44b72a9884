package scheduler

// Batch is one step's work. It belongs to the scheduler, and its slices are
// valid until the second call of Schedule that returns items after it.
type Batch struct {
	Items []Item // sequences that decode, then prompts; empty: nothing to launch
	Moves []Move // block copies to do, in this order, before the launch

	// Ended lists sequences that Schedule ended as Expired. They have no item
	// here; it is set even where Items is empty.
	Ended []*Sequence

	load load
}

// Item is one sequence's part of a batch.
type Item struct {
	Seq    *Sequence
	Start  int // first position
	Tokens int // positions [Start, Start+Tokens); one at len(Seq.Tokens) is the token just sampled, still unknown

	// Logits says how many of the last positions need logits: one when a token
	// is drawn, all of a prompt's chunk with PromptLogits.
	Logits int

	Draw bool // the last row of logits draws a token
	Kept bool // set by Apply: the token drawn is the sequence's newest; false for a ghost and for NaN

	run uint32 // the sequence's run that this belongs to
}

// MoveKind says what a Move copies.
type MoveKind uint8

// The kinds of moves.
const (
	CopyBlock  MoveKind = iota // block From to block To
	SaveBlock                  // block From to host slot To
	LoadBlock                  // host slot From to block To
	CopyWindow                 // block From to block To of the window pool
)

// Move copies one block. The slots of host memory are [0, Limits.HostBlocks).
type Move struct {
	Kind     MoveKind
	From, To int32
}

// nextBatch returns the batch to fill: the one before the last that had items. Moves
// of a batch without items were not done and stay.
func (s *Scheduler) nextBatch() *Batch {
	b := &s.batches[s.batch]
	if len(b.Items) > 0 {
		s.batch = 1 - s.batch
		b = &s.batches[s.batch]
		b.Moves = b.Moves[:0]
	}
	clear(b.Ended)
	b.Items, b.Ended, b.load = b.Items[:0], b.Ended[:0], load{}
	return b
}

// add puts positions [q.next, q.next+n) of q into the batch.
func (s *Scheduler) add(q *Sequence, n int) {
	s.slide(q, n)
	b := s.filling
	b.Items = b.Items[:len(b.Items)+1] // a sequence has one item, and there are no more than rows
	it := &b.Items[len(b.Items)-1]
	it.Seq, it.Start, it.Tokens, it.run = q, q.next, n, q.run
	it.Draw, it.Logits, it.Kept = false, 0, false
	q.next += n
	if q.next == q.known() {
		it.Draw, it.Logits = true, 1
		q.draws++
	}
	if q.PromptLogits && q.reported < q.prompt && it.Start < q.prompt {
		it.Logits = max(it.Logits, q.next-max(it.Start, q.reported))
	}
	b.load.add(it.Start, n, it.Logits)
	s.left.tokens -= n
	s.left.logits -= it.Logits
}

// withdraw takes q's item, if it has one, out of the batch being filled.
func (s *Scheduler) withdraw(q *Sequence) {
	b := s.filling
	for i, it := range b.Items {
		if it.Seq != q {
			continue
		}
		if it.Draw {
			q.draws--
		}
		b.load.remove(it.Start, it.Tokens, it.Logits)
		s.left.tokens += it.Tokens
		s.left.logits += it.Logits
		b.Items = append(b.Items[:i], b.Items[i+1:]...)
		return
	}
}
