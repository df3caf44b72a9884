// Package scheduler decides what runs in each step. It is a pure step
// function: no I/O, no clock, no goroutine, and nothing of the device. The
// engine calls Schedule, runs the batch, and hands the drawn tokens to Apply.
//
// Policy: sequences that decode come first, one token each, so that a prompt
// never stalls a stream; what is left of the token budget goes to prompts, in
// chunks, in order of arrival. A sequence is admitted when a row and the blocks
// of its prompt are free; it starts behind the longest prefix that the pool
// still knows. When a running sequence needs a block and there is
// none, the youngest running one gives its blocks back and is computed again
// later; numerics classes make the second run equal to the first.
package scheduler

import (
	"errors"
	"slices"
)

// BlockTokens is how many positions a block holds.
const BlockTokens = 32

// Blocks is the block pool, as the scheduler needs it; kvcache.Pool says what
// the methods promise.
type Blocks interface {
	Total() int
	Free() int // what Alloc can give, blocks kept for their contents included
	Alloc() (block int32, ok bool)
	Release(block int32)
	Match(dst []int32, root int32, tokens []int32) []int32
	Seal(root int32, blocks []int32, i int, tokens []int32) (changed bool)
}

// ErrNeverFits is returned by Add for a sequence that does not fit the pool
// even when it runs alone.
var ErrNeverFits = errors.New("scheduler: the sequence needs more blocks than the pool has")

// Budget bounds one step.
type Budget struct {
	Tokens int // most tokens in the step
}

// Item is one sequence's part of a batch: its next Tokens tokens after
// Computed. Logits is set when the last of them is the newest token, so that a
// next one can be drawn.
type Item struct {
	Seq    *Sequence
	Tokens int
	Logits bool
}

// Scheduler is the explicit state of the step function.
type Scheduler struct {
	blocks  Blocks
	rows    []int32 // free rows of the block table, a stack
	waiting []*Sequence
	running []*Sequence // in order of admission
	batch   []Item
}

// New returns a scheduler over a pool, for at most maxRows running sequences.
func New(blocks Blocks, maxRows int) *Scheduler {
	s := &Scheduler{blocks: blocks, batch: make([]Item, 0, maxRows), running: make([]*Sequence, 0, maxRows)}
	for r := maxRows - 1; r >= 0; r-- {
		s.rows = append(s.rows, int32(r))
	}
	return s
}

// Waiting returns how many sequences are queued, Running how many have a row.
func (s *Scheduler) Waiting() int { return len(s.waiting) }

// Running returns how many sequences have a row of the block table.
func (s *Scheduler) Running() int { return len(s.running) }

func blocksFor(tokens int) int { return (tokens + BlockTokens - 1) / BlockTokens }

// Add queues a sequence.
func (s *Scheduler) Add(q *Sequence) error {
	if blocksFor(q.MaxLen) > s.blocks.Total() {
		return ErrNeverFits
	}
	q.State = Waiting
	s.waiting = append(s.waiting, q)
	return nil
}

// Cancel ends a sequence in any state; it gives everything back at once.
func (s *Scheduler) Cancel(q *Sequence) { s.finish(q, Cancelled) }

// Schedule chooses the next step's batch. The slice is valid until the next
// call; it is empty when there is nothing to run.
func (s *Scheduler) Schedule(b Budget) []Item {
	s.batch = s.batch[:0]
	left := b.Tokens
	for i := 0; i < len(s.running); i++ { // preemption shortens the list at its end
		if q := s.running[i]; q.decoding() && left > 0 && s.grow(q, len(q.Tokens)) {
			s.batch = append(s.batch, Item{Seq: q, Tokens: 1, Logits: true})
			left--
		}
	}
	for i := 0; i < len(s.running); i++ {
		if q := s.running[i]; !q.decoding() {
			left -= s.prefill(q, left)
		}
	}
	for left > 0 && len(s.waiting) > 0 && s.admit(s.waiting[0]) {
		q := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		left -= s.prefill(q, left)
	}
	return s.batch
}

// prefill adds a chunk of q's uncomputed tokens to the batch and returns its size.
func (s *Scheduler) prefill(q *Sequence, left int) int {
	n := min(left, len(q.Tokens)-q.Computed)
	if n <= 0 || !s.grow(q, q.Computed+n) {
		return 0
	}
	s.batch = append(s.batch, Item{Seq: q, Tokens: n, Logits: q.Computed+n == len(q.Tokens)})
	return n
}

// admit gives q a row, and the blocks of the prefix that is known, if the blocks
// of all its present tokens can be had now. At least the last token is computed
// again: its logits are needed.
func (s *Scheduler) admit(q *Sequence) bool {
	if len(s.rows) == 0 {
		return false
	}
	q.Blocks = s.blocks.Match(q.Blocks[:0], q.Root, q.Tokens[:len(q.Tokens)-1])
	if s.blocks.Free() < blocksFor(len(q.Tokens))-len(q.Blocks) {
		s.giveBack(q)
		return false
	}
	q.sealed, q.Computed = len(q.Blocks), len(q.Blocks)*BlockTokens
	if q.Preempted == 0 {
		q.Cached = q.Computed
	}
	q.Row = s.rows[len(s.rows)-1]
	s.rows = s.rows[:len(s.rows)-1]
	q.State = Running
	s.running = append(s.running, q)
	return true
}

// grow gives q blocks for its first n positions, preempting younger sequences
// if it must. It reports false if q itself had to go.
func (s *Scheduler) grow(q *Sequence, n int) bool {
	for len(q.Blocks) < blocksFor(n) {
		if block, ok := s.blocks.Alloc(); ok {
			q.Blocks = append(q.Blocks, block)
			continue
		}
		youngest := s.running[len(s.running)-1]
		s.preempt(youngest)
		if youngest == q {
			return false
		}
	}
	return true
}

// preempt takes everything from a running sequence and puts it at the head of
// the queue, to be computed again.
func (s *Scheduler) preempt(q *Sequence) {
	s.batch = slices.DeleteFunc(s.batch, func(it Item) bool { return it.Seq == q })
	s.release(q)
	q.State, q.Computed = Waiting, 0
	q.Preempted++
	s.waiting = slices.Insert(s.waiting, 0, q)
}

// giveBack releases all of q's blocks, the last first.
func (s *Scheduler) giveBack(q *Sequence) {
	for _, b := range slices.Backward(q.Blocks) {
		s.blocks.Release(b)
	}
	q.Blocks, q.Sent, q.sealed = q.Blocks[:0], 0, 0
}

func (s *Scheduler) release(q *Sequence) {
	s.giveBack(q)
	s.rows = append(s.rows, q.Row)
	s.running = slices.DeleteFunc(s.running, func(r *Sequence) bool { return r == q })
}

func (s *Scheduler) finish(q *Sequence, why Reason) {
	switch q.State {
	case Running:
		s.release(q)
	case Waiting:
		s.waiting = slices.DeleteFunc(s.waiting, func(w *Sequence) bool { return w == q })
	case Finished:
		return
	}
	q.State, q.Reason = Finished, why
}

// seal lets others find the blocks of q that are full and computed. It is called
// when q has drawn a token, so that nothing whose logits came out as NaN is
// ever shared.
func (s *Scheduler) seal(q *Sequence) {
	for ; q.sealed < q.Computed/BlockTokens; q.sealed++ {
		if s.blocks.Seal(q.Root, q.Blocks, q.sealed, q.Tokens) {
			q.Sent = min(q.Sent, q.sealed) // the device must hear of the change
		}
	}
}

// Apply takes the tokens drawn for the batch's items that asked for logits, in
// order; a negative one means that there was none to draw. Sequences that end
// give everything back before Apply returns. A sequence that was cancelled
// while its step ran is passed over.
func (s *Scheduler) Apply(batch []Item, drawn []int32) {
	next := 0
	for _, it := range batch {
		q := it.Seq
		var token int32
		if it.Logits {
			token = drawn[next]
			next++
		}
		if q.State != Running {
			continue
		}
		q.Computed += it.Tokens
		if !it.Logits {
			continue
		}
		if token < 0 {
			s.finish(q, Failed)
			continue
		}
		s.seal(q)
		q.Tokens = append(q.Tokens, token)
		switch {
		case slices.Contains(q.Stop, token):
			s.finish(q, Stopped)
		case len(q.Tokens) >= q.MaxLen:
			s.finish(q, Length)
		}
	}
}
