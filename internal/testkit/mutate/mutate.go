// Package mutate runs the body of a fuzz target in the process of the test, over mutants
// of the target's corpus. Go's engine has another process run each input: a reader that
// takes a microsecond waits a hundred of them. Here it does not, so ten million
// executions are a matter of minutes, and five thousand belong to the usual tests.
//
// An input that shows something new becomes a parent of others: in a test run with -cover
// one that reached statements of the package that none had reached, and else one whose
// error says in other words what is wrong. An execution that ends the process at once
// (all memory, a fatal error of the runtime) leaves no input behind; the same seed leads
// to it again.
package mutate

import (
	"flag"
	"os"
	"slices"
	"testing"
	"time"
)

const (
	usual = 5_000
	long  = 10_000_000 // with HOLDFAST_LONG=1

	maxPool  = 4096    // parents
	maxBytes = 1 << 16 // of a mutant's argument
	hung     = time.Minute
	shown    = 20 // classes, the most frequent
)

var keep = flag.String("mutants", "", "write inputs that show something new to a folder here, as Go's engine does to testdata/fuzz")

// Input is the arguments of one execution, as testing.F has them: []byte, string, int32,
// int64 or uint64.
type Input []any

// Add gives the seeds to Go's engine.
func Add(f *testing.F, seeds []Input) {
	for _, in := range seeds {
		f.Add(in...)
	}
}

// Fuzz calls check with mutants of the seeds and of what lies in testdata/fuzz/TARGET,
// first with these themselves. What check returns is the class of the execution, nil one
// too; it reports failures to t, and the input of a call that does not return, but fails
// the test or panics, is written to testdata/fuzz/TARGET, where `go test` finds it, and printed.
// check may repair its input, a length or a digest, before it gives it to the reader.
func Fuzz(t *testing.T, target string, seeds []Input, check func(Input) error) {
	t.Helper()
	pool := append(slices.Clone(seeds), corpus(t, target)...)
	first := len(pool)
	if first == 0 {
		t.Fatalf("%s has no seeds", target)
	}
	n := usual
	if os.Getenv("HOLDFAST_LONG") != "" {
		n = long
	}
	g := newGenerator(target)
	classes, covered := map[string]int{}, 0.0
	var in Input
	running := true
	defer func() {
		if running || t.Failed() {
			t.Errorf("%s fails with the input that is now %s:\n%s", target, write(t, "testdata/fuzz/"+target, in), in.encode())
		}
	}()
	watch := time.AfterFunc(hung, func() { os.Stderr.WriteString(target + " has run for a minute:\n" + in.encode()) })
	defer watch.Stop()
	begin, slowest := time.Now(), time.Duration(0)
	for i := range n {
		if i < first {
			in = pool[i].clone()
		} else {
			in = g.mutant(pool)
		}
		watch.Reset(hung)
		start := time.Now()
		class := classOf(check(in))
		slowest = max(slowest, time.Since(start))
		if t.Failed() {
			return
		}
		c := testing.Coverage()
		if fresh := c > covered || testing.CoverMode() == "" && classes[class] == 0; fresh && len(pool) < maxPool {
			if i >= first {
				pool = append(pool, in)
				if *keep != "" {
					write(t, *keep+"/"+target, in)
				}
			}
		}
		classes[class], covered = classes[class]+1, max(c, covered)
	}
	running = false
	t.Logf("%s: %d executions in %.1fs, the slowest %.1f ms; %d classes; %d seeds, %d inputs that showed something new", target, n,
		time.Since(begin).Seconds(), slowest.Seconds()*1e3, len(classes), first, len(pool)-first)
	if testing.CoverMode() != "" {
		t.Logf("%s: %.1f%% of the package's statements", target, 100*covered)
	}
	for _, class := range sorted(classes)[:min(shown, len(classes))] {
		t.Logf("%9d %s", classes[class], class)
	}
}
