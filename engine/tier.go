package engine

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/kvcache/store"
)

const (
	// readers is how many reads of the disk run at a time: two of a megabyte fill
	// one, and more keep the log waiting (a disk's scheduler prefers reads).
	readers = 2
	// writeBatch is how many bytes of blocks are written before they are synced,
	// at most: larger lumps hold up the log.
	writeBatch = 8 << 20
	// stages is how many blocks of a pool that is not mapped are between disk and
	// device at a time, in either direction.
	stages = 16
)

// tier is the blocks on disk as the step loop uses them: full blocks of sessions
// go there behind a turn, and come back, verified, when a session goes on after
// they have left the device. A block that cannot be read is computed again; one
// that cannot be written will be.
//
// The loop owns it. Readers and the writer are goroutines of their own, which the
// loop gives work to by queue and writes, and which put what is done into arrived
// and written.
type tier struct {
	store *store.Store
	pools [device.PoolKinds]place
	life  int // how often the device was lost
	mode  RestoreMode
	pace  float64 // of reads: ns per byte, as last seen
	inbox func()  // wakes the loop
	log   *slog.Logger

	behind  []leaving          // blocks on their way to the disk
	pending map[store.Key]bool // those, and those under way
	held    int                // blocks of the prefixes that they are of
	most    int                // of held, while other prefixes are
	later   []prefix           // that wait until nothing is held
	writing bool               // a batch is under way
	writes  chan []leaving
	waiters []*waiter
	stage   [][]byte      // for writes, of pools that are not mapped
	buffers chan []byte   // for reads, of pools that are not mapped
	stop    chan struct{} // closed by close
	io      sync.WaitGroup

	mu      sync.Mutex
	more    sync.Cond // of mu: queue has grown, or closed is set
	queue   []*read
	closed  bool
	arrived []*read
	written []leaving // the batch that is done
	done    bool      // there is one
	failed  error     // how it failed

	restoring int // generations that wait for blocks
	counts    TierStats
}

// place is a pool that blocks go from and to. Its methods are for the loop, and not
// while the device is rebuilt; what is beside it does not change.
type place struct {
	device.Pool
	mapped device.Mapped // the same, if its blocks lie in host memory
	bytes  int           // of a block
}

// TierStats counts what went to the disk and came from it.
type TierStats struct {
	StoredBlocks   uint64 // written
	LoadedBlocks   uint64 // read, verified and used
	MissedBlocks   uint64 // to be read, and missing or damaged: computed again
	Restores       uint64 // sequences that started from blocks that were read
	RestoredTokens uint64 // and their tokens in them
	StoreFailures  uint64 // batches that could not be written
	DroppedBlocks  uint64 // not written, because too many waited
}

// RestoreMode says how a session's blocks on disk are used.
type RestoreMode string

// The modes.
const (
	RestoreAuto      RestoreMode = "auto" // whatever is faster by the speeds seen
	RestoreLoad      RestoreMode = "load"
	RestoreRecompute RestoreMode = "recompute"
)

// newTier starts the goroutines.
func newTier(s *store.Store, prog device.Program, pool *kvcache.Pool, cfg Config, wake func()) *tier {
	t := &tier{
		store: s, mode: cfg.Restore, pace: usualPace, inbox: wake, log: cfg.Log,
		pending: map[store.Key]bool{}, most: pool.Total() / 2,
		writes: make(chan []leaving, 1), stop: make(chan struct{}),
	}
	if t.mode == "" {
		t.mode = RestoreAuto
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.more.L = &t.mu
	largest := 0
	for kind := range t.pools {
		pool := prog.Pool(device.PoolKind(kind))
		t.pools[kind] = place{Pool: pool, bytes: pool.BlockBytes()}
		t.pools[kind].mapped, _ = pool.(device.Mapped)
		largest = max(largest, t.pools[kind].bytes)
	}
	if t.pools[device.Full].mapped == nil {
		t.buffers = make(chan []byte, stages)
		for range stages {
			t.buffers <- make([]byte, largest)
			t.stage = append(t.stage, make([]byte, largest))
		}
	}
	for range readers {
		t.io.Go(t.read)
	}
	t.io.Go(func() { sysinfo.Background(10, t.write) })
	return t
}

// openTier opens the blocks on disk, if the configuration has any.
func (l *loop) openTier(cfg Config) error {
	switch cfg.Restore {
	case "", RestoreAuto, RestoreLoad, RestoreRecompute:
	default:
		return fmt.Errorf("engine: restore mode %q is not known; known: auto, load, recompute", cfg.Restore)
	}
	if cfg.Store == "" || cfg.StoreBytes <= 0 {
		return nil
	}
	if cfg.fs == nil {
		cfg.fs = vfs.OS{}
	}
	s, err := store.Open(cfg.fs, filepath.Join(cfg.Store, "kv"), store.Options{MaxBytes: cfg.StoreBytes})
	if err != nil {
		return err
	}
	l.tier = newTier(s, l.prog, l.pool, cfg, l.notify)
	return nil
}

// close waits for the goroutines, which may be reading into the pool's memory,
// and closes the store. The loop has ended.
func (t *tier) close() error {
	t.mu.Lock()
	t.closed = true
	t.queue = nil
	t.mu.Unlock()
	t.more.Broadcast()
	close(t.stop)
	close(t.writes)
	t.io.Wait()
	return t.store.Close()
}

// read is one block on its way from the disk.
type read struct {
	of    *restore
	at    int // which block of the prefix
	kind  device.PoolKind
	block int32  // that it goes to
	data  []byte // what was read, for a pool that is not mapped
	err   error
}

// read is a reader's goroutine. It has a thread of its own, which the disk may
// hold up.
func (t *tier) read() {
	runtime.LockOSThread()
	for {
		t.mu.Lock()
		for len(t.queue) == 0 && !t.closed {
			t.more.Wait()
		}
		if t.closed {
			t.mu.Unlock()
			return
		}
		r := t.queue[0]
		t.queue = t.queue[1:]
		t.mu.Unlock()

		to := r.data
		if m := t.pools[r.kind].mapped; m != nil {
			to = m.Bytes(r.block)
		} else {
			select {
			case r.data = <-t.buffers:
			case <-t.stop:
				return
			}
			to = r.data[:t.pools[r.kind].bytes]
		}
		tokens := r.of.tokens[r.at*device.BlockTokens : (r.at+1)*device.BlockTokens]
		r.err = t.store.Read(keyOf(r.of.chain[r.at], r.kind), tokens, to)

		t.mu.Lock()
		t.arrived = append(t.arrived, r)
		t.mu.Unlock()
		t.inbox()
	}
}

// write is the writer's goroutine. It makes way for the step: what it copies and hashes
// is needed after a restart, and a step's tokens now.
func (t *tier) write() {
	for batch := range t.writes {
		blocks := make([]store.Block, len(batch))
		for i := range batch {
			blocks[i] = batch[i].data
		}
		err := t.store.Put(blocks)
		t.mu.Lock()
		t.written, t.done, t.failed = batch, true, err
		t.mu.Unlock()
		t.inbox()
	}
}

// prefix is a principal's tokens with the names of their blocks.
type prefix struct {
	root     kvcache.Root
	diskRoot kvcache.Hash
	chain    []kvcache.Hash
	tokens   []int32
}

// keyOf names a block of a pool in the store.
func keyOf(h kvcache.Hash, kind device.PoolKind) store.Key {
	return store.Key{Hash: h, Kind: uint8(kind)}
}

// tend takes what readers and writer have done, and gives them more to do.
func (l *loop) tend() {
	t := l.tier
	if t == nil {
		return
	}
	t.mu.Lock()
	arrived := t.arrived
	t.arrived = nil
	written, done, err := t.written, t.done, t.failed
	t.written, t.done = nil, false
	t.mu.Unlock()
	for _, r := range arrived {
		l.arrive(r)
	}
	if done {
		l.settleWrite(written, err)
	}
	l.writeBehind()
}

// chainOf appends to chain the hashes of the full blocks of tokens that it does
// not have yet.
func chainOf(chain []kvcache.Hash, root kvcache.Hash, tokens []int32) []kvcache.Hash {
	for i := len(chain); (i+1)*device.BlockTokens <= len(tokens); i++ {
		parent := root
		if i > 0 {
			parent = chain[i-1]
		}
		chain = append(chain, parent.Next(tokens[i*device.BlockTokens:(i+1)*device.BlockTokens], nil))
	}
	return chain
}

// flushTier writes what is left when the loop ends, for a while at most.
func (l *loop) flushTier(most time.Duration) {
	if l.tier == nil {
		return
	}
	for deadline := time.NewTimer(most); ; {
		l.tend()
		if len(l.tier.pending) == 0 {
			return
		}
		select {
		case <-l.wake:
		case <-deadline.C:
			return
		}
	}
}

// release gives blocks back, from the last to the first.
func (l *loop) release(blocks, windows []int32) {
	for i := len(windows) - 1; i >= 0; i-- {
		l.pool.ReleaseWindow(windows[i])
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		l.pool.Release(blocks[i])
	}
}
