//go:build !race

package ptxemu

import (
	"math"
	"testing"
)

// TestStepsAllocateNothing: a launch of many rounds allocates what one of few
// does, whatever the instructions.
func TestStepsAllocateNothing(t *testing.T) {
	b := load(t, "timing")
	out := alloc(b, make([]float32, 256))
	for _, kernel := range []string{"loop_float", "loop_integer", "loop_shared", "loop_mma"} {
		count := func(rounds int32) float64 {
			p, err := b.mod.Pack(kernel, out, rounds)
			if err != nil {
				t.Fatal(err)
			}
			least := math.Inf(1)
			for range 5 { // a collection may take what a launch has pooled, hardly of all
				least = min(least, testing.AllocsPerRun(3, func() {
					if err := b.mod.Launch(kernel, Config{Block: Dim3{X: 64}, Workers: 1, Params: p}); err != nil {
						t.Fatal(err)
					}
				}))
			}
			return least
		}
		if few, many := count(2), count(200); many > few+2 {
			t.Errorf("%s: %g allocations in 2 rounds, %g in 200", kernel, few, many)
		}
	}
}
