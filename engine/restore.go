package engine

import (
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// restore is a prefix whose blocks come from the disk. They are read into blocks
// that nobody else knows, verified, and sealed when all are there: the sequence
// that waits for them then finds them as it finds any prefix. A block that is
// missing or damaged ends the prefix before it.
type restore struct {
	prefix
	g     *Generation // that waits; nil for a call's
	began time.Time
	life  int // the tier's, then: blocks of one before are lost

	blocks  []int32 // of the prefix: those found on the device, then private ones
	found   int     // how many of them were found
	good    int     // how many can be used
	windows []int32 // of the window pool, of the last blocks of the prefix
	from    int     // the block that the first of windows is of
	lost    []bool  // by windows: could not be read

	left int           // reads that are not back
	done chan struct{} // closed at the end, if a call waits
}

// restoreFor begins to read what the disk has of a generation's prompt, and
// reports whether there is something to wait for.
func (l *loop) restoreFor(g *Generation) bool {
	if l.tier == nil || !g.req.Keep || len(g.chain) == 0 {
		return false
	}
	n := len(g.seq.Tokens) - 1 // the last one is computed, for its logits
	g.restoring = l.planRestore(prefix{g.seq.Root, g.diskRoot, g.chain, g.seq.Tokens[:n]})
	if g.restoring == nil {
		return false
	}
	g.restoring.g = g
	l.tier.restoring++
	l.start(g.restoring)
	return true
}

// planRestore takes the blocks for what the disk has of a prefix and the device
// has not; nil if that is nothing, or computing it is faster.
func (l *loop) planRestore(p prefix) *restore {
	r := &restore{prefix: p, began: time.Now(), life: l.tier.life}
	r.blocks = l.pool.Match(nil, p.root, p.tokens)
	r.found, r.good = len(r.blocks), len(r.blocks)
	room := r.found + max(l.pool.Free()-l.sched.Running(), 0) // each that runs may soon want one
	n := l.reach(r.found, min(len(p.tokens)/device.BlockTokens, room), p.chain)
	if n <= r.found || !l.worthReading(r.found, n) {
		l.release(r.blocks, nil)
		return nil
	}
	r.from = n
	if l.opts.Window > 0 {
		r.from = l.pool.WindowFrom(r.found * device.BlockTokens)
		r.windows = l.pool.MatchWindow(nil, r.blocks)
		for need := l.pool.WindowFrom(n * device.BlockTokens); r.from < need && len(r.windows) > 0; r.from++ {
			l.pool.ReleaseWindow(r.windows[0])
			r.windows = r.windows[1:]
		}
		if len(r.windows) == 0 {
			r.from = max(r.found, l.pool.WindowFrom(n*device.BlockTokens))
		}
	}
	for len(r.blocks) < n {
		b, ok := l.pool.Alloc()
		if !ok {
			break
		}
		r.blocks = append(r.blocks, b)
	}
	for r.from+len(r.windows) < n && l.opts.Window > 0 {
		b, ok := l.pool.AllocWindow()
		if !ok {
			break
		}
		r.windows = append(r.windows, b)
	}
	if len(r.blocks) < n || r.from+len(r.windows) < n {
		l.release(r.blocks, r.windows)
		return nil
	}
	return r
}

// reach returns how many blocks of a prefix, at most most, can be used once the
// disk's are read: those of the full pool without a gap, those of the window pool
// that a token behind them sees.
func (l *loop) reach(found, most int, chain []kvcache.Hash) int {
	n := found
	for n < min(most, len(chain)) && l.tier.store.Has(keyOf(chain[n], device.Full)) {
		n++
	}
	if l.opts.Window == 0 {
		return n
	}
	for ; n > found; n-- {
		i := max(found, l.pool.WindowFrom(n*device.BlockTokens))
		for i < n && l.tier.store.Has(keyOf(chain[i], device.Window)) {
			i++
		}
		if i == n {
			break
		}
	}
	return n
}

// worthReading reports whether blocks [from, to) of a prefix are to be read,
// rather than computed.
func (l *loop) worthReading(from, to int) bool {
	switch t := l.tier; t.mode {
	case RestoreLoad:
		return true
	case RestoreRecompute:
		return false
	default:
		bytes := (to - from) * t.pools[device.Full].bytes
		return t.faster(bytes, l.sched.Predict(from*device.BlockTokens, (to-from)*device.BlockTokens, l.opts.MaxTokens))
	}
}

const (
	// usualPace is what reads are thought to take before one was seen, in ns per
	// byte: an SSD's, verification included.
	usualPace = 1
	// trust is how much of the last pace the newest one replaces; doubt, how much
	// of it the usual one does each time nothing is read: what was slow once is
	// tried again some day.
	trust, doubt = 0.5, 0.01
)

// faster reports whether so many bytes are read sooner than computed.
func (t *tier) faster(bytes int, compute time.Duration) bool {
	if float64(bytes)*t.pace < float64(compute) {
		return true
	}
	t.pace += doubt * (usualPace - t.pace)
	return false
}

// learnPace takes note of how long reads of so many bytes took.
func (t *tier) learnPace(bytes int, took time.Duration) {
	if bytes > 0 && took > 0 {
		t.pace += trust * (float64(took)/float64(bytes) - t.pace)
	}
}

// start queues the reads of a restore.
func (l *loop) start(r *restore) {
	t := l.tier
	var reads []*read
	for i := r.found; i < len(r.blocks); i++ {
		reads = append(reads, &read{of: r, at: i, kind: device.Full, block: r.blocks[i]})
	}
	for i := max(r.from, r.found); i < r.from+len(r.windows); i++ {
		reads = append(reads, &read{of: r, at: i, kind: device.Window, block: r.windows[i-r.from]})
	}
	r.left, r.good, r.lost = len(reads), len(r.blocks), make([]bool, len(r.windows))
	t.mu.Lock()
	t.queue = append(t.queue, reads...)
	t.mu.Unlock()
	t.more.Broadcast()
}

// arrive takes a block that was read, and ends the restore with its last one.
func (l *loop) arrive(rd *read) {
	r, t := rd.of, l.tier
	stale := r.life != t.life
	if rd.err == nil && rd.data != nil && !stale {
		pool := t.pools[rd.kind]
		ticket, err := pool.Load(rd.data[:pool.bytes], rd.block)
		if err == nil {
			_, err = ticket.Wait()
		}
		l.note(err)
		rd.err = err
	}
	if rd.data != nil {
		t.buffers <- rd.data
	}
	switch {
	case stale:
		r.good = 0
	case rd.err == nil:
		t.counts.LoadedBlocks++
	case rd.kind == device.Full:
		t.counts.MissedBlocks++
		r.good = min(r.good, rd.at)
	default:
		t.counts.MissedBlocks++
		r.lost[rd.at-r.from] = true
	}
	if rd.err != nil && !stale {
		t.log.Warn("a KV block was not read; it is computed again", "error", rd.err)
	}
	if r.left--; r.left == 0 {
		l.publishRestored(r)
	}
}

// publishRestored lets others find what was read, and the generation that waited
// go on.
func (l *loop) publishRestored(r *restore) {
	t := l.tier
	for i := r.found; i < r.good; i++ {
		l.pool.Seal(r.root, r.blocks, i, r.tokens)
		if w := i - r.from; w >= 0 && w < len(r.windows) && !r.lost[w] {
			r.windows[w] = l.pool.SealWindow(r.blocks[i], r.windows[w])
		}
	}
	stale := r.life != t.life
	if !stale {
		t.learnPace((len(r.blocks)-r.found)*t.pools[device.Full].bytes, time.Since(r.began))
	}
	if r.good > r.found {
		t.counts.Restores++
		t.counts.RestoredTokens += uint64((r.good - r.found) * device.BlockTokens)
	}
	l.release(r.blocks, r.windows)
	if r.done != nil {
		close(r.done)
	}
	if g := r.g; g != nil {
		g.restoring = nil
		t.restoring--
		if !g.ended && !(stale && l.restoreFor(g)) {
			l.add(g)
		}
	}
}

// add hands a generation's sequence to the scheduler.
func (l *loop) add(g *Generation) {
	if err := l.sched.Add(&g.seq); err != nil {
		g.end(scheduler.Failed, err)
		l.drop(g)
	}
}
