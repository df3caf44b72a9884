package engine

import (
	"fmt"
	"time"
)

const (
	// stuckAfter is the age of the last step at which the loop, with work to
	// do, is called stuck; wedgedAfter is that at which it is given up.
	stuckAfter  = 30 * time.Second
	wedgedAfter = 5 * time.Minute
)

// delivered counts what one step gave.
type delivered struct{ prompt, cached, made int }

// count adds a step to the counters.
func (l *loop) count(d delivered) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.Steps++
	l.seen.PromptTokens += uint64(d.prompt)
	l.seen.CachedTokens += uint64(d.cached)
	l.seen.CompletionTokens += uint64(d.made)
}

// publish copies the gauges to where others may read them.
func (l *loop) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.Waiting, l.seen.Running = l.sched.Waiting(), l.sched.Running()
	l.seen.QueuedTokens = l.sched.QueuedTokens()
	l.seen.BlocksUsed, l.seen.BlocksCached = l.pool.Total()-l.pool.Free(), l.pool.Cached()
	l.seen.Evictions, l.seen.Counters = l.pool.Evicted(), l.sched.Counters()
	if l.tier != nil {
		l.seen.TierStats = l.tier.counts
		l.seen.Waiting += l.tier.restoring
	}
	l.queued = l.seen.Waiting + len(l.inbox)
}

func (l *loop) stats(now time.Time) Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen
	s.Waiting += len(l.inbox)
	s.LastStepAge = l.age(now)
	return s
}

// age is how long ago the loop last made progress; 0 when it has nothing to do.
func (l *loop) age(now time.Time) time.Duration {
	if last := l.lastNs.Load(); last != 0 {
		return now.Sub(l.epoch) - time.Duration(last)
	}
	return 0
}

func (l *loop) ready(now time.Time) error {
	l.mu.Lock()
	closing, down := l.draining || l.quit, l.down
	l.mu.Unlock()
	if closing {
		return ErrStopped
	}
	if down != nil {
		return down
	}
	if age := l.age(now); age > stuckAfter {
		return fmt.Errorf("engine: no step has finished for %s", age.Round(time.Second))
	}
	return nil
}

// watch closes wedged when a step takes longer than limit, and returns when the
// loop has ended. A hung call into a driver cannot be taken back: what is left
// is to say so and to exit.
func (l *loop) watch(limit time.Duration, wedged chan<- struct{}) {
	tick := time.NewTicker(limit / 8)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case now := <-tick.C:
			if l.age(now) > limit {
				close(wedged)
				return
			}
		}
	}
}
