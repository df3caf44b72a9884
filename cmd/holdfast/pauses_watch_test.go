package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	forcedEvery = 250 * time.Millisecond
	nap         = time.Millisecond
	writeBytes  = 4 << 10
	logBytes    = 16 << 20
)

// The runtime's histograms that a phase is compared by.
const (
	pauses   = "/sched/pauses/total/gc:seconds"
	runnable = "/sched/latencies:seconds"
)

// pauseFigures are what a phase gave.
type pauseFigures struct {
	rate                 float64         // tokens per second of all streams
	collections          []time.Duration // as whoever calls runtime.GC sees them
	late, syncs          []time.Duration
	pausesMs, runnableMs [3]float64
}

func (f *pauseFigures) row(name string) string {
	three := func(x [3]float64) string { return fmt.Sprintf("%.2f, %.2f, %.2f", x[0], x[1], x[2]) }
	sync := "-"
	if len(f.syncs) > 0 {
		sync = three(summary(f.syncs))
	}
	return fmt.Sprintf("| %s | %.0f | %d | %s | %s | %s | %s | %s |\n", name, f.rate, len(f.collections),
		three(f.pausesMs), three(summary(f.collections)), three(summary(f.late)), three(f.runnableMs), sync)
}

// summary sorts x and returns its median, 99th percentile and most, in
// milliseconds.
func summary(x []time.Duration) (ms [3]float64) {
	if len(x) == 0 {
		return ms
	}
	slices.Sort(x)
	for i, p := range [...]float64{.5, .99, 1} {
		ms[i] = x[min(len(x)-1, int(p*float64(len(x))))].Seconds() * 1e3
	}
	return ms
}

// pauseWatch looks at a process from inside, and writes if it has a file.
type pauseWatch struct{ log *os.File }

// stalls returns how long threads that only look at the clock were kept from it, each
// time that it was more than a tenth of a millisecond: what the machine does to
// everybody, whatever runs.
func stalls(threads int, long time.Duration) (all []time.Duration) {
	found := make([][]time.Duration, threads)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for start, last := time.Now(), time.Now(); last.Sub(start) < long; {
				now := time.Now()
				if gap := now.Sub(last); gap > 100*time.Microsecond {
					found[i] = append(found[i], gap)
				}
				last = now
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

// newPauseWatch prepares the writer's file, if there is to be a writer: written in
// full, as a log's segment is, so that a sync of it is one of data alone.
func newPauseWatch(b *testing.B, syncs bool) *pauseWatch {
	if !syncs {
		return &pauseWatch{}
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err = f.Write(make([]byte, logBytes)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		b.Fatal(err)
	}
	return &pauseWatch{log: f}
}

// run collects, naps and writes for so long.
func (w *pauseWatch) run(b *testing.B, long time.Duration) (f pauseFigures) {
	before := readPauses()
	end := time.Now().Add(long)
	var all sync.WaitGroup
	all.Go(func() {
		for time.Now().Before(end) {
			start := time.Now()
			runtime.GC()
			f.collections = append(f.collections, time.Since(start))
			time.Sleep(forcedEvery)
		}
	})
	all.Go(func() {
		for time.Now().Before(end) {
			start := time.Now()
			time.Sleep(nap)
			f.late = append(f.late, time.Since(start)-nap)
		}
	})
	if w.log != nil {
		all.Go(func() { f.syncs = w.write(b, end) })
	}
	all.Wait()
	after := readPauses()
	f.pausesMs, f.runnableMs = between(before[0], after[0]), between(before[1], after[1])
	return f
}

// write appends and syncs without end, and returns how long each took together.
func (w *pauseWatch) write(b *testing.B, end time.Time) (times []time.Duration) {
	record := make([]byte, writeBytes)
	for at := int64(0); time.Now().Before(end); at = (at + writeBytes) % logBytes {
		start := time.Now()
		_, err := w.log.WriteAt(record, at)
		if err == nil {
			err = w.log.Sync()
		}
		if err != nil {
			b.Error(err)
			break
		}
		times = append(times, time.Since(start))
	}
	return times
}

// readPauses returns copies of the runtime's histograms: pauses, runnable.
func readPauses() (h [2]metrics.Float64Histogram) {
	samples := []metrics.Sample{{Name: pauses}, {Name: runnable}}
	metrics.Read(samples)
	for i, s := range samples {
		from := s.Value.Float64Histogram()
		h[i] = metrics.Float64Histogram{Counts: slices.Clone(from.Counts), Buckets: from.Buckets}
	}
	return h
}

// between returns the median, 99th percentile and most of what came to a histogram,
// in milliseconds: the upper ends of the buckets, the last of which has none.
func between(before, after metrics.Float64Histogram) (ms [3]float64) {
	total := uint64(0)
	for i := range after.Counts {
		after.Counts[i] -= before.Counts[i]
		total += after.Counts[i]
	}
	for i, p := range [...]float64{.5, .99, 1} {
		seen := uint64(0)
		for b, n := range after.Counts {
			if seen += n; n > 0 && float64(seen) >= p*float64(total) {
				ms[i] = after.Buckets[min(b+1, len(after.Buckets)-2)] * 1e3
				break
			}
		}
	}
	return ms
}

func TestBetween(t *testing.T) {
	buckets := []float64{0, .001, .002, .004, .008}
	before := metrics.Float64Histogram{Counts: []uint64{5, 0, 7, 0}, Buckets: buckets}
	after := metrics.Float64Histogram{Counts: []uint64{65, 39, 7, 1}, Buckets: buckets}
	if got := between(before, after); got != [3]float64{1, 2, 4} { // 60, 39, 0 and 1 came
		t.Errorf("%v", got)
	}
	if got := between(after, after); got != [3]float64{} {
		t.Errorf("nothing came: %v", got)
	}
}

func TestSummary(t *testing.T) {
	var x []time.Duration
	for i := range 100 {
		x = append(x, time.Duration(100-i)*time.Millisecond)
	}
	if got := summary(x); got != [3]float64{51, 100, 100} {
		t.Errorf("%v", got)
	}
}
