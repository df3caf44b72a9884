package ptxemu

import "sync"

// lanes is a row of register values, one a lane, zero-extended from the
// register's width.
type lanes [32]uint64

// allLanes is the mask of a full warp.
const allLanes = 1<<32 - 1

func (r *lanes) fill(v uint64) {
	for l := range r {
		r[l] = v
	}
}

// An op does an instruction for the lanes of a mask, which is never empty.
type op func(w *warp, m uint32)

type instKind uint8

const (
	instPlain   instKind = iota
	instBranch           // to target
	instTable            // brx.idx: row src, table
	instCall             // to target, after do has passed the arguments
	instReturn           // exit of the thread where nothing was called
	instExit             //
	instSync             // do runs once all lanes concerned have arrived
	instBarrier          // as instSync, then do makes the warp wait
)

// inst is a compiled instruction.
type inst struct {
	do      op
	kind    instKind
	negated bool
	pred    int32 // -1: none
	target  int32
	row     int32 // of a table's index, or of a member mask
	needs   syncNeeds
	table   []int32
	from    *instr
	in      *function
}

// syncNeeds says which lanes an instSync or instBarrier waits for.
type syncNeeds uint8

const (
	needMembers syncNeeds = iota // the lanes of the mask in row that have not exited
	needWarp                     // every lane that the warp began with; none may have exited
	needFull                     // all 32
	needNone                     // any, as they come
)

// program is a kernel with the functions that it calls, ready to run. It is
// never changed after Load, but for the blocks that it keeps.
type program struct {
	fn       *function
	code     []inst
	rows     int
	preds    int
	consts   []constRow
	specials []specialRow
	shared   int       // static bytes
	local    int       // bytes a thread
	spare    sync.Pool // of *block
}

type constRow struct {
	row   int
	value uint64
}

type specialRow struct {
	row  int
	name string
}
