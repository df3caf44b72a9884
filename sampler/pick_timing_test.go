package sampler

import (
	"math/rand/v2"
	"testing"
)

// benchRow returns n normally distributed logits.
func benchRow(n int, spread float64) []float32 {
	rng := rand.New(rand.NewPCG(5, 6))
	logits := make([]float32, n)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64() * spread)
	}
	return logits
}

// BenchmarkPick has vocabularies of the sizes of SmolLM2 and Llama 3, with logits
// as spread as a model's, and one that shares a single bucket.
func BenchmarkPick(b *testing.B) {
	for _, c := range []struct {
		name   string
		n      int
		spread float64
		params Params
	}{
		{"greedy/49152", 49152, 3, Params{TopP: 1}},
		{"greedy/128256", 128256, 3, Params{TopP: 1}},
		{"temperature/49152", 49152, 3, Params{Temperature: 1, TopP: 1}},
		{"top_p/49152", 49152, 3, Params{Temperature: 0.8, TopP: 0.95}},
		{"top_k_top_p/49152", 49152, 3, Params{Temperature: 0.8, TopK: 40, TopP: 0.95}},
		{"top_p/128256", 128256, 3, Params{Temperature: 0.8, TopP: 0.95}},
		{"top_p_flat/128256", 128256, 0.001, Params{Temperature: 1, TopP: 0.95}},
	} {
		b.Run(c.name, func(b *testing.B) {
			logits := benchRow(c.n, c.spread)
			s := new(Scratch)
			row := Row{Params: c.params}
			if _, err := Pick(logits, row, s); err != nil { // s grows
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(4 * c.n))
			for b.Loop() {
				row.Position++
				if _, err := Pick(logits, row, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
