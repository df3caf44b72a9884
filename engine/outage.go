package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/scheduler"
)

const (
	// mostRebuilds is how often a device is rebuilt within rebuildTime. One that is
	// lost more often is broken, or something that is asked for breaks it; either
	// way each round costs everybody the weights and all prompts again, and another
	// worker can do better. What hardware does by itself comes days apart.
	mostRebuilds = 3
	rebuildTime  = 10 * time.Minute
	// outageTick is how often times that are over are looked for while the loop
	// takes no steps.
	outageTick = 50 * time.Millisecond
)

// rebuilds makes the device anew, and counts how often.
type rebuilds struct {
	// do takes as long as the model takes to load. It calls alive while it gets on,
	// and ends soon after its context. nil: the device cannot be rebuilt.
	do     func(ctx context.Context, alive func()) error
	most   int     // within rebuildTime
	recent []int64 // when, on the loop's clock
}

// rebuilderOf returns what rebuilds a model's program; nil if nothing does.
func (l *loaded) rebuilderOf(prog device.Program) func(context.Context, func()) error {
	r, ok := prog.(device.Rebuilder)
	if !ok {
		return nil
	}
	return func(ctx context.Context, alive func()) error {
		progress := func(_, _ int64) { alive() }
		if err := l.file.Load(ctx, progress); err != nil { // the first time has dropped what it made
			return err
		}
		return r.Rebuild(ctx, progress)
	}
}

// allow reports whether one more may be made now, and counts it.
func (r *rebuilds) allow(now int64) bool {
	r.recent = slices.DeleteFunc(r.recent, func(at int64) bool { return now-at >= int64(rebuildTime) })
	if r.do == nil || len(r.recent) >= r.most {
		return false
	}
	r.recent = append(r.recent, now)
	return true
}

// note remembers that the device has lost everything, if err says so.
func (l *loop) note(err error) {
	if l.lost == nil && errors.Is(err, device.ErrLost) {
		l.lost = err
	}
}

// outage takes the loop from the loss of the device to its next step. No token of
// the steps under way counts. What ran keeps the tokens that it has and waits to be
// computed again from them; a token depends on those before it, on seed and position,
// so that what comes next is what would have come. If the device does not come back,
// all requests end with an error, and so does every later one.
func (l *loop) outage() {
	began, again := time.Now(), l.forget()
	for {
		l.reportLoss(again)
		if !l.rebuilds.allow(l.now()) {
			l.giveUp(l.lost)
			return
		}
		quit, err := l.await()
		switch {
		case quit:
			return
		case err == nil:
			l.goOn(again, time.Since(began))
			return
		case !errors.Is(err, device.ErrLost):
			l.giveUp(err)
			return
		}
		l.lost = err // once more, meanwhile
	}
}

// forget has all forgotten that was on the device, and the steps under way; it
// returns how many sequences ran.
func (l *loop) forget() (again int) {
	again = l.sched.Reset()
	if l.tier != nil {
		l.forgetTier()
	}
	l.pool.Clear()
	return again
}

// await has the device rebuilt. Meanwhile the loop takes requests, and ends those
// whose time is over or whose client has left. The program is not the loop's until
// then: no block is moved.
func (l *loop) await() (quit bool, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.lastNs.Store(l.now())
	done := make(chan error, 1)
	go func() { done <- l.rebuilds.do(ctx, func() { l.lastNs.Store(l.now()) }) }()
	tick := time.NewTicker(outageTick)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return false, err
		case <-l.wake:
		case <-tick.C:
		}
		if l.receive() {
			cancel()
			<-done
			return true, nil
		}
		for _, q := range l.sched.Schedule(scheduler.Budget{Now: l.now()}).Ended {
			l.settle(owner(q))
		}
		l.publish()
	}
}

// reportLoss tells of a loss, and that requests are better sent elsewhere.
func (l *loop) reportLoss(again int) {
	l.mu.Lock()
	l.seen.DeviceFaults++
	l.down = fmt.Errorf("%w; it is being rebuilt: %w", ErrDevice, l.lost)
	l.mu.Unlock()
	var at *cuda.Error
	kernel := ""
	if errors.As(l.lost, &at) {
		kernel = at.Kernel
	}
	l.log.Error("the device has lost everything on it", "kernel", kernel, "sequences", again, "error", l.lost)
}

// goOn lets steps be taken again.
func (l *loop) goOn(again int, took time.Duration) {
	l.lost = nil
	l.mu.Lock()
	l.seen.DeviceRebuilds++
	l.seen.Replayed += uint64(again)
	l.down = nil
	l.mu.Unlock()
	l.lastNs.Store(l.now())
	l.log.Warn("the device is rebuilt, and what ran is computed again", "sequences", again, "took", took.Round(time.Millisecond))
}

// giveUp ends all requests; none is taken any more.
func (l *loop) giveUp(why error) {
	l.refusal = fmt.Errorf("%w, and is given up after %d rebuilds in %v (%w); restart the process: %w", ErrDevice, len(l.rebuilds.recent), rebuildTime, ErrGivenUp, why)
	l.mu.Lock()
	l.down = l.refusal
	l.mu.Unlock()
	l.log.Error("the device is given up; requests fail until the process is restarted", "error", why)
	l.endAll(l.refusal)
}
