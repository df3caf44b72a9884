package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

const (
	// stepTime is the longest that a prompt's chunk may hold up others.
	stepTime = 50 * time.Millisecond
	// leastChunk is the smallest chunk of a prompt, whatever its time.
	leastChunk = 16
	// stuckAfter is the age of the last step at which the loop, with work to
	// do, is called stuck.
	stuckAfter = 30 * time.Second
)

// loop is the step loop: the one goroutine that owns the scheduler, the block
// pool and the program. Others put generations into inbox, set their cancelled
// flag, and call notify.
type loop struct {
	prog  device.Program
	opts  device.Options
	pool  *kvcache.Pool
	root  kvcache.Root // of all sequences, until tenants have their own
	sched *scheduler.Scheduler
	live  []*Generation // accepted and not ended
	step  stepInput
	late  sampler.Late
	pace  pace

	wake   chan struct{} // holds a token when there is something to look at
	done   chan struct{} // closed when run returns
	lastNs atomic.Int64  // unix time of the last progress, 0 when idle

	mu       sync.Mutex
	inbox    []*Generation // waiting for the loop to take them
	queued   int           // accepted generations that do not run yet
	draining bool
	quit     bool
	seen     Stats
}

func newLoop(prog device.Program, o device.Options) *loop {
	pool := kvcache.NewPool(prog.Pool().Blocks())
	root, _ := pool.Root(kvcache.Hash{}) // the first always has room
	return &loop{
		prog: prog, opts: o, pool: pool, root: root,
		sched: scheduler.New(pool, o.MaxRows),
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		seen:  Stats{BlocksTotal: pool.Total()},
	}
}

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
	if l.queued+len(all) > maxQueue {
		return ErrBusy
	}
	l.queued += len(all)
	l.inbox = append(l.inbox, all...)
	l.notify()
	return nil
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer close(l.done)
	for {
		quit := l.receive()
		l.dropCancelled()
		if quit {
			l.endAll(ErrStopped)
			return
		}
		batch := l.sched.Schedule(l.pace.budget(l.opts.MaxTokens, len(l.live)))
		if len(batch) == 0 {
			l.lastNs.Store(0)
			l.publish()
			<-l.wake
			l.lastNs.Store(time.Now().UnixNano())
			continue
		}
		l.runStep(batch)
		l.publish()
	}
}

// receive takes what waits in the inbox and reports whether to quit.
func (l *loop) receive() (quit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.inbox {
		g.seq.Root = l.root
		if err := l.sched.Add(&g.seq); err != nil {
			g.end(scheduler.Failed, err)
			l.queued--
			continue
		}
		l.live = append(l.live, g)
	}
	clear(l.inbox)
	l.inbox = l.inbox[:0]
	return l.quit || (l.draining && len(l.live) == 0)
}

// runStep runs one batch and hands its tokens out.
func (l *loop) runStep(batch []scheduler.Item) {
	start := time.Now()
	in := l.step.fill(batch)
	l.late.Rows = l.late.Rows[:0]
	for _, it := range batch {
		if it.Logits {
			l.late.Rows = append(l.late.Rows, owner(it.Seq).row())
		}
	}
	out, err := l.compute(in)
	if err != nil {
		l.fail(batch, err)
		return
	}
	l.sched.Apply(batch, out.Tokens)
	now := time.Now()
	l.lastNs.Store(now.UnixNano())
	l.pace.learn(len(in.Tokens), now.Sub(start))
	l.deliver(batch)
}

// compute runs both phases of a step.
func (l *loop) compute(in *device.StepInput) (*device.Output, error) {
	t, err := l.prog.Launch(in)
	if err != nil {
		return nil, err
	}
	if t, err = l.prog.Sample(t, &l.late); err != nil {
		return nil, err
	}
	return t.Wait()
}

// deliver hands the step's tokens to their generations and drops those that
// have ended.
func (l *loop) deliver(batch []scheduler.Item) {
	prompt, cached, made := 0, 0, 0
	for _, it := range batch {
		q, g := it.Seq, owner(it.Seq)
		if q.Computed-it.Tokens < g.usage.PromptTokens {
			prompt += it.Tokens
		}
		switch {
		case q.Reason == scheduler.Failed:
			g.end(scheduler.Failed, fmt.Errorf("%w: no number among the logits", ErrDevice))
		case it.Logits:
			if q.Computed-it.Tokens < g.usage.PromptTokens {
				cached += q.Cached
			}
			g.push(q.Tokens[len(q.Tokens)-1], q.Reason)
			made++
		}
	}
	l.mu.Lock()
	l.seen.Steps++
	l.seen.PromptTokens += uint64(prompt)
	l.seen.CachedTokens += uint64(cached)
	l.seen.CompletionTokens += uint64(made)
	l.mu.Unlock()
	l.sweep()
}

// fail ends every sequence of a batch whose step failed.
func (l *loop) fail(batch []scheduler.Item, err error) {
	for _, it := range append([]scheduler.Item(nil), batch...) {
		l.sched.Cancel(it.Seq)
		owner(it.Seq).end(scheduler.Failed, fmt.Errorf("%w: %w", ErrDevice, err))
	}
	l.sweep()
}

// dropCancelled ends the generations whose client is gone.
func (l *loop) dropCancelled() {
	n := uint64(0)
	for _, g := range l.live {
		if g.cancelled.Load() && !g.ended {
			l.sched.Cancel(&g.seq)
			g.end(scheduler.Cancelled, context.Canceled)
			n++
		}
	}
	if n > 0 {
		l.mu.Lock()
		l.seen.Cancelled += n
		l.mu.Unlock()
		l.sweep()
	}
}

// sweep forgets the generations that have ended.
func (l *loop) sweep() {
	kept := l.live[:0]
	for _, g := range l.live {
		if !g.ended {
			kept = append(kept, g)
		}
	}
	clear(l.live[len(kept):])
	l.live = kept
}

func (l *loop) endAll(err error) {
	for _, g := range l.live {
		l.sched.Cancel(&g.seq)
		g.end(scheduler.Cancelled, err)
	}
	l.live = nil
}

// owner returns the generation of a sequence.
func owner(q *scheduler.Sequence) *Generation { return q.Owner.(*Generation) }

// publish copies the gauges to where others may read them.
func (l *loop) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.Waiting, l.seen.Running = l.sched.Waiting(), l.sched.Running()
	l.seen.BlocksUsed, l.seen.BlocksCached = l.pool.Total()-l.pool.Free(), l.pool.Cached()
	l.queued = l.seen.Waiting + len(l.inbox)
}

func (l *loop) stats(now time.Time) Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen
	s.Waiting += len(l.inbox)
	if last := l.lastNs.Load(); last != 0 {
		s.LastStepAge = now.Sub(time.Unix(0, last))
	}
	return s
}

func (l *loop) ready(now time.Time) error {
	l.mu.Lock()
	closing := l.draining || l.quit
	l.mu.Unlock()
	if closing {
		return ErrStopped
	}
	if last := l.lastNs.Load(); last != 0 && now.Sub(time.Unix(0, last)) > stuckAfter {
		return fmt.Errorf("engine: no step has finished for %s", now.Sub(time.Unix(0, last)).Round(time.Second))
	}
	return nil
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
