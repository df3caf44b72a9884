package golden

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func logs(p ...float64) []float32 {
	row := make([]float32, len(p))
	for i, v := range p {
		row[i] = float32(math.Log(v)) + 3 // logits are known up to a constant
	}
	return row
}

func TestKL(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  []uint16
		p, q []float64
		want float64
	}{
		{"equal", []uint16{1, 0}, []float64{.25, .5, .125, .125}, []float64{.25, .5, .125, .125}, 0},
		{"all in top", []uint16{0, 1}, []float64{.5, .5}, []float64{.25, .75}, .5*math.Log(2) + .5*math.Log(.5/.75)},
		{"rest", []uint16{2}, []float64{.1, .2, .6, .1}, []float64{.3, .1, .4, .2}, .6*math.Log(.6/.4) + .4*math.Log(.4/.6)},
		// What moves within the rest is not seen: a lower bound.
		{"within the rest", []uint16{2}, []float64{.1, .2, .6, .1}, []float64{.2, .1, .6, .1}, 0},
	} {
		p := logs(c.p...)
		top := make([]float32, len(c.ids))
		for i, id := range c.ids {
			top[i] = p[id]
		}
		if got := KL(c.ids, top, logSumExpOf(p), logs(c.q...)); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

func TestMeanKL(t *testing.T) {
	p, q := logs(.5, .3, .2), logs(.4, .4, .2)
	ref := &Reference{
		TopIDs:    [][]uint16{{0, 1}, {0, 1}},
		TopLogits: [][]float32{p[:2], p[:2]},
		LogSumExp: []float64{logSumExpOf(p), logSumExpOf(p)},
	}
	want := (.5*math.Log(.5/.4) + .3*math.Log(.3/.4)) / 2
	got := MeanKL(ref, func(pos int) []float32 { return [][]float32{p, q}[pos] })
	if math.Abs(got-want) > 1e-6 {
		t.Errorf("%g, want %g", got, want)
	}
}

func TestPerplexity(t *testing.T) {
	// The distribution after token v gives v+1 a probability of 1/2 or 1/8.
	row := func(v int32) []float32 {
		if v%2 == 0 {
			return logs(.5, .5)
		}
		return logs(.125, .875)
	}
	tokens := make([]int32, 19) // all 0: scored under the first probability
	var froms, lens []int
	ppl, scored := Perplexity(tokens, 8, func(chunk []int32, from int) [][]float32 {
		froms, lens = append(froms, from), append(lens, len(chunk))
		var rows [][]float32
		for i := from; i < len(chunk)-1; i++ {
			rows = append(rows, row(int32(i)))
		}
		return rows
	})
	want := math.Exp(-(2*math.Log(.5) + math.Log(.125)) / 3) // positions 4, 5 and 6
	if scored != 6 || math.Abs(ppl-want) > 1e-6 || len(froms) != 2 || froms[0] != 4 || lens[0] != 8 {
		t.Errorf("perplexity %g of %d tokens (want %g of 6), from %v, lengths %v", ppl, scored, want, froms, lens)
	}
}

func TestSmolLM2(t *testing.T) {
	ref := SmolLM2(t)
	if len(ref.Tokens) < 8192 || len(ref.TopIDs) != 1024 || len(ref.TopIDs[0]) != 256 || ref.Vocab != 49152 {
		t.Fatalf("%d tokens, %d positions, %d buckets, vocabulary %d", len(ref.Tokens), len(ref.TopIDs), len(ref.TopIDs[0]), ref.Vocab)
	}
	for i, top := range ref.TopLogits {
		sum := 0.0
		for j, v := range top {
			if j > 0 && v > top[j-1] || int(ref.TopIDs[i][j]) >= ref.Vocab {
				t.Fatalf("position %d: logit %d is out of order, or its token out of range", i, j)
			}
			sum += math.Exp(float64(v) - ref.LogSumExp[i])
		}
		if sum <= 0 || sum > 1+1e-9 {
			t.Errorf("position %d: the top tokens have probability %g", i, sum)
		}
	}
	if ref.Perplexity < 1 || len(ref.Peer.Perplexity) == 0 || math.IsInf(ref.Peer.Best(512), 0) || math.IsInf(ref.Peer.Best(1), 0) {
		t.Errorf("the peer's figures are missing: %+v", ref.Peer)
	}
	if fi, err := os.Stat(filepath.Join(filepath.Dir(TextPath(t)), "smollm2.golden")); err != nil || fi.Size() > 2<<20 {
		t.Errorf("smollm2.golden: %v, or more than 2 MiB", err)
	}
}
