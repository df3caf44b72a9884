package scheduler

import "errors"

// State is where a sequence is in its life.
type State uint8

// The states of a sequence.
const (
	Waiting  State = iota // queued, holds no blocks; perhaps host slots
	Running               // has a row of the block table
	Finished              // has given everything back
)

// Reason says why a sequence finished.
type Reason uint8

// The reasons why a sequence finishes.
const (
	None      Reason = iota
	Stopped          // drew one of its stop tokens
	Length           // reached MaxLen
	Cancelled        // was asked to end
	Failed           // its logits held no number to choose from, twice
	Expired          // QueueBy or FinishBy passed
)

// The range of Sequence.Priority, both included.
const (
	MinPriority = -8
	MaxPriority = 8
	classes     = MaxPriority - MinPriority + 1
)

// ErrPriority is returned by Add for a priority out of range.
var ErrPriority = errors.New("scheduler: the priority is not between -8 and 8")

// Principal is who pays for sequences, and what fair share is measured by. The
// caller makes one per payer, keeps it, and uses it with one scheduler; a zero
// Principal is ready.
type Principal struct {
	// Weight is the principal's share beside others'. The default is 1; what is
	// out of [1/1024, 1024] is taken as the nearer end.
	Weight float64

	weight float64 // Weight, made fit
	served float64 // virtual tokens, by weight: prompt tokens and outputCost for each drawn
	live   int     // sequences waiting or running
	rows   int     // of the block table that they have
	blocks int     // that they have; shared ones count for each
	at     int     // place among the scheduler's active principals, while live > 0
	lines  [classes]*line
}

// outputCost is what a drawn token counts beside a prompt token, as in "Fairness
// in Serving Large Language Models" (Sheng et al., OSDI 2024).
const outputCost = 2

func (p *Principal) charge(tokens int) { p.served += float64(tokens) / p.weight }

// Sequence is one growing list of tokens with its block table. The caller makes
// it with the fields above State set; from Add on it belongs to the scheduler
// until it is Finished, and is used once.
type Sequence struct {
	Tokens []int32 // the prompt, at least one token; then what was drawn
	MaxLen int     // most tokens, prompt included; more than the prompt has
	Stop   []int32 // token IDs that end the sequence
	// Window has its blocks of the window pool, if there is one: those of
	// Blocks[WindowFrom:] that a step has reached. WindowSent is as Sent, counted
	// in blocks of the sequence.
	Window     []int32
	WindowFrom int
	WindowSent int

	Root         int32      // identity under which its blocks may be shared
	PromptLogits bool       // the logits of all prompt positions are wanted
	Principal    *Principal // who pays; nil is one shared by all that have none
	Leader       *Sequence  // starts as a fork of this one's prompt, which is its own; nil if of none
	Priority     int        // higher runs first; MinPriority to MaxPriority
	Arrived      int64      // ns of Budget.Now's clock: order within a principal's queue
	QueueBy      int64      // ns: not admitted by then, it ends as Expired; 0 for never
	FinishBy     int64      // ns: not finished by then, it ends as Expired; 0 for never
	Owner        any        // the caller's, to find its own again

	State     State
	Reason    Reason
	Row       int32   // row of the device's block table while Running
	Computed  int     // tokens whose KV is in the blocks, by the steps applied
	Cached    int     // tokens found computed when it was first admitted, a leader's too
	Preempted int     // how often it gave its blocks back to run again
	Blocks    []int32 // block table: position p is in Blocks[p/BlockTokens]

	// Sent is how many of Blocks the device's table knows; the engine sends
	// the rest as a diff with the next step and moves it.
	Sent int

	next   int        // first position that no launched step computes
	run    uint32     // how often it has lost its blocks; items of older runs are stale
	draws  uint8      // tokens of it that launched steps will draw
	place  place      // what holds it while Waiting
	alone  bool       // computed again after NaN, has drawn nothing since: runs in steps of its own
	leads  bool       // has followers
	sealed int        // how many of Blocks others may find
	payer  *Principal // never nil

	suspect       bool        // drew NaN once: never matched, never sealed, never offloaded
	admitted      bool        // was Running before
	split         bool        // counted in Counters.Splits
	prompt        int         // tokens when it was added
	reported      int         // prompt positions whose logits were computed, with PromptLogits
	queued        int         // tokens it counts in Scheduler.QueuedTokens, while Waiting
	lack          int         // blocks it lacked when it was last looked at; 0: not yet
	class         int         // Priority-MinPriority, raised by age
	at            int         // index in Scheduler.running, while Running
	due           int         // place in the heap of deadlines, from 1; 0: not there
	ahead, behind *Sequence   // neighbours in its line
	followers     []*Sequence // that wait for its prompt
	saved         []int32     // host slots of its blocks from savedFrom on
	savedFrom     int
	savedLen      int // tokens whose KV is in them and the blocks before
}

// place says what holds a sequence that is Waiting.
type place uint8

const (
	parked    place = iota // nothing, until the steps that draw for it are applied
	inLine                 // its principal's line
	following              // its leader
)

// known is how many tokens q will have when the launched steps are applied.
func (q *Sequence) known() int { return len(q.Tokens) + int(q.draws) }

// matchable reports whether q may use what other sequences have computed.
func (q *Sequence) matchable() bool {
	return !q.suspect && !(q.PromptLogits && q.reported < q.prompt)
}
