//go:build !race

package ptxemu

import "testing"

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
			return testing.AllocsPerRun(3, func() {
				if err := b.mod.Launch(kernel, Config{Block: Dim3{X: 64}, Workers: 1, Params: p}); err != nil {
					t.Fatal(err)
				}
			})
		}
		if few, many := count(2), count(200); many > few+2 {
			t.Errorf("%s: %g allocations in 2 rounds, %g in 200", kernel, few, many)
		}
	}
}
