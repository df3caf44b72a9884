// Package engine runs a model: it owns the step loop, and with it time and
// goroutines. HTTP handlers and the command line reach the loop only through
// Generate, which hands back one Generation per request.
//
// One goroutine, the step loop, owns the scheduler, the block pool and the
// block tables; everything else talks to it through bounded queues.
package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// Info describes the model that an engine serves.
type Info struct {
	ID            string    // the name that clients use, by default the file's base name
	Created       time.Time // the model file's modification time
	ContextLength int       // most tokens of prompt and completion together
	VocabSize     int
	Device        string // backend name: "cpu" or "ref"
	BlockTokens   int    // token positions of a KV block
	Class         string // numerics class, docs/NUMERICS.md
	Exact         bool   // of a class whose bits do not depend on the batch: what is resumed goes on as if it had not stopped
}

// Request is one prompt, and the completions to make of it.
type Request struct {
	ID        string  // opaque, for logs only
	Tokens    []int32 // the prompt; not empty
	MaxTokens int     // most tokens of a completion; 0 means up to the context's end
	N         int     // completions, each with draws of its own; 0 means 1, most MaxChoices
	Params    sampler.Params
	Stop      []string // a completion ends before the first of these
	StopIDs   []int32  // token IDs that end a completion, beside the model's own
	IgnoreEOS bool     // go on past the model's end tokens, to MaxTokens

	// What the text of a completion has beside that of its tokens.
	Continues bool // the space that some vocabularies put before a text: it goes on the prompt's
	Specials  bool // the names of control tokens
	KeepStop  bool // the stop string that ended it, or the text of the token that did

	TokenIDs       bool // report the ID of each made token
	Logprobs       bool // report the log-probability of each made token
	PromptLogprobs bool // and of each token of the prompt, none of which then comes from the cache
	TopLogprobs    int  // beside each, this many of the likeliest tokens: at most sampler.MaxLogprobs

	// Of a session's turn. Journal is told of each token drawn; what was drawn
	// before the turn was interrupted is in Drawn: it comes out of Next again,
	// first. Keep has full KV blocks written to the store, and read from there.
	Journal Journal
	Drawn   []int32
	Keep    bool

	// Principal is who pays: principals share the engine fairly, however much
	// one of them asks for. From the authenticated identity, never from a body.
	Principal string
	Weight    float64       // its share beside other principals'; 0 means 1
	Priority  int           // a higher one runs first; -MaxPriority to MaxPriority
	QueueTime time.Duration // most time in the queue; 0 for no limit
	Time      time.Duration // most time in all; 0 for no limit
}

// Limits of a Request.
const (
	MaxChoices  = 128
	MaxPriority = 8
)

// FinishReason says why a generation ended, in OpenAI's words.
type FinishReason string

// The reasons why a generation ends.
const (
	FinishStop   FinishReason = "stop"   // an end-of-generation token or a stop string
	FinishLength FinishReason = "length" // MaxTokens or the context's end
)

// Usage counts a generation's tokens.
type Usage struct {
	PromptTokens     int
	CompletionTokens int
	CachedTokens     int // prompt tokens whose KV was reused
}

// Delta is the next piece of a completion.
type Delta struct {
	Text   string       // complete UTF-8; may be empty
	Finish FinishReason // set on the last delta only
	Tokens int          // of the completion, up to and with this piece
	// TokenIDs, if asked for, are all that were drawn since the delta before, one
	// that ended the completion too. Their text may come later.
	TokenIDs []int32
	// Logprobs, if asked for, are of the tokens behind Text, in order. Tokens
	// without text of their own are with the next that has one; a token that
	// ended the completion is not among them.
	Logprobs []TokenLogprob
}

// TokenLogprob is a token in its place, and how likely the model found it.
type TokenLogprob struct {
	Token   int32
	Logprob float64
	Rank    int               // its place among all by likelihood, 1 the first; of equals the last
	Top     []sampler.Logprob // the likeliest, in falling order, as many as asked for
}

// Errors of Generate and of Generation.Next.
var (
	// ErrBusy is returned when the queue is full; the client may retry later.
	ErrBusy = errors.New("engine: the queue is full")
	// ErrStopped is returned once the engine drains or is closed.
	ErrStopped = errors.New("engine: shutting down")
	// ErrQueueTime is returned when a request's QueueTime is over and it has not begun.
	ErrQueueTime = errors.New("engine: the request's time in the queue is over")
	// ErrTime is returned when a request's Time is over.
	ErrTime = errors.New("engine: the request's time is over")
	// ErrPrincipals is returned when more principals than the prefix index can
	// tell apart have sent requests since the start.
	ErrPrincipals = errors.New("engine: too many principals since the start; start it again, or give them fewer names")
	// ErrDevice is returned when the backend failed on this request's step.
	ErrDevice = errors.New("engine: the device failed")
	// ErrGivenUp is returned, beside ErrDevice, once the device is given up: no request
	// is taken until the process is started again.
	ErrGivenUp = errors.New("engine: the device is given up")
)

// ContextLengthError is returned when a prompt, with the completion that was
// asked for, does not fit the context.
type ContextLengthError struct {
	Prompt    int  // tokens of the prompt
	MaxTokens int  // completion tokens that were asked for
	Limit     int  // tokens that the context holds
	AtLeast   bool // the prompt has more than Prompt; nobody counted on
}

func (e *ContextLengthError) Error() string {
	least := ""
	if e.AtLeast {
		least = "at least "
	}
	return fmt.Sprintf("engine: the context holds %d tokens, but the prompt has %s%d and the completion asks for %d",
		e.Limit, least, e.Prompt, e.MaxTokens)
}

// Stats is a snapshot of an engine's counters and gauges.
type Stats struct {
	Waiting          int           // requests queued
	Running          int           // sequences in the batch
	QueuedTokens     int           // tokens of the requests queued
	BlocksTotal      int           // KV blocks of the pool
	BlocksUsed       int           // KV blocks held by sequences
	BlocksCached     int           // KV blocks kept for their contents
	Evictions        uint64        // blocks whose contents made room
	Steps            uint64        // forward passes run
	PromptTokens     uint64        // prompt tokens prefilled
	CachedTokens     uint64        // prompt tokens found computed
	CompletionTokens uint64        // tokens made
	Cancelled        uint64        // requests whose client left
	LastStepAge      time.Duration // since the loop last made progress; 0 when idle
	StoreBytes       int64         // KV blocks on the disk
	StoreLimit       int64         // the most that they may take; 0 without a store
	CorruptBlocks    uint64        // that did not verify when they were read from there
	DeviceFaults     uint64        // times that the device lost everything on it
	DeviceRebuilds   uint64        // times that it was made anew
	Replayed         uint64        // sequences that ran then, and were computed again
	scheduler.Counters
	TierStats
}
