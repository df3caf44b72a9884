package scheduler

// State is where a sequence is in its life.
type State uint8

// The states of a sequence.
const (
	Waiting  State = iota // queued, holds no blocks
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
	Failed           // its logits held no number to choose from
)

// Sequence is one growing list of tokens with its block table. The caller
// makes it with Tokens, MaxLen and Stop set; from Add on it belongs to the
// State until it is Finished.
type Sequence struct {
	Tokens []int32 // the prompt, then what was drawn
	MaxLen int     // most tokens, prompt included; more than the prompt has
	Stop   []int32 // token IDs that end the sequence
	Root   int32   // identity under which its blocks may be shared
	Owner  any     // the caller's, to find its own again

	State    State
	Reason   Reason
	Computed int     // tokens whose KV is in the blocks
	Cached   int     // of them, tokens found computed when it was first admitted
	Blocks   []int32 // block table: position p is in Blocks[p/BlockTokens]
	Row      int32   // row of the device's block table while Running

	// Sent is how many of Blocks the device's table knows; the engine sends
	// the rest as a diff with the next step and moves it.
	Sent int
	// sealed is how many of Blocks others may find.
	sealed int
	// Preempted counts how often the sequence gave its blocks back to run again.
	Preempted int
}

// decoding reports whether all but the newest token is computed.
func (s *Sequence) decoding() bool { return s.Computed == len(s.Tokens)-1 }
