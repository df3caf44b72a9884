package cpu

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// countJob counts how often each task ran, and in how many workers.
type countJob struct {
	ran    []atomic.Int32
	worker [8]atomic.Int32
}

func (j *countJob) task(i, worker int) {
	j.ran[i].Add(1)
	j.worker[worker].Add(1)
}

// TestTeam runs many jobs of many sizes, with pauses in which workers park:
// every task runs once.
func TestTeam(t *testing.T) {
	for _, threads := range []int{1, 2, 4} {
		team := newTeam(threads)
		for round := range 300 {
			j := &countJob{ran: make([]atomic.Int32, round%97)}
			team.run(j, len(j.ran))
			for i := range j.ran {
				if n := j.ran[i].Load(); n != 1 {
					t.Fatalf("%d threads, round %d: task %d ran %d times", threads, round, i, n)
				}
			}
			if round%50 == 0 {
				parked(t, team)
			}
		}
		team.close()
	}
}

// parked waits until every worker has parked: an idle team uses no CPU.
func parked(t *testing.T, team *team) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); runtime.Gosched() {
		n := 0
		for _, w := range team.workers {
			if w.parked.Load() {
				n++
			}
		}
		if n == len(team.workers) {
			return
		}
	}
	t.Fatal("workers never park")
}

// TestTeamUnderGC: a collection finishes while the team spins and works. Without
// safepoints it takes seconds. A busy machine may stall many, not all of a minute.
func TestTeamUnderGC(t *testing.T) {
	const most = 2 * time.Second
	team := newTeam(2)
	defer team.close()
	stop := make(chan struct{})
	done := make(chan time.Duration, 1)
	go func() {
		var worst time.Duration
		for end := time.Now().Add(time.Minute); ; {
			worst = 0
			for range 5 {
				start := time.Now()
				runtime.GC()
				worst = max(worst, time.Since(start))
			}
			if worst <= most || time.Now().After(end) {
				break
			}
		}
		done <- worst
		close(stop)
	}()
	j := &countJob{ran: make([]atomic.Int32, 64)}
	for {
		select {
		case <-stop:
			if worst := <-done; worst > most {
				t.Errorf("of every five collections one took as long as %s", worst)
			}
			return
		default:
			team.run(j, len(j.ran))
		}
	}
}

func BenchmarkTeamRun(b *testing.B) {
	team := newTeam(2)
	defer team.close()
	j := &countJob{ran: make([]atomic.Int32, 2)}
	b.ReportAllocs()
	for b.Loop() {
		team.run(j, 2)
	}
}
