package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast/internal/spin"
)

// spins is how often a worker looks for work before it parks, and the caller for
// the workers' end before it begins to yield: about 100 µs.
const spins = 2048

// job is a phase of a step: independent tasks, run by any worker in any order.
type job interface {
	// task runs task i on the given worker, whose scratch it may use.
	task(i, worker int)
}

// team is a fixed set of threads that run jobs together. The goroutine that
// calls run is worker 0; the others are locked to their threads, spin briefly
// between jobs and park when there is nothing to do.
type team struct {
	job   job
	count int32
	_     [64]byte
	next  atomic.Int32 // next task to claim
	_     [64]byte
	epoch atomic.Uint32 // changes when there is a new job
	_     [64]byte
	busy  atomic.Int32 // workers that have not finished the job

	workers []*worker
	quit    bool
	wg      sync.WaitGroup
}

// worker is one thread of a team other than the caller's.
type worker struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [64]byte
}

// newTeam starts n-1 threads beside the caller's.
func newTeam(n int) *team {
	t := &team{}
	for id := 1; id < n; id++ {
		w := &worker{wake: make(chan struct{}, 1)}
		t.workers = append(t.workers, w)
		t.wg.Go(func() { t.work(id, w) })
	}
	return t
}

// size returns the number of workers, the caller's included.
func (t *team) size() int { return len(t.workers) + 1 }

// run runs n tasks of j and returns when all are done.
func (t *team) run(j job, n int) {
	if n == 1 || len(t.workers) == 0 {
		for i := range n {
			j.task(i, 0)
		}
		return
	}
	t.start(j, n)
	t.claim(0)
	for i := 1; t.busy.Load() > 0; i++ {
		if spin.Pause(); i > spins && i%64 == 0 {
			runtime.Gosched() // a worker may be waiting for this processor,
			spin.Yield()      // or for this core
		}
	}
}

func (t *team) start(j job, n int) {
	t.job, t.count = j, int32(n)
	t.next.Store(0)
	t.busy.Store(int32(len(t.workers)))
	t.epoch.Add(1)
	for _, w := range t.workers {
		if w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// claim runs tasks until none is left.
func (t *team) claim(worker int) {
	for {
		i := t.next.Add(1) - 1
		if i >= t.count {
			return
		}
		t.job.task(int(i), worker)
	}
}

// work is the life of one worker.
func (t *team) work(id int, w *worker) {
	runtime.LockOSThread()
	seen := uint32(0)
	for {
		seen = t.await(w, seen)
		if t.quit {
			return
		}
		t.claim(id)
		t.busy.Add(-1)
	}
}

// await returns the epoch of the next job.
func (t *team) await(w *worker, seen uint32) uint32 {
	for range spins {
		if e := t.epoch.Load(); e != seen {
			return e
		}
		spin.Pause()
	}
	w.parked.Store(true)
	// A job that came in between either saw the flag and wakes us, or is seen
	// here before anyone took the flag back.
	if t.epoch.Load() == seen || !w.parked.CompareAndSwap(true, false) {
		<-w.wake
	}
	return t.epoch.Load()
}

// close ends the threads. No job may be running.
func (t *team) close() {
	t.quit = true
	t.start(nil, 0)
	t.wg.Wait()
}
