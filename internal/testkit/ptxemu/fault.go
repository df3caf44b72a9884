package ptxemu

import "fmt"

// LoadError says why PTX text was not accepted: bad syntax, or an instruction,
// modifier, type or directive that the emulator does not know.
type LoadError struct {
	Line   int // of the PTX text, from 1
	Reason string
}

func (e *LoadError) Error() string { return fmt.Sprintf("ptxemu: line %d: %s", e.Line, e.Reason) }

// FaultKind is what a kernel did wrong.
type FaultKind int

const (
	// OutOfBounds is an access outside every live allocation, or outside the
	// block's shared, the thread's local or the launch's parameter memory.
	OutOfBounds FaultKind = iota + 1
	// Misaligned is an address that is no multiple of the access's size.
	Misaligned
	// Uninitialised is a read of shared memory that nobody wrote, or whose
	// cp.async has not been waited for.
	Uninitialised
	// Race is two accesses of one shared byte by different threads, one of them
	// a write, with no barrier between them.
	Race
	// Divergence is a warp-wide instruction (mma, ldmatrix, shfl, bar.sync, …)
	// that not all of its lanes reach, or a lane outside its own member mask.
	Divergence
	// Deadlock is a barrier that can no longer complete.
	Deadlock
	// StepLimit is a block that ran more instructions than it may.
	StepLimit
	// Trap is a trap instruction or a failed assertion.
	Trap
	// Undefined is an operand for which the instruction has no defined result:
	// an integer division by zero, a bad barrier number.
	Undefined
	// Order is an access before griddepcontrol.wait to what the grid before
	// this one may still be using.
	Order
)

var faultNames = [...]string{"", "out of bounds", "misaligned", "uninitialised", "race", "divergence", "deadlock",
	"step limit", "trap", "undefined", "order"}

func (k FaultKind) String() string {
	if k > 0 && int(k) < len(faultNames) {
		return faultNames[k]
	}
	return fmt.Sprintf("FaultKind(%d)", int(k))
}

// Fault is an error of a running kernel. The launch ended at it; memory holds
// what was written until then.
type Fault struct {
	Kind    FaultKind
	Kernel  string
	Block   Dim3 // ctaid
	Thread  Dim3 // tid of the first lane concerned
	Line    int  // of the PTX text, from 1
	Source  int  // line of the CUDA source, 0 where the PTX has no line table
	Instr   string
	Address uint64 // for faults of memory
	Detail  string
}

func (f *Fault) Error() string {
	at := fmt.Sprintf("PTX line %d", f.Line)
	if f.Source > 0 {
		at += fmt.Sprintf(", source line %d", f.Source)
	}
	return fmt.Sprintf("ptxemu: %s: %s in %s, block %v thread %v, %s: %s", f.Kind, f.Detail, f.Kernel, f.Block, f.Thread, at, f.Instr)
}
