package scheduler_test

import (
	"fmt"

	"github.com/holdfast-run/holdfast/scheduler"
)

// kv is what a position's KV depends on: all tokens up to it.
type kv uint64

func (k kv) next(token int32) kv {
	h := (uint64(k) ^ uint64(uint32(token))) * 0x9e3779b97f4a7c15
	return kv(h ^ h>>29)
}

// shadow is a device that keeps what is in each place of each block. It does
// launches, table changes and moves in order, as a device must, and reports an
// item that would read what is not its sequence's.
type shadow struct {
	blocks [][scheduler.BlockTokens]kv
	host   [][scheduler.BlockTokens]kv
	tables [][]int32
	window shadowWindow
	last   []int32 // per row: the token sampled last
	draw   func(q *scheduler.Sequence, position int) int32
	poison kv
}

// shadowWindow is the device's window pool, if a token sees only so many positions.
type shadowWindow struct {
	positions int
	blocks    [][scheduler.BlockTokens]kv
	tables    [][]int32
}

// hear takes note of what an item's sequence has to tell of its window blocks.
func (w *shadowWindow) hear(q *scheduler.Sequence) error {
	if w.positions == 0 {
		return nil
	}
	end, from := q.WindowFrom+len(q.Window), max(q.WindowSent, q.WindowFrom)
	table := &w.tables[q.Row]
	for len(*table) < end {
		*table = append(*table, -1)
	}
	if q.WindowSent > end {
		return fmt.Errorf("%d of %d window blocks sent", q.WindowSent, end)
	}
	copy((*table)[from:], q.Window[from-q.WindowFrom:])
	q.WindowSent = end
	return nil
}

// pass writes position p, or, if it is before start but seen from there, compares it.
func (w *shadowWindow) pass(q *scheduler.Sequence, start, p int, have kv) error {
	if w.positions == 0 || p < start-w.positions+1 {
		return nil
	}
	at := &w.blocks[w.tables[q.Row][p/scheduler.BlockTokens]][p%scheduler.BlockTokens]
	if p >= start {
		*at = have
	} else if *at != have {
		return fmt.Errorf("position %d, in window block %d, is not the sequence's", p, w.tables[q.Row][p/scheduler.BlockTokens])
	}
	return nil
}

func newShadow(blocks int, l scheduler.Limits, draw func(*scheduler.Sequence, int) int32) *shadow {
	return &shadow{
		blocks: make([][scheduler.BlockTokens]kv, blocks),
		host:   make([][scheduler.BlockTokens]kv, l.HostBlocks),
		tables: make([][]int32, l.Rows),
		last:   make([]int32, l.Rows),
		draw:   draw,
	}
}

// lose makes everything on the device, and what it has saved to the host, something
// that no sequence has.
func (d *shadow) lose() {
	for _, blocks := range [][][scheduler.BlockTokens]kv{d.blocks, d.host, d.window.blocks} {
		for i := range blocks {
			for j := range blocks[i] {
				d.poison++
				blocks[i][j] = d.poison
			}
		}
	}
	for i := range d.tables {
		d.tables[i], d.last[i] = nil, -1
	}
	for i := range d.window.tables {
		d.window.tables[i] = nil
	}
}

// launch runs a batch and returns the tokens drawn.
func (d *shadow) launch(b *scheduler.Batch) (drawn []int32, err error) {
	for _, m := range b.Moves {
		switch m.Kind {
		case scheduler.CopyBlock:
			d.blocks[m.To] = d.blocks[m.From]
		case scheduler.SaveBlock:
			d.host[m.To] = d.blocks[m.From]
		case scheduler.LoadBlock:
			d.blocks[m.To] = d.host[m.From]
		case scheduler.CopyWindow:
			d.window.blocks[m.To] = d.window.blocks[m.From]
		}
	}
	for i := range b.Items {
		it := &b.Items[i]
		token, err := d.run(it)
		if err != nil {
			return nil, fmt.Errorf("item %d of %d, positions %d to %d: %w", i, len(b.Items), it.Start, it.Start+it.Tokens, err)
		}
		if it.Draw {
			drawn = append(drawn, token)
		}
	}
	return drawn, nil
}

// run computes one item: it reads all positions before it by the row's table,
// and writes its own.
func (d *shadow) run(it *scheduler.Item) (token int32, err error) {
	q := it.Seq
	table := &d.tables[q.Row]
	if q.Sent > len(q.Blocks) {
		return 0, fmt.Errorf("%d of %d blocks sent", q.Sent, len(q.Blocks))
	}
	*table = append((*table)[:q.Sent], q.Blocks[q.Sent:]...)
	q.Sent = len(q.Blocks)
	if err := d.window.hear(q); err != nil {
		return 0, err
	}
	at := func(p int) *kv {
		return &d.blocks[(*table)[p/scheduler.BlockTokens]][p%scheduler.BlockTokens]
	}
	if end := it.Start + it.Tokens; end > len(*table)*scheduler.BlockTokens || end > len(q.Tokens)+1 {
		return 0, fmt.Errorf("%d blocks, %d tokens", len(*table), len(q.Tokens))
	}
	if it.Start == len(q.Tokens) && d.last[q.Row] < 0 { // goes on from no number: a ghost
		d.poison++
		*at(it.Start) = d.poison
		_ = d.window.pass(q, it.Start, it.Start, d.poison)
		return d.last[q.Row], nil
	}
	have := kv(q.Root)
	for p := range it.Start + it.Tokens {
		t := d.last[q.Row]
		if p < len(q.Tokens) {
			t = q.Tokens[p]
		}
		have = have.next(t)
		if p >= it.Start {
			*at(p) = have
		} else if *at(p) != have {
			return 0, fmt.Errorf("position %d, in block %d, is not the sequence's", p, (*table)[p/scheduler.BlockTokens])
		}
		if err := d.window.pass(q, it.Start, p, have); err != nil {
			return 0, err
		}
	}
	if !it.Draw {
		return 0, nil
	}
	d.last[q.Row] = d.draw(q, it.Start+it.Tokens)
	if d.last[q.Row] < 0 { // what this item wrote is no number
		for p := it.Start; p < it.Start+it.Tokens; p++ {
			d.poison++
			*at(p) = d.poison
			_ = d.window.pass(q, it.Start, p, d.poison)
		}
	}
	return d.last[q.Row], nil
}
