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
			checkDraws(t, "along "+name, logits, row, expected, func(i int) Row {
				set(&row, i)
				return row
			})
		}
	}
}

// TestAdjustedDrawsByChiSquare does the same for min-p and for everything that
// changes logits, whose probabilities are computed here from the formulas.
func TestAdjustedDrawsByChiSquare(t *testing.T) {
	logits := make([]float32, 48)
	for i := range logits {
		logits[i] = float32(i*29%48)/16 - 1
	}
	positions := func(row Row) func(i int) Row {
		return func(i int) Row {
			row.Position = int64(i)
			return row
		}
	}

	minP := Row{Params: Params{Temperature: 0.7, TopP: 1, MinP: 0.2, Seed: 1}}
	expected := make([]float64, len(logits))
	var sum float64
	for i, l := range logits {
		if e := math.Exp((float64(l) - 31.0/16) / 0.7); e >= 0.2 { // the largest is 47/16 - 1
			expected[i] = e
			sum += e
		}
	}
	for i := range expected {
		expected[i] /= sum
	}
	checkDraws(t, "min-p", logits, minP, expected, positions(minP))

	penalised := Row{
		Params: Params{
			Temperature: 1.1, TopP: 0.9, Seed: 2, RepetitionPenalty: 1.3, FrequencyPenalty: 0.2, PresencePenalty: 0.4,
			LogitBias: []Bias{{3, 1.5}, {7, -2}}, BadWords: [][]int32{{11}, {4, 12}}, MinTokens: 9,
		},
		History: NewHistory([]int32{1, 2, 3, 3}),
		Stop:    []int32{20},
	}
	count := map[int]float64{2: 2, 5: 1, 4: 3}
	for _, token := range []int32{2, 5, 2, 4, 4, 4} {
		penalised.History.Append(token)
	}
	adjusted := make([]float32, len(logits))
	for i, l := range logits {
		x := float64(l) + map[int]float64{3: 1.5, 7: -2}[i]
		if 1 <= i && i <= 5 {
			x = min(x*1.3, x/1.3)
		}
		if c := count[i]; c > 0 {
			x -= 0.2*c + 0.4
		}
		if i == 11 || i == 12 || i == 20 {
			x = -100
		}
		adjusted[i] = float32(x)
	}
	checkDraws(t, "penalties", logits, penalised, probabilities(adjusted, Params{Temperature: 1.1, TopP: 0.9}), positions(penalised))
}

// checkDraws counts the tokens of many rows.
func checkDraws(t *testing.T, name string, logits []float32, p Row, expected []float64, row func(i int) Row) {
	t.Helper()
	const n = 20_000
	s := new(Scratch)
	counts := make([]int, len(logits))
	for i := range n {
		token, err := Pick(logits, row(i), s)
		if err != nil {
			t.Fatal(err)
		}
		counts[token]++
	}
	chi, freedom := 0.0, -1
	for id, count := range counts {
		if expected[id] == 0 {
			if count > 0 {
				t.Errorf("%+v drew token %d, which is cut", p.Params, id)
			}
			continue
		}
		e := n * expected[id]
		chi += (float64(count) - e) * (float64(count) - e) / e
		freedom++
	}
	t.Logf("%+v %s: chi-square %.1f with %d degrees", p.Params, name, chi, freedom)
	if limit := quantile9999(freedom); !(chi < limit) {
		t.Errorf("%+v %s: chi-square %.1f with %d degrees, limit %.1f", p.Params, name, chi, freedom, limit)
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
