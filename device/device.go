// Package device is the contract between the engine and what computes: a
// Backend compiles a graph into a Program, whose Pool holds the KV blocks, and
// each step has two phases. Launch is the forward pass; Sample draws the next
// tokens, and comes separately because a penalty or a grammar must see token N
// before it can say what token N+1 may be.
//
// A Program is used by one goroutine, the step loop; its memory is stated by
// Plan before anything is loaded.
package device

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/weights"
)

// BlockTokens is how many token positions one KV block holds.
const BlockTokens = 32

// PoolKind names one of the pools of KV blocks that a program may have.
type PoolKind uint8

// The kinds of pools. A layer whose tokens see all positions before them lives
// in the full pool, one with a window in the window pool, whose blocks are given
// back once no token to come sees them. A sequence has a block table of each kind.
const (
	Full PoolKind = iota
	Window
	PoolKinds = iota
)

// KindOf returns the pool that a layer lives in.
func KindOf(l graph.KVLayer) PoolKind {
	if l.Window > 0 {
		return Window
	}
	return Full
}

// Sampled stands in StepInput.Tokens for "the token sampled last for this
// table row", which may still be on the device.
const Sampled int32 = -1

// NoToken stands in Output.Tokens for a row whose logits held no number to
// choose from (NaN, or nothing above -Inf).
const NoToken int32 = -1

// ErrNoMemory is returned when a plan does not fit the memory there is.
var ErrNoMemory = errors.New("device: not enough memory")

// Options says how a graph is compiled.
type Options struct {
	// Threads is the number of compute threads of the CPU backend.
	Threads int
	// ContextLength is the most positions of one sequence.
	ContextLength int
	// MaxRows is the most sequences in a step, the rows of the block table, and
	// the most positions of a step whose logits are computed.
	MaxRows int
	// MaxTokens is the most tokens in a step.
	MaxTokens int
	// Blocks is the number of KV blocks of each pool. That of the window pool is
	// 0 where no layer has a window.
	Blocks [PoolKinds]int
	// Window is how many positions a token sees in layers with a window; 0 if
	// there are none.
	Window int
	// KV is the type of stored keys and values: F16, F32 or Q8_0, of which a backend
	// may take some.
	KV graph.DType
	// Progress, if set, is told how many bytes of weights are ready.
	Progress func(done, total int64)
}

// MaxBlocks is the length of one row of the block table.
func (o Options) MaxBlocks() int { return (o.ContextLength + BlockTokens - 1) / BlockTokens }

// CheckKV reports head dimensions that KV of type t cannot hold: quantised, they
// share scales in blocks that a head has a whole number of.
func CheckKV(g *graph.Graph, t graph.DType) error {
	for i, l := range g.KV {
		if n := t.BlockElems(); l.HeadDim%n != 0 {
			return fmt.Errorf("device: a KV cache of %s needs heads of a multiple of %d dimensions, those of KV layer %d have %d: use F16", t, n, i, l.HeadDim)
		}
	}
	return nil
}

// PlanItem is one use of memory.
type PlanItem struct {
	Name  string
	Bytes int64
}

// Plan is the memory that a compiled graph will hold, counted before loading.
type Plan []PlanItem

// Total returns the plan's sum in bytes.
func (p Plan) Total() int64 {
	var n int64
	for _, it := range p {
		n += it.Bytes
	}
	return n
}

// Backend is a kind of device.
type Backend interface {
	// Name is the backend's name on the command line.
	Name() string
	// Plan counts memory; it loads nothing.
	Plan(g *graph.Graph, w *weights.File, o Options) (Plan, error)
	// Compile loads the weights of g from w and returns a program. w must stay
	// open as long as the program.
	Compile(ctx context.Context, g *graph.Graph, w *weights.File, o Options) (Program, error)
}

// Program is a compiled graph with its weights on the device. It is not safe
// for concurrent use.
type Program interface {
	// Class is the numerics class (docs/NUMERICS.md).
	Class() string
	// Pool is the program's KV pool of a kind; one of no blocks where no layer
	// is of that kind.
	Pool(PoolKind) Pool
	// Overlaps reports whether a launch runs beside the host. The step loop then
	// launches step N+1 before it reads the tokens of step N, and asks for
	// Sample(N+1) once it has: two steps are under way at a time.
	Overlaps() bool
	// Launch starts the forward pass of one step. in, and what it points to,
	// belongs to the program until the ticket is done.
	Launch(in *StepInput) (Ticket, error)
	// Sample draws a token for each row of logits of the launch behind t, and
	// remembers it as the Sampled token of the table row, of several rows of logits that it
	// has the last. late has one entry per row of logits.
	Sample(t Ticket, late *sampler.Late) (Ticket, error)
	// Close frees the device's memory.
	Close() error
}

// Ticket is work under way.
type Ticket interface {
	// Wait blocks until the work is done. The output is valid until the next
	// Launch, where launches overlap until the one after that; it is nil for
	// block copies.
	Wait() (*Output, error)
}

// Done is the ticket of work that was over when it was asked for.
type Done struct{}

// Wait implements Ticket.
func (Done) Wait() (*Output, error) { return nil, nil }

// Pool is the device memory of the KV blocks. Work on it is ordered with
// Launch: a step sees what was asked for before it.
type Pool interface {
	// BlockBytes is the size of one block.
	BlockBytes() int
	// Blocks is the number of blocks.
	Blocks() int
	// Copy copies block src to dst.
	Copy(src, dst int32) (Ticket, error)
	// Save copies a block to host memory of BlockBytes.
	Save(block int32, host []byte) (Ticket, error)
	// Load copies host memory of BlockBytes to a block.
	Load(host []byte, block int32) (Ticket, error)
}

// Mapped is a pool whose blocks lie in host memory: what is read from a disk goes
// straight into a block that no step sees yet, and a block that no step writes to
// is written to a disk without a copy.
type Mapped interface {
	// Bytes is a block's memory, valid until the program is closed.
	Bytes(block int32) []byte
}

// StepInput is one step's batch as flat arrays. Tokens of one sequence stand
// together, in ascending position; a sequence has one span.
type StepInput struct {
	// Per token.
	Tokens    []int32 // token IDs, or Sampled
	Positions []int32 // absolute position in the sequence
	// Slots says where KV is written in each pool: block·BlockTokens + offset.
	// Those of a pool without blocks are empty.
	Slots [PoolKinds][]int32

	// Spans are the sequences of the step.
	Spans []Span

	// Logits lists the tokens, as indexes into Tokens in ascending order,
	// whose logits are needed: at most Options.MaxRows.
	Logits []int32

	// Tables lists what changed in the block table since the last launch.
	Tables []TableDiff

	// KeepLogits asks for the logits themselves in the output.
	KeepLogits bool
}

// Span is one sequence's part of a step.
type Span struct {
	Row    int32 // row of the block table
	Start  int32 // first token, index into Tokens
	Tokens int32 // tokens in this step
}

// TableDiff sets Blocks at entries [Start, …) of one row of the block table of
// a kind. Entries that no token sees again keep what they had.
type TableDiff struct {
	Kind   PoolKind
	Row    int32
	Start  int32
	Blocks []int32
}

// Output is what a step gives.
type Output struct {
	// Tokens has, after Sample, one token per entry of StepInput.Logits, or NoToken.
	Tokens []int32
	// Logits has one row per entry of StepInput.Logits if KeepLogits was set.
	Logits [][]float32
}
