package sampler

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var inf32 = float32(math.Inf(1))

func TestGreedy(t *testing.T) {
	negZero := float32(math.Copysign(0, -1))
	for _, c := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{1}, 0},
		{[]float32{1, 3, 2, 3}, 1},
		{[]float32{negZero, 0, negZero}, 0},
		{[]float32{-inf32, -math.MaxFloat32, -inf32}, 1},
		{[]float32{-2, -1, -1}, 1},
		{[]float32{0, math.MaxFloat32, math.MaxFloat32}, 1},
	} {
		for _, p := range []Params{{TopP: 1}, {Temperature: 1, TopK: 1, TopP: 1}, {Temperature: 1e-5, TopK: 1, TopP: 1, Seed: 3}} {
			got, err := Pick(c.logits, Row{Params: p}, new(Scratch))
			if got != c.want || err != nil {
				t.Errorf("Pick(%v, %+v) = %d, %v, want %d", c.logits, p, got, err, c.want)
			}
		}
	}
}

func TestPoisonedRows(t *testing.T) {
	nan := float32(math.NaN())
	negNaN := math.Float32frombits(0xffc00000)
	for _, c := range []struct {
		logits []float32
		want   error
	}{
		{nil, ErrNoToken},
		{[]float32{-inf32, -inf32}, ErrNoToken},
		{[]float32{nan}, ErrNaN},
		{[]float32{1, 2, nan}, ErrNaN},
		{[]float32{nan, 2, 1}, ErrNaN},
		{[]float32{3, negNaN, 1}, ErrNaN},
		{[]float32{-inf32, nan}, ErrNaN},
		{[]float32{3, inf32, 1}, ErrNaN},
		{make([]float32, MaxVocabulary+1), ErrVocabulary},
	} {
		for _, p := range []Params{{TopP: 1}, {Temperature: 1, TopP: 0.9}, {Temperature: 1, TopK: 2, TopP: 1}} {
			if _, err := Pick(c.logits, Row{Params: p}, new(Scratch)); !errors.Is(err, c.want) {
				t.Errorf("%+v: %v, want %v", p, err, c.want)
			}
		}
	}
}

// TestNaNAnywhere: also where logits are looked at by eights.
func TestNaNAnywhere(t *testing.T) {
	for n := 1; n <= 35; n++ {
		for at := range n {
			for _, bad := range []float32{float32(math.NaN()), inf32} {
				logits := make([]float32, n)
				logits[0], logits[at] = 1, bad
				if token, err := Pick(logits, Row{Params: Params{TopP: 1}}, nil); !errors.Is(err, ErrNaN) {
					t.Errorf("%v at %d of %d: %d, %v", bad, at, n, token, err)
				}
				logits[at] = 2
				if token, err := Pick(logits, Row{Params: Params{TopP: 1}}, nil); int(token) != at || err != nil {
					t.Errorf("the largest at %d of %d: %d, %v", at, n, token, err)
				}
			}
		}
	}
}

// TestLargestSum draws from as many equal tokens as there may be: their weights
// sum to 2^63.
func TestLargestSum(t *testing.T) {
	logits := make([]float32, MaxVocabulary)
	s := new(Scratch)
	for position := range int64(3) {
		row := Row{Params: Params{Temperature: 1, TopP: 1, Seed: 1}, Position: position}
		got, err := Pick(logits, row, s)
		if want := int32(Uniform(1, uint64(position), 0) * MaxVocabulary); got != want || err != nil {
			t.Errorf("Pick = %d, %v, want %d", got, err, want)
		}
	}
}

// TestUnvalidatedParams: a token or an error, and no panic, for any numbers.
func TestUnvalidatedParams(t *testing.T) {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 5e-324, 1e-310, 1, 3, math.MaxFloat64}
	logits := []float32{-inf32, -math.MaxFloat32, -1, 0, 1e-45, 5, math.MaxFloat32}
	s := new(Scratch)
	for _, temperature := range odd {
		for _, topP := range odd {
			for _, topK := range []int{math.MinInt, -1, 0, 1, 3, math.MaxInt} {
				p := Params{Temperature: temperature, TopP: topP, TopK: topK}
				for _, l := range [][]float32{logits, logits[:6], logits[:1]} {
					token, err := Pick(l, Row{Params: p, Position: -1}, s)
					if err == nil && (token < 1 || int(token) >= len(l)) {
						t.Errorf("%+v picked %d", p, token)
					}
				}
			}
		}
	}
}

// TestTinyTemperature: the limit is greedy, without an overflow on the way.
func TestTinyTemperature(t *testing.T) {
	logits := []float32{-math.MaxFloat32, 88, 1e30, math.MaxFloat32, 0, -inf32}
	for _, temperature := range []float64{1e-5, 1e-300, 5e-324} {
		got, err := Pick(logits, Row{Params: Params{Temperature: temperature, TopP: 1}}, new(Scratch))
		if got != 3 || err != nil {
			t.Errorf("temperature %v: %d, %v", temperature, got, err)
		}
	}
}

// rows draws logits with ties, masked tokens, both zeros and any spread.
func rows(t *rapid.T) []float32 {
	levels := []*rapid.Generator[float32]{
		rapid.Float32Range(-3, 3),
		rapid.Float32Range(-60, 60),
		rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32),
		rapid.SampledFrom([]float32{-inf32, -1, float32(math.Copysign(0, -1)), 0, 1e-45, 0.5, 0.5000001}),
		rapid.Float32Range(1, 1.0001),
	}
	return rapid.SliceOfN(rapid.SampledFrom(levels).Draw(t, "levels"), 1, 300).Draw(t, "logits")
}

func params(t *rapid.T) Params {
	return Params{
		Temperature: rapid.OneOf(rapid.Float64Range(0, 2), rapid.SampledFrom([]float64{0, 1e-5, 0.01, 1, 2})).Draw(t, "temperature"),
		TopK:        rapid.OneOf(rapid.IntRange(-1, 310), rapid.IntRange(1, 5)).Draw(t, "top_k"),
		TopP:        rapid.OneOf(rapid.Float64Range(1e-9, 1), rapid.SampledFrom([]float64{0.5, 0.9, 0.999999, 1})).Draw(t, "top_p"),
		MinP:        rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 1), rapid.SampledFrom([]float64{0.02, 0.5, 1, 5e-324})).Draw(t, "min_p"),
		Seed:        rapid.Uint64().Draw(t, "seed"),
	}
}

// TestPickEqualsPlain: buckets change nothing, whatever was in the scratch.
func TestPickEqualsPlain(t *testing.T) {
	s := new(Scratch)
	rapid.Check(t, func(t *rapid.T) {
		logits, p := rows(t), params(t)
		slow := newPlain(logits, p)
		for position := range int64(8) {
			row := Row{Params: p, Position: position * 1234567, Choice: uint32(position % 3)}
			got, err := Pick(logits, row, s)
			if math.IsInf(float64(logits[slow.order[0]]), -1) {
				if !errors.Is(err, ErrNoToken) {
					t.Fatalf("all masked: %v", err)
				}
				return
			}
			want := slow.draw(uniform53(p.Seed, uint64(row.Position), row.Choice, useDraw))
			if got != want || err != nil {
				t.Fatalf("%+v: %d, %v, want %d", row, got, err, want)
			}
		}
	})
}

// TestPickOfLargeVocabularies does the same where buckets have many members.
func TestPickOfLargeVocabularies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := new(Scratch)
	for _, spread := range []float64{0.001, 0.5, 6} {
		logits := make([]float32, 20_000+rng.IntN(20_000))
		for i := range logits {
			logits[i] = float32(rng.NormFloat64() * spread)
		}
		for _, p := range []Params{
			{Temperature: 1, TopP: 1},
			{Temperature: 0.7, TopP: 0.95},
			{Temperature: 1.5, TopK: 40, TopP: 1},
			{Temperature: 2, TopK: 15_000, TopP: 0.8},
			{Temperature: 1, TopP: 0.9, MinP: 0.1},
		} {
			slow := newPlain(logits, p)
			for range 20 {
				row := Row{Params: p, Position: rng.Int64()}
				want := slow.draw(uniform53(p.Seed, uint64(row.Position), 0, useDraw))
				if got, err := Pick(logits, row, s); got != want || err != nil {
					t.Fatalf("spread %v, %+v: %d, %v, want %d", spread, row, got, err, want)
				}
			}
		}
	}
}

// TestKeptSets compares what min-p, top-k and top-p keep with probabilities from
// math.Exp, in the words of vLLM's and Hugging Face's processors: a token goes if
// it is less likely than min-p of the likeliest, and if those above it already sum
// to p. Sums within 1e-9 of p are left out.
func TestKeptSets(t *testing.T) {
	s := new(Scratch)
	rapid.Check(t, func(t *rapid.T) {
		logits := rapid.SliceOfNDistinct(rapid.Float32Range(-8, 8), 1, 100, rapid.ID).Draw(t, "logits")
		p := params(t)
		p.Temperature = max(p.Temperature, 0.05)
		sorted := slices.Clone(logits)
		slices.SortFunc(sorted, func(a, b float32) int { return int(math.Copysign(1, float64(b-a))) })
		for p.MinP > 0 {
			last := math.Exp((float64(sorted[len(sorted)-1]) - float64(sorted[0])) / p.Temperature)
			if len(sorted) > 1 && math.Abs(last-p.MinP) < 1e-9*p.MinP {
				t.Skip("too near")
			}
			if last >= p.MinP {
				break
			}
			sorted = sorted[:len(sorted)-1]
		}
		if p.TopK > 0 && p.TopK < len(sorted) {
			sorted = sorted[:p.TopK]
		}
		var total, above, kept float64
		for _, l := range sorted {
			total += math.Exp((float64(l) - float64(sorted[0])) / p.Temperature)
		}
		for _, l := range sorted {
			if p.TopP < 1 && above/total >= p.TopP {
				break
			}
			w := math.Exp((float64(l) - float64(sorted[0])) / p.Temperature)
			if p.TopP < 1 && math.Abs(above/total-p.TopP) < 1e-9 || math.Abs((above+w)/total-p.TopP) < 1e-9 {
				t.Skip("too near")
			}
			kept += w
			above += w
		}
		got := float64(s.keep(logits, slices.Max(logits), &p)) / (1 << topBits)
		if math.Abs(got-kept) > 1e-9*kept {
			t.Fatalf("%+v keeps a weight of %v, want %v", p, got, kept)
		}
	})
}

func TestWeight(t *testing.T) {
	if w := weight(0); w != 1<<topBits {
		t.Errorf("the top weighs %d", w)
	}
	if w := weight(lastStep); w != 1 {
		t.Errorf("the last step weighs %d", w)
	}
	for _, y := range []float64{math.Nextafter(lastStep, math.MaxFloat64), math.MaxFloat64, math.Inf(1), math.NaN()} {
		if w := weight(y); w != 0 {
			t.Errorf("weight(%v) = %d, want 0", y, w)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		y := rng.Float64() * lastStep
		want := math.Exp2(topBits - y/steps)
		if w := float64(weight(y)); w > want*(1+0x1p-48) || w < want*(1-0x1p-48)-1 {
			t.Fatalf("weight(%v) = %v, want %v", y, w, want)
		}
	}
}
