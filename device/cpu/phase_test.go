package cpu

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// TestPerPart: each element of each row is in one part.
func TestPerPart(t *testing.T) {
	const rows = 3
	for _, dim := range []int{1, partElems - 1, partElems, partElems + 1, 3*partElems + 7} {
		p := &program{in: &device.StepInput{Tokens: make([]int32, rows)}}
		var seen [rows][]int
		for r := range seen {
			seen[r] = make([]int, dim)
		}
		p.perPart(graph.PerToken, dim, func(row, from, to int) {
			for i := from; i < to; i++ {
				seen[row][i]++
			}
		})
		for i := range p.phases[0].tasks() {
			p.phases[0].task(i, 0)
		}
		for r := range seen {
			for i, n := range seen[r] {
				if n != 1 {
					t.Fatalf("rows of %d: element %d of row %d is in %d parts", dim, i, r, n)
				}
			}
		}
	}
}

// TestGELU compares the gate with its definition in float64, in place and not,
// over lengths that are no whole number of parts.
func TestGELU(t *testing.T) {
	for _, tier := range kernels.Tiers() {
		k, err := kernels.For(tier)
		if err != nil {
			t.Fatal(err)
		}
		const n = 2*geluPart + 77
		var gate, up, out [n]float32
		for i := range gate {
			gate[i], up[i] = float32(i-n/2)/37, float32(i%13-6)/3
		}
		gate[0], gate[1], gate[2], gate[3] = -3e4, 3e4, 1e-30, float32(math.Copysign(0, -1))
		geluMul(k, out[:], gate[:], up[:])
		for i, got := range out {
			x := float64(gate[i])
			want := x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) * float64(up[i])
			// What is far below 0 is e^-2z, whose error grows with z.
			if d := math.Abs(float64(got) - want); !(d <= 1e-6*max(math.Abs(want), 1e-2)) {
				t.Fatalf("%v: gelu(%g) · %g = %g, want %g", tier, gate[i], up[i], got, want)
			}
		}
		geluMul(k, gate[:], gate[:], up[:])
		if gate != out {
			t.Fatalf("%v: other bits in place", tier)
		}
	}
}
