package engine

import (
	"slices"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/kvcache/store"
)

// leaving is a block on its way to the disk. What it holds does not change: it
// is sealed, and held.
type leaving struct {
	of    *holding
	kind  device.PoolKind
	block int32
	data  store.Block
}

// holding is a prefix with blocks on their way to the disk. All of its blocks are
// held until the last one is there: none may be evicted before what continues it.
type holding struct {
	blocks, windows []int32
	left            int
}

// maxLater bounds the prefixes that wait to be written.
const maxLater = 256

// waiter waits until none of its blocks is on its way any more.
type waiter struct {
	keys []store.Key
	done chan struct{}
}

// keep has the full blocks that a generation has computed written to the disk,
// those that are not there. It is called behind a turn's prompt and behind its
// last token.
func (l *loop) keep(g *Generation) {
	if l.tier == nil || !g.req.Keep {
		return
	}
	g.chain = chainOf(g.chain, g.diskRoot, g.seq.Tokens)
	l.keepPrefix(prefix{g.seq.Root, g.diskRoot, g.chain, g.seq.Tokens})
}

// keepPrefix queues the blocks of a prefix that the device has and the disk has
// not. If too many are held already the prefix has to wait, and what is evicted
// until its turn comes is not written.
func (l *loop) keepPrefix(p prefix) {
	t := l.tier
	h := &holding{blocks: l.pool.Match(nil, p.root, p.tokens)}
	if l.opts.Window > 0 {
		h.windows = l.pool.MatchWindow(nil, h.blocks)
	}
	n := len(h.blocks)
	var leave []leaving
	for i, b := range h.blocks {
		leave = t.want(leave, leaving{of: h, kind: device.Full, block: b}, p, i)
	}
	for i, b := range h.windows {
		leave = t.want(leave, leaving{of: h, kind: device.Window, block: b}, p, n-len(h.windows)+i)
	}
	if wait := t.held > 0 && t.held+n > t.most; wait || len(leave) == 0 {
		l.release(h.blocks, h.windows)
		switch {
		case wait && len(leave) > 0 && len(t.later) < maxLater:
			p.tokens = slices.Clone(p.tokens)
			t.later = append(t.later, p)
		case wait:
			t.counts.DroppedBlocks += uint64(len(leave))
		}
		return
	}
	for _, b := range leave {
		t.pending[b.data.Key] = true
	}
	h.left = len(leave)
	t.held += n
	t.behind = append(t.behind, leave...)
}

// want appends block i of a prefix to those that leave, if it has to.
func (t *tier) want(leave []leaving, b leaving, p prefix, i int) []leaving {
	key := keyOf(p.chain[i], b.kind)
	if t.pending[key] || t.store.Has(key) {
		return leave
	}
	b.data = store.Block{Key: key, Parent: p.diskRoot, Root: p.diskRoot, Tokens: slices.Clone(p.tokens[i*device.BlockTokens : (i+1)*device.BlockTokens])}
	if i > 0 {
		b.data.Parent = p.chain[i-1]
	}
	return append(leave, b)
}

// writeBehind gives the writer its next batch. Blocks of a pool that is not
// mapped are copied out first.
func (l *loop) writeBehind() {
	t := l.tier
	if t.writing || len(t.behind) == 0 {
		return
	}
	n, size := 0, 0
	for n < len(t.behind) && (n == 0 || size+t.pools[t.behind[n].kind].bytes <= writeBatch) && (t.stage == nil || n < len(t.stage)) {
		size += t.pools[t.behind[n].kind].bytes
		n++
	}
	batch := slices.Clone(t.behind[:n])
	t.behind = slices.Delete(t.behind, 0, n)
	for i := range batch {
		b := &batch[i]
		pool := t.pools[b.kind]
		if m := pool.mapped; m != nil {
			b.data.Payload = m.Bytes(b.block)
			continue
		}
		b.data.Payload = t.stage[i][:pool.bytes]
		ticket, err := pool.Save(b.block, b.data.Payload)
		if err == nil {
			_, err = ticket.Wait()
		}
		if err != nil {
			l.note(err)
			l.settleWrite(batch, err)
			return
		}
	}
	t.writing = true
	t.writes <- batch
}

// settleWrite gives up a batch that was written, or could not be.
func (l *loop) settleWrite(batch []leaving, err error) {
	t := l.tier
	t.writing = false
	if err != nil {
		t.counts.StoreFailures++
		t.log.Warn("KV blocks were not written; sessions that need them will be slower", "blocks", len(batch), "error", err)
	} else {
		t.counts.StoredBlocks += uint64(len(batch))
	}
	l.letGo(batch)
}

// forgetTier gives up what was to be copied from the device, and what was to go on
// from blocks there. What the writer has was copied before.
func (l *loop) forgetTier() {
	t := l.tier
	t.life++
	behind := t.behind
	t.behind, t.later = nil, nil
	t.counts.DroppedBlocks += uint64(len(behind))
	l.letGo(behind)
}

// letGo gives up blocks that are not on their way any more.
func (l *loop) letGo(batch []leaving) {
	t := l.tier
	for _, b := range batch {
		delete(t.pending, b.data.Key)
		if b.of.left--; b.of.left == 0 {
			t.held -= len(b.of.blocks)
			l.release(b.of.blocks, b.of.windows)
		}
	}
	if later := t.later; t.held == 0 && len(later) > 0 {
		t.later = nil
		for _, p := range later {
			l.keepPrefix(p)
		}
	}
	t.waiters = slices.DeleteFunc(t.waiters, func(w *waiter) bool {
		if slices.ContainsFunc(w.keys, func(k store.Key) bool { return t.pending[k] }) {
			return false
		}
		close(w.done)
		return true
	})
}
