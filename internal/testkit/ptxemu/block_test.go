package ptxemu

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRMS(t *testing.T) {
	b := load(t, "block")
	const rows, n = 5, 333
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, rows*n)
	for i := range x {
		x[i] = rng.Float32()*4 - 2
	}
	for seed := range uint64(4) {
		in, out := alloc(b, x), alloc(b, make([]float32, rows*n))
		b.run("rms", Config{Grid: Dim3{X: rows}, Block: Dim3{X: 256}, Seed: seed}, in, out, int32(n), float32(1e-5))
		got := read[float32](b, out, rows*n)
		for r := range rows {
			sum := 0.0
			for _, v := range x[r*n : (r+1)*n] {
				sum += float64(v) * float64(v)
			}
			scale := 1 / math.Sqrt(sum/n+1e-5)
			for i, v := range x[r*n : (r+1)*n] {
				want := float64(v) * scale
				if math.Abs(float64(got[r*n+i])-want) > 1e-6*math.Abs(want) {
					t.Fatalf("row %d column %d: %g, not %g", r, i, got[r*n+i], want)
				}
			}
		}
	}
}
