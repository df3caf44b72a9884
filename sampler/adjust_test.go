package sampler

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// plainAdjust is the definition of the package read aloud, for every token of
// the vocabulary.
func plainAdjust(logits []float32, row Row, h plainHistory) []float32 {
	p := row.Params
	held := func(x float64) float32 {
		return float32(math.Min(math.Max(x, -math.MaxFloat32), math.MaxFloat32))
	}
	out := slices.Clone(logits)
	for i := range out {
		t := int32(i)
		if math.IsInf(float64(out[i]), -1) {
			continue
		}
		for _, b := range p.LogitBias {
			if b.Token == t {
				out[i] = held(float64(out[i]) + b.Value)
			}
		}
		x := float64(out[i])
		output := 0
		for _, m := range h.made {
			if m == t {
				output++
			}
		}
		if r := p.RepetitionPenalty; r != 0 && (output > 0 || slices.Contains(h.prompt, t)) {
			if x > 0 {
				x /= r
			} else {
				x *= r
			}
		}
		if output > 0 {
			repeated := p.FrequencyPenalty * float64(output)
			x = float64(x - repeated)
			x -= p.PresencePenalty
		}
		out[i] = held(x)
		forbidden := len(h.made) < p.MinTokens && slices.Contains(row.Stop, t)
		for _, word := range p.BadWords {
			text := append(slices.Clone(h.made), t)
			forbidden = forbidden || len(word) <= len(text) && slices.Equal(word, text[len(text)-len(word):])
		}
		if forbidden {
			out[i] = negInf
		}
	}
	return out
}

// anyRow draws parameters and a history over tokens of n logits, and a few beyond.
func anyRow(t *rapid.T, n int) (Row, plainHistory) {
	token := rapid.OneOf(rapid.Int32Range(0, int32(min(n, 6)-1)), rapid.Int32Range(0, int32(n+2)))
	tokens := func(least, most int, name string) []int32 { return rapid.SliceOfN(token, least, most).Draw(t, name) }
	row := Row{Params: params(t)}
	p := &row.Params
	p.RepetitionPenalty = rapid.OneOf(rapid.Float64Range(0.01, 3), rapid.SampledFrom([]float64{0, 0, 1, 1e-300, 1e300})).Draw(t, "repetition_penalty")
	p.FrequencyPenalty = rapid.OneOf(rapid.Float64Range(-2, 2), rapid.Just(0.0)).Draw(t, "frequency_penalty")
	p.PresencePenalty = rapid.OneOf(rapid.Float64Range(-2, 2), rapid.Just(0.0)).Draw(t, "presence_penalty")
	biased := tokens(0, 8, "biased")
	slices.Sort(biased)
	for _, token := range slices.Compact(biased) {
		p.LogitBias = append(p.LogitBias, Bias{token, rapid.OneOf(rapid.Float64Range(-3, 3), rapid.Float64Range(-100, 100)).Draw(t, "bias")})
	}
	for range rapid.IntRange(0, 3).Draw(t, "bad words") {
		p.BadWords = append(p.BadWords, tokens(1, 3, "bad word"))
	}
	p.MinTokens = rapid.IntRange(0, 12).Draw(t, "min_tokens")
	row.Stop = tokens(0, 2, "stop")
	h := plainHistory{tokens(0, 12, "prompt"), tokens(0, 16, "made")}
	row.History = NewHistory(h.prompt)
	for _, token := range h.made {
		row.History.Append(token)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return row, h
}

// TestAdjustedPickEqualsPlain: the same bits as the definition gives, the same
// draws, and the row as it was.
func TestAdjustedPickEqualsPlain(t *testing.T) {
	s := new(Scratch)
	rapid.Check(t, func(t *rapid.T) {
		logits := rows(t)
		row, h := anyRow(t, len(logits))
		want := plainAdjust(logits, row, h)
		before := slices.Clone(logits)
		got, err := s.adjust(logits, &row)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%+v, %+v: %v, %v, want %v", row, h, got, err, want)
		}
		slow := newPlain(want, row.Params)
		for position := range int64(6) {
			row.Position = position * 7654321
			got, err := Pick(logits, row, s)
			if want[slow.order[0]] == negInf {
				if !errors.Is(err, ErrNoToken) {
					t.Fatalf("all forbidden: %v", err)
				}
				break
			}
			if token := slow.draw(uniform53(row.Params.Seed, uint64(row.Position), 0, useDraw)); got != token || err != nil {
				t.Fatalf("%+v, %+v: %d, %v, want %d", row, h, got, err, token)
			}
		}
		if !slices.Equal(logits, before) {
			t.Fatal("the row was changed")
		}
	})
}

// TestPenalties has numbers by hand.
func TestPenalties(t *testing.T) {
	logits := []float32{4, -4, 0, 4, 4, negInf, math.MaxFloat32, -math.MaxFloat32}
	h := plainHistory{prompt: []int32{0, 1, 2, 5}, made: []int32{3, 3, 3, 1, 6, 7}}
	for _, c := range []struct {
		params Params
		want   []float32
	}{
		{Params{}, logits},
		{Params{RepetitionPenalty: 1}, logits},
		{Params{RepetitionPenalty: 2}, []float32{2, -8, 0, 2, 4, negInf, math.MaxFloat32 / 2, -math.MaxFloat32}},
		{Params{RepetitionPenalty: 0.5}, []float32{8, -2, 0, 8, 4, negInf, math.MaxFloat32, -math.MaxFloat32 / 2}},
		{Params{PresencePenalty: 0.5}, []float32{4, -4.5, 0, 3.5, 4, negInf, math.MaxFloat32, -math.MaxFloat32}},
		{Params{FrequencyPenalty: 0.5}, []float32{4, -4.5, 0, 2.5, 4, negInf, math.MaxFloat32, -math.MaxFloat32}},
		{Params{RepetitionPenalty: 2, FrequencyPenalty: 1, PresencePenalty: -2}, []float32{2, -7, 0, 1, 4, negInf, math.MaxFloat32 / 2, -math.MaxFloat32}},
		{Params{LogitBias: []Bias{{1, -0.5}, {6, 100}, {7, -100}}}, []float32{4, -4.5, 0, 4, 4, negInf, math.MaxFloat32, -math.MaxFloat32}},
		{Params{LogitBias: []Bias{{1, 6}, {4, -100}, {5, 100}, {6, 100}}, RepetitionPenalty: 2}, []float32{2, 1, 0, 2, -96, negInf, math.MaxFloat32 / 2, -math.MaxFloat32}},
	} {
		row := Row{Params: c.params, History: NewHistory(h.prompt)}
		for _, token := range h.made {
			row.History.Append(token)
		}
		got, err := new(Scratch).adjust(logits, &row)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v, want %v", c.params, got, err, c.want)
		}
	}
}

// TestUnchangedRowsAreNotCopied: parameters that change nothing now cost nothing.
func TestUnchangedRowsAreNotCopied(t *testing.T) {
	logits := []float32{1, 2, 3}
	row := Row{
		Params:  Params{RepetitionPenalty: 1.5, BadWords: [][]int32{{1, 2}}, MinTokens: 0},
		History: new(History), Stop: []int32{0},
	}
	if got, _ := new(Scratch).adjust(logits, &row); &got[0] != &logits[0] {
		t.Error("a row was copied for nothing")
	}
}

// TestPoisonUnderAdjustments: what replaces a NaN does not hide it.
func TestPoisonUnderAdjustments(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		for name, row := range map[string]Row{
			"bias":    {Params: Params{LogitBias: []Bias{{0, 1}, {1, -100}, {2, 1}}}},
			"bad":     {Params: Params{BadWords: [][]int32{{0}, {1}}}},
			"minimum": {Params: Params{MinTokens: 1}, Stop: []int32{1, 2}},
			"penalty": {Params: Params{RepetitionPenalty: 2}, History: NewHistory([]int32{0, 1, 2})},
		} {
			if token, err := Pick([]float32{1, bad, 3}, row, new(Scratch)); !errors.Is(err, ErrNaN) {
				t.Errorf("%v under %s: %d, %v", bad, name, token, err)
			}
		}
	}
}

// TestUnvalidatedAdjustments: no panic for any numbers and tokens.
func TestUnvalidatedAdjustments(t *testing.T) {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 5e-324, 2, math.MaxFloat64}
	h := NewHistory([]int32{-1, 0, math.MaxInt32, math.MinInt32})
	h.Append(1)
	h.Append(-5)
	s := new(Scratch)
	for _, a := range odd {
		for _, b := range odd {
			row := Row{
				Params: Params{
					Temperature: 1, TopP: 1, MinP: b, RepetitionPenalty: a, FrequencyPenalty: b, PresencePenalty: a,
					LogitBias: []Bias{{2, b}, {2, a}, {-1, 1}, {9, 1}}, BadWords: [][]int32{{}, {-1}, {9}, {-5, 3}}, MinTokens: 7,
				},
				History: h, Stop: []int32{-1, 9},
			}
			if token, err := Pick([]float32{1, 2, 3, 4}, row, s); err == nil && (token < 0 || token > 2) {
				t.Errorf("%+v picked %d", row, token)
			}
		}
	}
}
