package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/zeebo/blake3"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/kvcache/store"
)

// ErrNoStore is returned by what needs blocks on disk where Config.Store is empty.
var ErrNoStore = errors.New("engine: there is no store; blocks are kept in memory only")

// maxCalls bounds the calls that wait for the loop.
const maxCalls = 1024

// Residence says where the full blocks of a prefix are.
type Residence struct {
	Blocks     int // full blocks that the prefix has
	Device     int // of them, on the device from the first on without a gap
	Disk       int // on disk
	BlockBytes int // of one block, of all pools
}

// KVReport is what VerifyKV found of a prefix's blocks on disk.
type KVReport struct {
	Blocks  int // full blocks that the prefix has
	Good    int // read back and verified
	Missing int
	Bad     int // damaged; the store has forgotten them
}

// Digests is what a session's tokens and blocks were made with.
type Digests struct {
	Weights, Tokenizer, Template [32]byte
	Class                        string // numerics class
}

// Digests returns those of the engine. It waits for the digest of the model file.
func (e *Engine) Digests() (Digests, error) {
	id, err := e.Identity()
	d := Digests{Weights: id.Weights, Tokenizer: id.Tokenizer, Class: e.info.Class}
	if source, missing := e.file.Meta().String("tokenizer.chat_template"); missing == nil {
		d.Template = blake3.Sum256([]byte(source))
	}
	return d, err
}

// diskRoot names a principal's KV on disk: nobody else's request finds it.
func (e *Engine) diskRoot(principal string) (kvcache.Hash, error) {
	id, err := e.Identity()
	id.Salt = []byte(principal)
	return id.Root(), err
}

// nameBlocks works out the names of a generation's blocks on disk, and reports
// whether there is a disk for them.
func (e *Engine) nameBlocks(g *Generation) bool {
	if e.loop.tier == nil {
		return false
	}
	var err error
	if g.diskRoot, err = e.diskRoot(g.req.Principal); err != nil {
		return false
	}
	g.chain = chainOf(nil, g.diskRoot, g.seq.Tokens)
	return true
}

// at runs f on the loop's goroutine, for a principal's tokens.
func (e *Engine) at(ctx context.Context, principal string, tokens []int32, f func(prefix)) error {
	if e.loop.tier == nil {
		return ErrNoStore
	}
	diskRoot, err := e.diskRoot(principal)
	if err != nil {
		return err
	}
	p := prefix{diskRoot: diskRoot, chain: chainOf(nil, diskRoot, tokens), tokens: tokens}
	return e.loop.do(ctx, func() error {
		root, ok := e.loop.rootOf(principal)
		if !ok {
			return ErrPrincipals
		}
		p.root = root
		f(p)
		return nil
	})
}

// do has the loop call f between two steps.
func (l *loop) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	l.mu.Lock()
	if l.quit || len(l.calls) >= maxCalls {
		quit := l.quit
		l.mu.Unlock()
		if quit {
			return ErrStopped
		}
		return ErrBusy
	}
	l.calls = append(l.calls, func() { done <- f() })
	l.mu.Unlock()
	l.notify()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return ErrStopped
	}
}

// wait waits for what a call has begun.
func (l *loop) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return ErrStopped
	}
}

// Residence says where the blocks of a principal's tokens are now.
func (e *Engine) Residence(ctx context.Context, principal string, tokens []int32) (r Residence, err error) {
	err = e.at(ctx, principal, tokens, func(p prefix) { r = e.loop.residence(p) })
	return r, err
}

func (l *loop) residence(p prefix) Residence {
	r := Residence{Blocks: len(p.chain)}
	for kind, pool := range l.tier.pools {
		if l.opts.Blocks[kind] > 0 {
			r.BlockBytes += pool.bytes
		}
	}
	found := l.pool.Match(nil, p.root, p.tokens)
	r.Device = len(found)
	l.release(found, nil)
	for _, h := range p.chain {
		if l.tier.store.Has(keyOf(h, device.Full)) {
			r.Disk++
		}
	}
	return r
}

// Checkpoint has the full blocks of a principal's tokens that are computed
// written to the disk, and returns when none is on its way any more. Residence
// then says how many are there.
func (e *Engine) Checkpoint(ctx context.Context, principal string, tokens []int32) (Residence, error) {
	for was := -1; ; {
		if err := e.checkpoint(ctx, principal, tokens); err != nil {
			return Residence{}, err
		}
		r, err := e.Residence(ctx, principal, tokens)
		if err != nil || r.Disk >= r.Device || r.Disk == was {
			return r, err
		}
		was = r.Disk // others were before it
	}
}

func (e *Engine) checkpoint(ctx context.Context, principal string, tokens []int32) error {
	w := &waiter{done: make(chan struct{})}
	err := e.at(ctx, principal, tokens, func(p prefix) {
		l := e.loop
		l.keepPrefix(p)
		w.keys = l.tier.onTheirWay(p.chain)
		if len(w.keys) == 0 && l.tier.held == 0 {
			close(w.done)
			return
		}
		l.tier.waiters = append(l.tier.waiters, w)
	})
	if err != nil {
		return err
	}
	return e.loop.wait(ctx, w.done)
}

// onTheirWay returns the keys of a prefix's blocks that are not on disk yet but
// will be.
func (t *tier) onTheirWay(chain []kvcache.Hash) (keys []store.Key) {
	for _, h := range chain {
		for kind := range device.PoolKind(device.PoolKinds) {
			if key := keyOf(h, kind); t.pending[key] {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// Prefetch reads the blocks of a principal's tokens that are on disk and not on
// the device, and returns when they are there.
func (e *Engine) Prefetch(ctx context.Context, principal string, tokens []int32) (Residence, error) {
	done := make(chan struct{})
	err := e.at(ctx, principal, tokens, func(p prefix) {
		r := e.loop.planRestore(p)
		if r == nil {
			close(done)
			return
		}
		r.done = done
		e.loop.start(r)
	})
	if err == nil {
		err = e.loop.wait(ctx, done)
	}
	if err != nil {
		return Residence{}, err
	}
	return e.Residence(ctx, principal, tokens)
}

// Park writes the blocks of a principal's tokens to the disk and gives up those on
// the device that nothing else uses.
func (e *Engine) Park(ctx context.Context, principal string, tokens []int32) (Residence, error) {
	if _, err := e.Checkpoint(ctx, principal, tokens); err != nil {
		return Residence{}, err
	}
	err := e.at(ctx, principal, tokens, func(p prefix) { e.loop.pool.Forget(p.root, p.tokens) })
	if err != nil {
		return Residence{}, err
	}
	return e.Residence(ctx, principal, tokens)
}

// VerifyKV reads back all blocks of a principal's tokens that are on disk.
func (e *Engine) VerifyKV(ctx context.Context, principal string, tokens []int32) (KVReport, error) {
	if e.loop.tier == nil {
		return KVReport{}, ErrNoStore
	}
	root, err := e.diskRoot(principal)
	if err != nil {
		return KVReport{}, err
	}
	chain := chainOf(nil, root, tokens)
	r := KVReport{Blocks: len(chain)}
	buf := make([]byte, e.loop.tier.pools[device.Full].bytes)
	for i, h := range chain {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		switch err := e.loop.tier.store.Read(keyOf(h, device.Full), tokens[i*device.BlockTokens:(i+1)*device.BlockTokens], buf); {
		case err == nil:
			r.Good++
		case errors.Is(err, store.ErrMissing):
			r.Missing++
		default:
			r.Bad++
		}
	}
	return r, nil
}

// Living is a principal's tokens that a session may go on from.
type Living struct {
	Principal string
	Tokens    []int32
}

// CollectKV removes the blocks from the disk that no session may go on from, while
// the engine serves. living is gone through once, after the collection has begun:
// what is written meanwhile stays.
func (e *Engine) CollectKV(ctx context.Context, living iter.Seq2[Living, error]) (store.Collected, error) {
	if e.loop.tier == nil {
		return store.Collected{}, ErrNoStore
	}
	var live map[kvcache.Hash]struct{}
	var failed error
	collected, err := e.loop.tier.store.Collect(ctx, func(k store.Key) bool {
		if live == nil && failed == nil {
			live, failed = e.reachable(living)
		}
		_, ok := live[k.Hash]
		return ok || failed != nil
	})
	return collected, errors.Join(failed, err)
}

// reachable returns the names of all blocks of living sessions.
func (e *Engine) reachable(living iter.Seq2[Living, error]) (map[kvcache.Hash]struct{}, error) {
	live := map[kvcache.Hash]struct{}{}
	var chain []kvcache.Hash
	for s, err := range living {
		if err != nil {
			return nil, fmt.Errorf("engine: collection of KV blocks: %w", err)
		}
		root, err := e.diskRoot(s.Principal)
		if err != nil {
			return nil, err
		}
		chain = chainOf(chain[:0], root, s.Tokens)
		for _, h := range chain {
			live[h] = struct{}{}
		}
	}
	return live, nil
}
