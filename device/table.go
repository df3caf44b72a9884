package device

import "fmt"

// Table is the device's copy of the block table: one row of block IDs per
// sequence, changed by the diffs of each step.
type Table struct {
	blocks []int32
	stride int
	pool   int32 // blocks of the pool
}

// NewTable returns an empty table for o.MaxRows sequences.
func NewTable(o Options) *Table {
	return &Table{blocks: make([]int32, o.MaxRows*o.MaxBlocks()), stride: o.MaxBlocks(), pool: int32(o.Blocks)}
}

// Row returns the blocks of row r, in order of position.
func (t *Table) Row(r int32) []int32 {
	return t.blocks[int(r)*t.stride : (int(r)+1)*t.stride]
}

// Apply writes the diffs. A diff outside of the table, or a block outside of
// the pool, is a bug of the caller and reported as an error.
func (t *Table) Apply(diffs []TableDiff) error {
	for _, d := range diffs {
		if d.Row < 0 || int(d.Row) >= len(t.blocks)/t.stride || d.Start < 0 || int(d.Start)+len(d.Blocks) > t.stride {
			return fmt.Errorf("device: BUG: table diff of row %d, entries [%d, %d)", d.Row, d.Start, int(d.Start)+len(d.Blocks))
		}
		for _, b := range d.Blocks {
			if b < 0 || b >= t.pool {
				return fmt.Errorf("device: BUG: block %d is not in the pool of %d", b, t.pool)
			}
		}
		copy(t.Row(d.Row)[d.Start:], d.Blocks)
	}
	return nil
}

// Check reports what is wrong with the flat arrays of a step: a program calls
// it before it touches memory. vocab is the number of token IDs.
func (in *StepInput) Check(o Options, vocab int) error {
	n := len(in.Tokens)
	if n == 0 || n > o.MaxTokens || len(in.Positions) != n || len(in.Slots) != n || len(in.Spans) > o.MaxRows {
		return fmt.Errorf("device: BUG: step of %d tokens, %d positions, %d slots, %d spans", n, len(in.Positions), len(in.Slots), len(in.Spans))
	}
	next := int32(0)
	for _, s := range in.Spans {
		if s.Start != next || s.Tokens <= 0 || s.Row < 0 || int(s.Row) >= o.MaxRows {
			return fmt.Errorf("device: BUG: span %+v after %d tokens", s, next)
		}
		next += s.Tokens
	}
	if int(next) != n {
		return fmt.Errorf("device: BUG: spans cover %d of %d tokens", next, n)
	}
	for i, tok := range in.Tokens {
		slots := int32(o.Blocks) * BlockTokens
		if tok >= int32(vocab) || tok < Sampled || in.Positions[i] < 0 || int(in.Positions[i]) >= o.ContextLength || in.Slots[i] < 0 || in.Slots[i] >= slots {
			return fmt.Errorf("device: BUG: token %d at position %d, slot %d", tok, in.Positions[i], in.Slots[i])
		}
	}
	if len(in.Logits) > o.MaxRows {
		return fmt.Errorf("device: BUG: logits of %d positions; most are %d", len(in.Logits), o.MaxRows)
	}
	last := int32(-1)
	for _, i := range in.Logits {
		if i <= last || int(i) >= n {
			return fmt.Errorf("device: BUG: logits of token %d after %d", i, last)
		}
		last = i
	}
	return nil
}
