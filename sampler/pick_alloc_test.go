//go:build !race

package sampler

import "testing"

func TestPickDoesNotAllocate(t *testing.T) {
	logits, small := benchRow(49152, 3), benchRow(1000, 0.001)
	s := new(Scratch)
	row := Row{Params: Params{Temperature: 0.8, TopK: 5000, TopP: 0.95}}
	pick := func() {
		row.Position++
		for _, l := range [][]float32{logits, small} {
			if _, err := Pick(l, row, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	pick()
	if n := testing.AllocsPerRun(50, pick); n != 0 {
		t.Errorf("%v allocations a pick", n)
	}
}
