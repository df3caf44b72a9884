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
		{"min_p/49152", 49152, 3, Params{Temperature: 0.8, TopP: 1, MinP: 0.05}},
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

// BenchmarkPenalties is greedy with all penalties and 1,000 distinct tokens seen.
func BenchmarkPenalties(b *testing.B) {
	logits := benchRow(49152, 3)
	s := new(Scratch)
	row := Row{
		Params:  Params{TopP: 1, RepetitionPenalty: 1.1, FrequencyPenalty: 0.1, PresencePenalty: 0.1},
		History: benchHistory(1000),
	}
	if _, err := Pick(logits, row, s); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Pick(logits, row, s); err != nil {
			b.Fatal(err)
		}
	}
}

// benchHistory returns a history of n distinct tokens, half of them in the prompt.
func benchHistory(n int) *History {
	rng := rand.New(rand.NewPCG(7, 8))
	h := new(History)
	var prompt []int32
	for range n / 2 {
		prompt = append(prompt, rng.Int32N(24576)*2)
	}
	h.Reset(prompt)
	for len(h.Seen()) < n {
		h.Append(rng.Int32N(24576)*2 + 1)
	}
	return h
}

func BenchmarkLogprobs(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
		top  int
	}{{"0/49152", 49152, 0}, {"20/49152", 49152, 20}, {"20/128256", 128256, 20}} {
		b.Run(c.name, func(b *testing.B) {
			logits := benchRow(c.n, 3)
			s := new(Scratch)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Logprobs(logits, 5, c.top, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHistory appends tokens to a history of 1,000 distinct ones, and takes
// them back by the hundred.
func BenchmarkHistory(b *testing.B) {
	h := benchHistory(1000)
	h.Grow(200)
	base := len(h.Output())
	b.ReportAllocs()
	i := int32(0)
	for b.Loop() {
		h.Append(i * 7919 % 49152)
		if i++; i%100 == 0 {
			h.Truncate(base)
		}
	}
}
