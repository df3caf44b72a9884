// Package scheduler decides what runs in each step. It is a pure step
// function: no I/O, no clock, no goroutine, and nothing of the device. The
// engine calls Schedule, runs the batch, and hands the drawn tokens to Apply.
// It may schedule one step more before it applies a step: a sequence then
// decodes from a token that only the device knows yet, and if that one turns out
// to be its last, the second step's row is a ghost, thrown away by Apply. The
// device does launches, table changes and moves in the order of the batches, so
// that what a sequence gives back may be another's in the next batch.
//
// # Policy
//
// Sequences that decode come first, one token each. What is left of the step
// goes to prompts, in chunks whose time is predicted from the steps before: as
// much as keeps the step under Budget.ITL where a sequence decodes, and under
// Budget.Prefill where anything else waits or runs, but always a tile.
//
// Prompts, waiting or begun, go by priority class, then by the least served
// principal, then by arrival. A principal that comes back from idle is lifted to
// the least served of the active ones. When a class has waited ten seconds for an
// admission, its next in turn rises to the class above, so that none waits for ever.
//
// A sequence is admitted when a row and the blocks of all its tokens are free, and
// takes them at once, so that only decoding needs more. It starts behind the
// longest prefix that the pool still knows, as a fork of its leader, or from the
// host slots that it was saved to. One that does not fit holds up those behind
// it. A principal that has its share of rows and blocks already leaves a quarter
// free for others.
//
// Running sequences give way in two cases. For one that waits and does not fit:
// those of a lower class, and of a principal that has at least twice the part of
// rows or blocks, by weight. For one that decodes into a new block when there is
// none: the one of the lowest class, then of the most served principal, then the
// youngest. Never the oldest of the highest class, which therefore always comes to
// its end. Within a class, one that gave way Limits.Preemptions times does so only
// when no other can.
//
// Numerics classes make the second run of a sequence equal to the first.
package scheduler

import (
	"errors"
	"slices"
	"time"
)

// BlockTokens is how many positions a block holds.
const BlockTokens = 32

// tile is the fewest tokens of prompt that a step with prompts has.
const tile = 16

// Blocks is the block pool, as the scheduler needs it; kvcache.Pool says what
// the methods promise.
type Blocks interface {
	Total() int
	Free() int // what Alloc can give, blocks kept for their contents included
	Alloc() (block int32, ok bool)
	Retain(block int32)
	Release(block int32)
	Shared(block int32) bool
	Match(dst []int32, root int32, tokens []int32) []int32
	Seal(root int32, blocks []int32, i int, tokens []int32) (changed bool)

	// Of the window pool, if Window is not 0.
	Window() int
	WindowFrom(tokens int) (block int)
	AllocWindow() (block int32, ok bool)
	RetainWindow(block int32)
	ReleaseWindow(block int32)
	MatchWindow(dst, blocks []int32) []int32
	SealWindow(full, block int32) int32
}

// ErrNeverFits is returned by Add for a sequence that does not fit the pool
// even when it runs alone.
var ErrNeverFits = errors.New("scheduler: the sequence needs more blocks than the pool has")

// ErrEmpty is returned by Add for a sequence that has no token to start from, or
// no room for another.
var ErrEmpty = errors.New("scheduler: a sequence needs a token to start from, and room for one more")

// Limits bounds the scheduler for its life.
type Limits struct {
	Rows        int // most running sequences: rows of the device's block table
	HostBlocks  int // host memory, in blocks, for preempted sequences; 0: they are computed again
	Preemptions int // one preempted this often is not taken again while another of its class can be
}

// Budget bounds one step.
type Budget struct {
	Now     int64         // ns of any monotonic clock, never less than before
	Tokens  int           // most tokens in the step
	Logits  int           // most rows of logits in the step
	ITL     time.Duration // what a step with a decoding sequence should take at most; 0: no target
	Prefill time.Duration // most prefill, predicted, while anything else waits or runs; 0: no limit
}

// Counters counts what happened since New.
type Counters struct {
	Preemptions uint64 // sequences that gave their blocks back to run again
	Offloads    uint64 // of them, those saved to host slots
	Copies      uint64 // blocks copied because two sequences went on from them
	Forks       uint64 // sequences that started from their leader's blocks
	Splits      uint64 // prompts that took more than one chunk
	Ghosts      uint64 // drawn tokens thrown away, their sequence having ended or failed
	Expired     uint64 // sequences that ended at a deadline
	Retries     uint64 // sequences computed again after NaN
}

// Scheduler is the explicit state of the step function.
type Scheduler struct {
	blocks   Blocks
	window   int // Blocks.Window
	limits   Limits
	counters Counters
	cost     cost
	now      int64

	rows    []int32 // free rows of the block table, a stack
	slots   []int32 // free host slots, a stack
	running []*Sequence
	holes   int // entries of running that are nil, after a release
	turn    int // where in running decoding goes on when a budget cut it short

	queue   queue
	dues    dues
	waiting int // sequences, and their tokens
	queued  int

	nobody  Principal    // of sequences without one
	active  []*Principal // those with live sequences
	weights float64      // sum of theirs
	level   float64      // service of the last that became idle

	batches [2]Batch
	batch   int // the one given out last
	filling *Batch
	left    struct{ tokens, logits int }
	prompts []prompt    // of the step: running, not decoding
	retries []*Sequence // running in steps of their own
	alone   bool        // the last step was one of those
}

// New returns a scheduler over a pool.
func New(blocks Blocks, l Limits) *Scheduler {
	s := &Scheduler{
		blocks: blocks, window: blocks.Window(), limits: l, cost: newCost(),
		rows: stack(l.Rows), slots: stack(l.HostBlocks),
		running: make([]*Sequence, 0, l.Rows), prompts: make([]prompt, 0, l.Rows),
	}
	for i := range s.batches {
		s.batches[i].Items = make([]Item, 0, l.Rows)
	}
	return s
}

// stack returns the numbers below n, 0 on top.
func stack(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = int32(n - 1 - i)
	}
	return s
}

// Waiting returns how many sequences are queued.
func (s *Scheduler) Waiting() int { return s.waiting }

// QueuedTokens returns how many tokens the queued sequences have.
func (s *Scheduler) QueuedTokens() int { return s.queued }

// Running returns how many sequences have a row of the block table.
func (s *Scheduler) Running() int { return s.limits.Rows - len(s.rows) }

// Counters returns what happened so far.
func (s *Scheduler) Counters() Counters { return s.counters }

func blocksFor(tokens int) int { return (tokens + BlockTokens - 1) / BlockTokens }

// Add queues a sequence.
func (s *Scheduler) Add(q *Sequence) error {
	switch {
	case len(q.Tokens) == 0 || q.MaxLen <= len(q.Tokens):
		return ErrEmpty
	case q.Priority < MinPriority || q.Priority > MaxPriority:
		return ErrPriority
	case blocksFor(q.MaxLen) > s.blocks.Total():
		return ErrNeverFits
	}
	if q.payer = q.Principal; q.payer == nil {
		q.payer = &s.nobody
	}
	s.enter(q.payer)
	q.prompt, q.class = len(q.Tokens), q.Priority-MinPriority
	s.wait(q)
	if l := q.Leader; l != nil && l != q && l.pending() && q.follows(l) {
		l.followers, l.leads = append(l.followers, q), true
		q.place = following
	} else {
		s.enqueue(q)
	}
	s.dues.set(q)
	return nil
}

// pending reports whether q was added and is still to compute its prompt for the
// first time: others may wait for that.
func (q *Sequence) pending() bool {
	return q.payer != nil && q.State != Finished && len(q.Tokens) == q.prompt && q.run == 0
}

// follows reports whether q may start from l's prompt.
func (q *Sequence) follows(l *Sequence) bool {
	return q.Root == l.Root && q.prompt == l.prompt && slices.Equal(q.Tokens[:q.prompt], l.Tokens[:l.prompt])
}

// Cancel ends a sequence in any state; it gives everything back at once.
func (s *Scheduler) Cancel(q *Sequence) { s.finish(q, Cancelled) }

// Learn takes note of how long the device took for a batch.
func (s *Scheduler) Learn(b *Batch, took time.Duration) { s.cost.learn(b.load, took) }

// Predict returns how long the device would take for positions [start, start+n) of
// a prompt, in steps of at most so many tokens.
func (s *Scheduler) Predict(start, n, step int) time.Duration {
	ns := 0.0
	for end := start + n; start < end; start += step {
		var l load
		l.add(start, min(step, end-start), 0)
		ns += s.cost.predict(l)
	}
	return time.Duration(ns)
}

// wait makes q Waiting, with nothing to hold it yet.
func (s *Scheduler) wait(q *Sequence) {
	q.State, q.place, q.queued = Waiting, parked, len(q.Tokens)
	s.waiting++
	s.queued += q.queued
}

// unwait undoes wait and takes q from what holds it.
func (s *Scheduler) unwait(q *Sequence) {
	s.waiting--
	s.queued -= q.queued
	switch q.place {
	case inLine:
		s.queue.remove(q)
	case following:
		l := q.Leader
		l.followers = slices.DeleteFunc(l.followers, func(f *Sequence) bool { return f == q })
	}
}

// enqueue puts a waiting sequence into its principal's line.
func (s *Scheduler) enqueue(q *Sequence) {
	q.place, q.lack = inLine, 0
	s.queue.add(q, max(s.now, q.Arrived))
}

// dismiss lets those that wait for q's prompt go on without it, or with it.
func (s *Scheduler) dismiss(q *Sequence) {
	for _, f := range q.followers {
		f.class = max(f.class, q.class)
		s.enqueue(f)
	}
	clear(q.followers)
	q.followers, q.leads = q.followers[:0], false
}

// release takes from a running sequence all that it holds on the device. Items
// of it that are under way become stale.
func (s *Scheduler) release(q *Sequence) {
	for _, b := range slices.Backward(q.Blocks) { // so that a prefix is evicted after what continues it
		s.blocks.Release(b)
	}
	q.payer.blocks -= len(q.Blocks)
	q.Blocks, q.Sent, q.sealed = q.Blocks[:0], 0, 0
	s.releaseWindow(q)
	s.rows = append(s.rows, q.Row)
	s.running[q.at] = nil
	s.holes++
	q.payer.rows--
	q.run++
	if q.alone {
		s.retries = slices.DeleteFunc(s.retries, func(r *Sequence) bool { return r == q })
	}
}

// free gives q's host slots back.
func (s *Scheduler) free(q *Sequence) {
	s.slots = append(s.slots, q.saved...)
	q.saved = q.saved[:0]
}

func (s *Scheduler) finish(q *Sequence, why Reason) {
	switch q.State {
	case Running:
		s.release(q)
	case Waiting:
		s.unwait(q)
		s.free(q)
	case Finished:
		return
	}
	q.State, q.Reason = Finished, why
	s.dues.drop(q)
	s.leave(q.payer)
	s.dismiss(q)
}
