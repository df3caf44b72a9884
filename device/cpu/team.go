package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast/internal/spin"
)

// spins is how often a worker looks for work before it parks, and the caller for
// the last task's end before it begins to yield: about 100 µs.
const spins = 2048

// job is a phase of a step: independent tasks, run by any worker in any order.
type job interface {
	// task runs task i on the given worker, whose scratch it may use.
	task(i, worker int)
}

// team is a fixed set of threads that run jobs together. The goroutine that
// calls run is worker 0; the others are locked to their threads, spin briefly
// between jobs and park when there is nothing to do.
//
// A job is over when its tasks are, not when every worker has seen it: a worker
// whose core the system has taken away holds up nobody, unless it was taken in
// the middle of a task. A task's result does not depend on who runs it.
type team struct {
	job job // of the tasks that state offers
	_   [64]byte
	// state holds the number of tasks of the job and the next to claim. Adding
	// one claims a task: the sum says of how many, so that a claim that comes
	// late claims nothing, or a task of the job that is there by then.
	state atomic.Uint64
	_     [64]byte
	left  atomic.Int32 // tasks that are not done
	_     [64]byte

	workers []*worker
	quit    atomic.Bool
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
	t.job = j
	t.left.Store(int32(n))
	t.state.Store(uint64(n) << 32)
	t.wakeAll()
	t.claim(0)
	for i := 1; t.left.Load() > 0; i++ {
		if spin.Pause(); i > spins && i%64 == 0 {
			runtime.Gosched() // a worker may be waiting for this processor,
			spin.Yield()      // or for this core
		}
	}
}

// open reports whether a task may be left to claim.
func (t *team) open() bool {
	s := t.state.Load()
	return uint32(s) < uint32(s>>32)
}

// claim runs tasks until none is left to claim.
func (t *team) claim(worker int) {
	for t.open() {
		s := t.state.Add(1) - 1
		if i := uint32(s); i < uint32(s>>32) {
			t.job.task(int(i), worker) // stays the job until this task is done
			t.left.Add(-1)
		}
	}
}

// work is the life of one worker.
func (t *team) work(id int, w *worker) {
	runtime.LockOSThread()
	for t.await(w) {
		t.claim(id)
	}
}

// await returns true when there may be tasks, false when the team closes.
func (t *team) await(w *worker) bool {
	for range spins {
		if t.open() {
			return true
		}
		spin.Pause()
	}
	w.parked.Store(true)
	// What came in between either saw the flag and wakes us, or is seen here
	// before anyone took the flag back.
	if !t.open() && !t.quit.Load() || !w.parked.CompareAndSwap(true, false) {
		<-w.wake
	}
	return !t.quit.Load()
}

func (t *team) wakeAll() {
	for _, w := range t.workers {
		if w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// close ends the threads. No job may be running.
func (t *team) close() {
	t.quit.Store(true)
	t.wakeAll()
	t.wg.Wait()
}
