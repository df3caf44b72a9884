package engine

import (
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// Scheduler, pool and device import nothing of each other; here they meet, and
// must mean the same by a block.
var (
	_ = [1]struct{}{}[device.BlockTokens-scheduler.BlockTokens]
	_ = [1]struct{}{}[device.BlockTokens-kvcache.BlockTokens]
)

// stepInput turns batches into the device's flat arrays, which it keeps.
type stepInput struct{ in device.StepInput }

// fill returns the input of a batch. It belongs to s and is valid until the
// next call.
func (s *stepInput) fill(batch []scheduler.Item) *device.StepInput {
	in := &s.in
	in.Tokens, in.Positions, in.Slots = in.Tokens[:0], in.Positions[:0], in.Slots[:0]
	in.Spans, in.Logits, in.Tables = in.Spans[:0], in.Logits[:0], in.Tables[:0]
	for _, it := range batch {
		q := it.Seq
		if q.Sent < len(q.Blocks) {
			in.Tables = append(in.Tables, device.TableDiff{Row: q.Row, Start: int32(q.Sent), Blocks: q.Blocks[q.Sent:]})
			q.Sent = len(q.Blocks)
		}
		in.Spans = append(in.Spans, device.Span{Row: q.Row, Start: int32(len(in.Tokens)), Tokens: int32(it.Tokens)})
		for p := q.Computed; p < q.Computed+it.Tokens; p++ {
			in.Tokens = append(in.Tokens, q.Tokens[p])
			in.Positions = append(in.Positions, int32(p))
			in.Slots = append(in.Slots, q.Blocks[p/device.BlockTokens]*device.BlockTokens+int32(p%device.BlockTokens))
		}
		if it.Logits {
			in.Logits = append(in.Logits, int32(len(in.Tokens)-1))
		}
	}
	return in
}
