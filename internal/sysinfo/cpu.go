package sysinfo

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// CPUName is the processor's own name, where the machine tells it.
func CPUName() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU, " + runtime.GOARCH
}

// clockSteps take some 30 ms at 3 GHz: long enough to meet what the host takes
// away in between.
const clockSteps = 100_000_000

// Clock returns the rate at which each of several threads, all at once, does
// additions that wait for one another, of the slowest: an addition takes one
// cycle, so that this is the clock in Hz of a core that nobody else uses.
func Clock(threads int) float64 {
	times, sums := make([]time.Duration, threads), make([]uint64, threads)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := time.Now()
			sums[i] = chain(clockSteps, uint64(start.Nanosecond()))
			times[i] = time.Since(start)
		})
	}
	wg.Wait()
	runtime.KeepAlive(sums)
	return clockSteps / slices.Max(times).Seconds()
}

// chain does n steps, a multiple of 8. Every other one is not an addition, which takes
// as long, because the compiler would join neighbours.
func chain(n int, k uint64) (x uint64) {
	for ; n > 0; n -= 8 {
		x += k
		x ^= k
		x += k
		x ^= k
		x += k
		x ^= k
		x += k
		x ^= k
	}
	return x
}
