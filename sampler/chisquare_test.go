package sampler

import (
	"math"
	"testing"
)

// quantile9999 returns about the 99.99 % quantile of the chi-square distribution
// (E. B. Wilson and M. M. Hilferty, "The distribution of chi-square", 1931).
func quantile9999(freedom int) float64 {
	v := 2 / (9 * float64(freedom))
	return float64(freedom) * math.Pow(1-v+3.719*math.Sqrt(v), 3)
}

// TestDrawsByChiSquare counts tokens drawn along positions, choices and seeds
// against the probabilities that the parameters say. The draws are always the
// same ones, so that it passes always or never.
func TestDrawsByChiSquare(t *testing.T) {
	const n = 20_000
	logits := make([]float32, 48)
	for i := range logits {
		logits[i] = float32(i*29%48) / 16 // a permutation of 0 … 47
	}
	along := map[string]func(row *Row, i int){
		"positions": func(row *Row, i int) { row.Position = int64(i) },
		"choices":   func(row *Row, i int) { row.Choice = uint32(i) },
		"seeds":     func(row *Row, i int) { row.Params.Seed = uint64(i) },
		"all": func(row *Row, i int) {
			row.Position, row.Choice, row.Params.Seed = int64(i/64), uint32(i%8), uint64(i/8%8)<<32
		},
	}
	for _, p := range []Params{
		{Temperature: 1, TopP: 1},
		{Temperature: 0.5, TopP: 0.8},
		{Temperature: 2, TopK: 7, TopP: 1},
		{Temperature: 1.2, TopK: 20, TopP: 0.6},
	} {
		expected := probabilities(logits, p)
		for name, set := range along {
			row := Row{Params: p}
			s := new(Scratch)
			counts := make([]int, len(logits))
			for i := range n {
				set(&row, i)
				token, err := Pick(logits, row, s)
				if err != nil {
					t.Fatal(err)
				}
				counts[token]++
			}
			chi, freedom := 0.0, -1
			for id, count := range counts {
				if expected[id] == 0 {
					if count > 0 {
						t.Errorf("%+v drew token %d, which is cut", p, id)
					}
					continue
				}
				e := n * expected[id]
				chi += (float64(count) - e) * (float64(count) - e) / e
				freedom++
			}
			t.Logf("%+v along %s: chi-square %.1f with %d degrees", p, name, chi, freedom)
			if limit := quantile9999(freedom); !(chi < limit) {
				t.Errorf("%+v along %s: chi-square %.1f with %d degrees, limit %.1f", p, name, chi, freedom, limit)
			}
		}
	}
}

// TestPairsByChiSquare: a draw says nothing about the next position's, choice's
// or seed's.
func TestPairsByChiSquare(t *testing.T) {
	const n, cells = 200_000, 16
	next := map[string]func(i int) float64{
		"position": func(i int) float64 { return Uniform(1, uint64(i)+1, 0) },
		"choice":   func(i int) float64 { return Uniform(1, uint64(i), 1) },
		"seed":     func(i int) float64 { return Uniform(2, uint64(i), 0) },
	}
	for name, other := range next {
		var counts [cells * cells]int
		for i := range n {
			a, b := Uniform(1, uint64(i), 0), other(i)
			counts[int(a*cells)*cells+int(b*cells)]++
		}
		chi := 0.0
		for _, count := range counts {
			e := float64(n) / float64(len(counts))
			chi += (float64(count) - e) * (float64(count) - e) / e
		}
		if limit := quantile9999(len(counts) - 1); !(chi < limit) {
			t.Errorf("next %s: chi-square %.1f, limit %.1f", name, chi, limit)
		}
	}
}

// probabilities returns what p leaves of the softmax of distinct logits, by
// counting for each token those above it.
func probabilities(logits []float32, p Params) []float64 {
	prob := make([]float64, len(logits))
	var total float64
	for i, l := range logits {
		above := 0
		for _, other := range logits {
			if other > l {
				above++
			}
		}
		if p.TopK <= 0 || above < p.TopK {
			prob[i] = math.Exp(float64(l) / p.Temperature)
			total += prob[i]
		}
	}
	kept := make([]float64, len(logits))
	var left float64
	for i, l := range logits {
		above := 0.0
		for j, other := range logits {
			if other > l {
				above += prob[j]
			}
		}
		if above/total < p.TopP {
			kept[i] = prob[i]
			left += prob[i]
		}
	}
	for i := range kept {
		kept[i] /= left
	}
	return kept
}
