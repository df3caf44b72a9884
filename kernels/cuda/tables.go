package cuda

import (
	"math"

	"github.com/holdfast-run/holdfast/internal/num"
	"github.com/holdfast-run/holdfast/sampler"
)

// RoPETables returns what RoPEParams needs for positions [0, context): the cosine
// and sine of 0 … 255 times each frequency, and of the multiples of 256 times the
// magnitude, which multiplies what is turned; pairs of numbers by position and
// frequency. Together they are good to about 2^-52.
func RoPETables(freqs []float64, magnitude float64, context int) (fine, coarse []float64) {
	turns := func(n, step int, size float64) []float64 {
		t := make([]float64, 0, 2*n*len(freqs))
		for i := range n {
			for _, f := range freqs {
				angle := float64(i*step) * f
				t = append(t, size*num.Cos(angle), size*num.Sin(angle))
			}
		}
		return t
	}
	return turns(256, 1, 1), turns((context+255)/256, 256, magnitude)
}

const (
	weightBits = 43   // sampler: the weight of the top is 2^43
	steps      = 1024 // of weight in an octave
)

// SampleBuckets is how many buckets a row has in SampleParams.
const SampleBuckets = weightBits*steps/64 + 1

// OctaveTable returns the weights of the 1024 steps below the top, which sampler's
// definition takes from a table: 2^43 · 2^(-j/1024).
func OctaveTable() []float64 {
	t := make([]float64, steps)
	for j := range t {
		t[j] = num.Pow(2, weightBits-float64(float64(j)/steps))
	}
	return t
}

// NewDraw returns how a row is sampled; row is that of the block table, or -1.
func NewDraw(r *sampler.Row, row int32) Draw {
	p := &r.Params
	d := Draw{
		Last: weightBits * steps, TopP: p.TopP, Seed: p.Seed,
		Position: uint64(r.Position), Choice: r.Choice, TopK: uint32(max(0, p.TopK)), Row: row,
	}
	if p.Temperature > 0 {
		d.Steps = min(steps*math.Log2E/p.Temperature, math.MaxFloat64)
	}
	if p.MinP > 0 {
		d.Last = min(max(0, -float64(num.Log(p.MinP)*(steps*math.Log2E))), d.Last)
	}
	return d
}
