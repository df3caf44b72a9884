package device

import "fmt"

// Table is the device's copy of the block tables: for each kind of pool, one
// row of block IDs per sequence, changed by the diffs of each step.
type Table struct {
	blocks [PoolKinds][]int32
	pool   [PoolKinds]int // blocks of the pool
	stride int
}

// NewTable returns empty tables for o.MaxRows sequences.
func NewTable(o Options) *Table {
	t := &Table{stride: o.MaxBlocks(), pool: o.Blocks}
	for kind := range t.blocks {
		t.blocks[kind] = make([]int32, o.MaxRows*t.stride)
	}
	return t
}

// Row returns the blocks of row r, in order of position.
func (t *Table) Row(kind PoolKind, r int32) []int32 {
	return t.blocks[kind][int(r)*t.stride : (int(r)+1)*t.stride]
}

// Apply writes the diffs. A diff outside of the table, or a block outside of
// the pool, is a bug of the caller and reported as an error.
func (t *Table) Apply(diffs []TableDiff) error {
	for _, d := range diffs {
		if d.Kind >= PoolKinds || d.Row < 0 || int(d.Row) >= len(t.blocks[d.Kind])/t.stride || d.Start < 0 || int(d.Start)+len(d.Blocks) > t.stride {
			return fmt.Errorf("device: BUG: table diff of row %d, entries [%d, %d)", d.Row, d.Start, int(d.Start)+len(d.Blocks))
		}
		for _, b := range d.Blocks {
			if b < 0 || int(b) >= t.pool[d.Kind] {
				return fmt.Errorf("device: BUG: block %d is not in the pool of %d", b, t.pool[d.Kind])
			}
		}
		copy(t.Row(d.Kind, d.Row)[d.Start:], d.Blocks)
	}
	return nil
}

// Check reports what is wrong with the flat arrays of a step: a program calls
// it before it touches memory. vocab is the number of token IDs.
func (in *StepInput) Check(o Options, vocab int) error {
	n := len(in.Tokens)
	if n == 0 || n > o.MaxTokens || len(in.Positions) != n || len(in.Spans) > o.MaxRows {
		return fmt.Errorf("device: BUG: step of %d tokens, %d positions, %d spans", n, len(in.Positions), len(in.Spans))
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
		if tok >= int32(vocab) || tok < Sampled || in.Positions[i] < 0 || int(in.Positions[i]) >= o.ContextLength {
			return fmt.Errorf("device: BUG: token %d at position %d", tok, in.Positions[i])
		}
	}
	if err := in.checkSlots(o); err != nil {
		return err
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

// checkSlots reports slots that are not in their pool, or too few.
func (in *StepInput) checkSlots(o Options) error {
	for kind, slots := range in.Slots {
		pool := int32(o.Blocks[kind]) * BlockTokens
		if pool == 0 && len(slots) == 0 {
			continue
		}
		if len(slots) != len(in.Tokens) {
			return fmt.Errorf("device: BUG: %d slots of pool %d for %d tokens", len(slots), kind, len(in.Tokens))
		}
		for _, slot := range slots {
			if slot < 0 || slot >= pool {
				return fmt.Errorf("device: BUG: slot %d is not in pool %d of %d blocks", slot, kind, o.Blocks[kind])
			}
		}
	}
	return nil
}
