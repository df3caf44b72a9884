package kvcache

import "fmt"

// ledger keeps the books of one kind of blocks: which are free, which are held,
// and which nobody holds but are kept for their contents.
type ledger struct {
	name   string // in front of "block" where a bug is reported
	blocks []block
	free   []int32 // stack of free blocks
	cached int     // blocks on the eviction list
	oldest int32   // head of the eviction list
	newest int32   // its tail
}

// block is the books of one block: 16 bytes.
type block struct {
	refs  int32
	older int32 // neighbours on the eviction list, while cached
	newer int32
	// kin is, in the full pool, the number of indexed blocks that follow this
	// one; in the window pool, the block of the full pool that it accompanies,
	// or none.
	kin int32
}

func newLedger(n int, name string, kin int32) ledger {
	l := ledger{name: name, blocks: make([]block, n), free: make([]int32, n), oldest: none, newest: none}
	for i := range l.free {
		l.free[i] = int32(n - 1 - i) // block 0 is handed out first
		l.blocks[i].kin = kin
	}
	return l
}

// available returns how many blocks alloc can give.
func (l *ledger) available() int { return len(l.free) + l.cached }

// alloc takes a block with one reference: a free one, else the least recently
// used of the cached, of whose contents the caller must then dispose.
func (l *ledger) alloc() (b int32, evicted, ok bool) {
	if n := len(l.free); n > 0 {
		b = l.free[n-1]
		l.free = l.free[:n-1]
	} else if l.oldest != none {
		b, evicted = l.oldest, true
		l.unlink(b)
	} else {
		return 0, false, false
	}
	l.blocks[b].refs = 1
	return b, evicted, true
}

// retain adds a reference to a block in use.
func (l *ledger) retain(b int32) {
	if l.blocks[b].refs <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: retain of unused %sblock %d", l.name, b))
	}
	l.blocks[b].refs++
}

// take adds a reference to a block that is in use or cached.
func (l *ledger) take(b int32) {
	e := &l.blocks[b]
	if e.refs == 0 {
		l.unlink(b)
	}
	e.refs++
}

// release drops a reference and reports whether it was the last. The caller then
// keeps the block, or puts it back.
func (l *ledger) release(b int32) (last bool) {
	e := &l.blocks[b]
	if e.refs <= 0 {
		panic(fmt.Sprintf("kvcache: BUG: release of unused %sblock %d", l.name, b))
	}
	e.refs--
	return e.refs == 0
}

// putBack frees a block that nobody holds.
func (l *ledger) putBack(b int32) { l.free = append(l.free, b) }

// keep puts a block that nobody holds at the new end of the eviction list.
func (l *ledger) keep(b int32) {
	e := &l.blocks[b]
	e.older, e.newer = l.newest, none
	if l.newest == none {
		l.oldest = b
	} else {
		l.blocks[l.newest].newer = b
	}
	l.newest = b
	l.cached++
}

// unlink takes a block off the eviction list.
func (l *ledger) unlink(b int32) {
	e := &l.blocks[b]
	if e.older == none {
		l.oldest = e.newer
	} else {
		l.blocks[e.older].newer = e.newer
	}
	if e.newer == none {
		l.newest = e.older
	} else {
		l.blocks[e.newer].older = e.older
	}
	l.cached--
}

// dropCached frees the blocks that are kept for their contents.
func (l *ledger) dropCached() {
	for l.oldest != none {
		b := l.oldest
		l.unlink(b)
		l.putBack(b)
	}
}

// check reports a block in two states or in none, or a list that disagrees with
// the counts. known says which blocks have contents that can be found.
func (l *ledger) check(known func(int32) bool) error {
	state := make([]string, len(l.blocks))
	for _, b := range l.free {
		if state[b] != "" || l.blocks[b].refs != 0 || known(b) {
			return fmt.Errorf("kvcache: BUG: %sblock %d is free and %s, with %d references", l.name, b, state[b], l.blocks[b].refs)
		}
		state[b] = "free"
	}
	listed, last := 0, int32(none)
	for b := l.oldest; b != none; b = l.blocks[b].newer {
		if state[b] != "" || l.blocks[b].refs != 0 || !known(b) || l.blocks[b].older != last {
			return fmt.Errorf("kvcache: BUG: %sblock %d is cached and %s, with %d references", l.name, b, state[b], l.blocks[b].refs)
		}
		state[b], last = "cached", b
		listed++
	}
	if listed != l.cached || last != l.newest {
		return fmt.Errorf("kvcache: BUG: %d %sblocks on the eviction list, %d counted", listed, l.name, l.cached)
	}
	for b, e := range l.blocks {
		if e.refs < 0 || (e.refs == 0) == (state[b] == "") {
			return fmt.Errorf("kvcache: BUG: %sblock %d has %d references and is %q", l.name, b, e.refs, state[b])
		}
	}
	return nil
}
