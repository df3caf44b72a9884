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
		ids  []int32
		p, q []float64
		want float64
	}{
		{"equal", []int32{1, 0}, []float64{.25, .5, .125, .125}, []float64{.25, .5, .125, .125}, 0},
		{"all in top", []int32{0, 1}, []float64{.5, .5}, []float64{.25, .75}, .5*math.Log(2) + .5*math.Log(.5/.75)},
		{"rest", []int32{2}, []float64{.1, .2, .6, .1}, []float64{.3, .1, .4, .2}, .6*math.Log(.6/.4) + .4*math.Log(.4/.6)},
		// What moves within the rest is not seen: a lower bound.
		{"within the rest", []int32{2}, []float64{.1, .2, .6, .1}, []float64{.2, .1, .6, .1}, 0},
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

func TestReferences(t *testing.T) {
	for _, c := range []struct {
		ref         *Reference
		file        string
		text, vocab int
	}{
		{SmolLM2(t), "smollm2.golden", 8192, 49152},
		{Gemma3(t), "gemma3.golden", 8000, 262144},
	} {
		ref := c.ref
		if len(ref.Tokens) < c.text || len(ref.TopIDs) != 1024 || len(ref.TopIDs[0]) != 256 || ref.Vocab != c.vocab {
			t.Fatalf("%s: %d tokens, %d positions, %d buckets, vocabulary %d", c.file, len(ref.Tokens), len(ref.TopIDs), len(ref.TopIDs[0]), ref.Vocab)
		}
		for i, top := range ref.TopLogits {
			sum := 0.0
			for j, v := range top {
				if id := ref.TopIDs[i][j]; j > 0 && v > top[j-1] || id < 0 || int(id) >= ref.Vocab {
					t.Fatalf("%s: position %d: logit %d is out of order, or its token out of range", c.file, i, j)
				}
				sum += math.Exp(float64(v) - ref.LogSumExp[i])
			}
			if sum <= 0 || sum > 1+1e-9 {
				t.Errorf("%s: position %d: the top tokens have probability %g", c.file, i, sum)
			}
		}
		if ref.Perplexity < 1 || len(ref.Peer.Perplexity) == 0 || math.IsInf(ref.Peer.Best(512), 0) || math.IsInf(ref.Peer.Best(1), 0) {
			t.Errorf("%s: the peer's figures are missing: %+v", c.file, ref.Peer)
		}
		if fi, err := os.Stat(filepath.Join(filepath.Dir(TextPath(t)), c.file)); err != nil || fi.Size() > 2<<20 {
			t.Errorf("%s: %v, or more than 2 MiB", c.file, err)
		}
	}
}
