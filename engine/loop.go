package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/slab"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

const (
	// stepTime is the longest that a prompt's chunk may hold up others.
	stepTime = 50 * time.Millisecond
	// mostPreemptions is how often one sequence gives way before others do.
	mostPreemptions = 3
	// flushTime is how long the loop's end may wait for blocks to be written.
	flushTime = 10 * time.Second
)

// loop is the step loop: the one goroutine that owns the scheduler, the block
// pool and the program. Others put generations into inbox or gone, and call
// notify.
type loop struct {
	prog  device.Program
	opts  device.Options
	pool  *kvcache.Pool
	sched *scheduler.Scheduler
	itl   time.Duration // target between two tokens of one sequence
	host  []byte        // blocks of preempted sequences
	slab  *slab.Slab    // behind host, if that is not the program's
	live  []*Generation // accepted and not ended; each knows its place
	purse purse
	tier  *tier // nil without a store

	rebuilds rebuilds
	lost     error // what took everything from the device; nil while it works
	refusal  error // what requests are told once it is given up
	log      *slog.Logger

	flights [2]flight
	landed  time.Time // when the last step did
	scratch sampler.Scratch

	// tap, in tests, sees each row of logits and the position that it speaks of.
	tap func(g *Generation, next int, logits []float32)

	epoch  time.Time     // of the scheduler's clock
	wake   chan struct{} // holds a token when there is something to look at
	done   chan struct{} // closed when run returns
	lastNs atomic.Int64  // the scheduler's clock at the last progress, 0 when idle

	mu       sync.Mutex
	inbox    []*Generation // waiting for the loop to take them
	gone     []*Generation // cancelled, for the loop to end
	calls    []func()      // to be done by the loop
	queued   int           // accepted generations that do not run yet
	limit    int           // most of them
	draining bool
	quit     bool
	down     error // why the device takes no steps
	trace    tracer
	seen     Stats
}

// newLoop returns a loop that is not running yet. The slab of host memory, if it has
// one, is the loop's until close.
func newLoop(prog device.Program, o device.Options, cfg Config) (*loop, error) {
	pool := newPool(o)
	l := &loop{
		prog: prog, opts: o, pool: pool, itl: cfg.ITL, purse: newPurse(),
		sched: scheduler.New(pool, scheduler.Limits{Rows: o.MaxRows, HostBlocks: cfg.HostBlocks, Preemptions: mostPreemptions}),
		epoch: time.Now(),
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		log:   cfg.Log,
		limit: maxQueue,
		seen:  Stats{BlocksTotal: pool.Total()},
	}
	l.rebuilds.most = mostRebuilds
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.itl == 0 {
		l.itl = stepTime
	}
	if cfg.HostBlocks > 0 {
		if err := l.openHost(cfg.HostBlocks * prog.Pool(device.Full).BlockBytes()); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// openHost allocates n bytes for blocks of preempted sequences: the program's, if it
// has memory that it copies faster to.
func (l *loop) openHost(n int) (err error) {
	if a, ok := l.prog.(device.HostAllocator); ok {
		if l.host, err = a.HostMemory(n); err == nil {
			return nil
		}
		l.log.Warn("host memory for preempted sequences is not page-locked; they are slower to come back", "bytes", n, "error", err)
	}
	if l.slab, err = slab.New(n); err != nil {
		return err
	}
	l.host = l.slab.Take(n)
	return nil
}

// newPool returns the books of the device's pools.
func newPool(o device.Options) *kvcache.Pool {
	if o.Blocks[device.Window] == 0 {
		return kvcache.NewPool(o.Blocks[device.Full])
	}
	return kvcache.NewWindowPool(o.Blocks[device.Full], o.Blocks[device.Window], o.Window)
}

// close frees what newLoop took, after run has returned.
func (l *loop) close() error {
	var err error
	if l.tier != nil {
		err = l.tier.close()
	}
	if l.slab != nil {
		err = errors.Join(err, l.slab.Close())
	}
	return err
}

// now is the scheduler's clock: it stands still with the machine, and is never 0.
func (l *loop) now() int64 { return int64(time.Since(l.epoch)) + 1 }

func (l *loop) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// submit hands generations to the loop, all or none.
func (l *loop) submit(all ...*Generation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining || l.quit {
		return ErrStopped
	}
	if l.queued+len(all) > l.limit {
		return ErrBusy
	}
	l.queued += len(all)
	l.inbox = append(l.inbox, all...)
	for _, g := range all {
		if g.submitted = true; g.left {
			l.gone = append(l.gone, g)
		}
	}
	l.notify()
	return nil
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer close(l.done)
	l.lastNs.Store(l.now())
	var under *flight // launched and sampled, not landed
	for n := 0; ; n++ {
		if l.receive() {
			l.leaveOff(under)
			return
		}
		l.tend()
		switch {
		case l.refusal != nil:
			l.park()
		case l.lost == nil:
			under = l.step(under, &l.flights[n%2])
		}
		if l.lost != nil && l.refusal == nil {
			under = nil
			l.outage()
		}
		l.publish()
	}
}

// step launches a step, lands the one that is under way, and returns what is under
// way then: where launches overlap the host, a step is launched before the one
// before it has landed. Of a device that is lost nothing lands.
func (l *loop) step(under, next *flight) *flight {
	asked := l.now()
	batch := l.sched.Schedule(l.budget())
	for _, q := range batch.Ended {
		l.settle(owner(q))
	}
	if len(batch.Items) > 0 {
		next.trace = stepTrace{scheduled: asked}
		l.launch(next, batch)
	} else {
		next = nil
	}
	if under != nil && l.lost == nil {
		l.land(under)
	}
	switch {
	case l.lost != nil:
	case next != nil:
		l.sample(next)
		if !l.prog.Overlaps() {
			l.land(next)
			next = nil
		}
	case under == nil:
		l.park()
	}
	return next
}

// leaveOff is the loop's end.
func (l *loop) leaveOff(under *flight) {
	if under != nil {
		l.land(under)
	}
	if l.lost != nil {
		l.forget()
	}
	l.endAll(ErrStopped)
	l.flushTier(flushTime)
}

// budget is what a step may take.
func (l *loop) budget() scheduler.Budget {
	return scheduler.Budget{Now: l.now(), Tokens: l.opts.MaxTokens, Logits: l.opts.MaxRows, ITL: l.itl, Prefill: stepTime}
}

// park waits for something to do.
func (l *loop) park() {
	l.lastNs.Store(0)
	l.publish()
	<-l.wake
	l.lastNs.Store(l.now())
}

// receive takes what others put down for the loop, and reports whether to quit.
func (l *loop) receive() (quit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.inbox {
		l.accept(g)
	}
	clear(l.inbox)
	l.inbox = l.inbox[:0]
	for _, g := range l.gone {
		if g.ended {
			continue
		}
		l.cancel(g, context.Canceled)
		l.seen.Cancelled++
	}
	clear(l.gone)
	l.gone = l.gone[:0]
	for _, call := range l.calls {
		call()
	}
	clear(l.calls)
	l.calls = l.calls[:0]
	return l.quit || (l.draining && len(l.live) == 0)
}

// accept hands a generation's sequence to the scheduler.
func (l *loop) accept(g *Generation) {
	g.seq.Principal = l.purse.take(g.req.Principal, g.req.Weight)
	g.seq.Arrived = int64(g.arrived.Sub(l.epoch))
	if t := g.req.QueueTime; t > 0 {
		g.seq.QueueBy = g.seq.Arrived + int64(t)
	}
	if t := g.req.Time; t > 0 {
		g.seq.FinishBy = g.seq.Arrived + int64(t)
	}
	g.place = len(l.live)
	l.live = append(l.live, g)
	if l.refusal != nil {
		g.end(scheduler.Failed, l.refusal)
		l.drop(g)
		return
	}
	var ok bool
	if g.seq.Root, ok = l.rootOf(g.req.Principal); !ok {
		g.end(scheduler.Failed, ErrPrincipals)
		l.drop(g)
		return
	}
	if !l.restoreFor(g) {
		l.add(g)
	}
}

// drop forgets a generation that has ended.
func (l *loop) drop(g *Generation) {
	last := len(l.live) - 1
	l.live[g.place], l.live[last].place = l.live[last], g.place
	l.live[last] = nil
	l.live = l.live[:last]
	l.purse.give(g.req.Principal)
}

func (l *loop) endAll(err error) {
	for len(l.live) > 0 {
		g := l.live[len(l.live)-1]
		l.cancel(g, err)
	}
}

// rootOf returns a principal's root of the prefix index: what one has computed
// another does not find.
func (l *loop) rootOf(principal string) (kvcache.Root, bool) {
	return l.pool.Root(blake3.Sum256([]byte(principal)))
}

// cancel ends a generation that has not ended.
func (l *loop) cancel(g *Generation, err error) {
	if g.restoring == nil { // else the scheduler does not know it yet
		l.sched.Cancel(&g.seq)
	}
	g.end(scheduler.Cancelled, err)
	l.keep(g)
	l.drop(g)
}

// leave tells the loop that nobody wants a generation any more. It may be
// called before submit, which then tells the loop: it knows nothing of g until then.
func (l *loop) leave(g *Generation) {
	l.mu.Lock()
	if g.left = true; g.submitted {
		l.gone = append(l.gone, g)
	}
	l.mu.Unlock()
	l.notify()
}

func (l *loop) drain(ctx context.Context) error {
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	l.notify()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *loop) stop() {
	l.mu.Lock()
	l.quit = true
	l.mu.Unlock()
	l.notify()
	<-l.done
}
