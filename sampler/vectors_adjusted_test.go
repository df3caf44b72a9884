package sampler

import (
	"math"
	"testing"
)

// adjustedCase is one of the section "adjusted" of vectors.json.
type adjustedCase struct {
	Temperature       float64
	TopK              int          `json:"top_k"`
	TopP              float64      `json:"top_p"`
	MinP              float64      `json:"min_p"`
	RepetitionPenalty float64      `json:"repetition_penalty"`
	FrequencyPenalty  float64      `json:"frequency_penalty"`
	PresencePenalty   float64      `json:"presence_penalty"`
	LogitBias         [][2]float64 `json:"logit_bias"`
	BadWords          [][]int32    `json:"bad_words"`
	MinTokens         int          `json:"min_tokens"`
	Stop              []int32
	Prompt, Output    []int32
	Kept              int
	Draws             [][4]uint64 // seed, position, choice, token
}

func (c *adjustedCase) row() Row {
	p := Params{
		Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP, RepetitionPenalty: c.RepetitionPenalty,
		FrequencyPenalty: c.FrequencyPenalty, PresencePenalty: c.PresencePenalty, BadWords: c.BadWords, MinTokens: c.MinTokens,
	}
	for _, b := range c.LogitBias {
		p.LogitBias = append(p.LogitBias, Bias{int32(b[0]), b[1]})
	}
	h := NewHistory(c.Prompt)
	for _, token := range c.Output {
		h.Append(token)
	}
	return Row{Params: p, History: h, Stop: c.Stop}
}

func TestAdjustedVectors(t *testing.T) {
	draws := 0
	s := new(Scratch)
	for _, r := range readVectors(t).Adjusted {
		logits := r.logits(t)
		for _, c := range r.Cases {
			row := c.row()
			if err := row.Params.Validate(); err != nil {
				t.Fatal(err)
			}
			for _, d := range c.Draws {
				row.Params.Seed, row.Position, row.Choice = d[0], int64(d[1]), uint32(d[2])
				if got, err := Pick(logits, row, s); uint64(got) != d[3] || err != nil {
					t.Errorf("%s, %+v: %d, %v, want %d", r.Name, c, got, err, d[3])
				}
				draws++
			}
			if c.Temperature == 0 {
				continue
			}
			adjusted, err := s.adjust(logits, &row)
			if err != nil {
				t.Fatal(err)
			}
			kept := 0
			for _, w := range newPlain(adjusted, row.Params).weights {
				if w > 0 {
					kept++
				}
			}
			if kept != c.Kept {
				t.Errorf("%s, %+v keeps %d tokens", r.Name, c, kept)
			}
		}
	}
	if draws < 1500 {
		t.Errorf("only %d draws", draws)
	}
}

func TestLogprobVectors(t *testing.T) {
	s := new(Scratch)
	check := func(name string, got Logprob, want [2]float64) {
		if float64(got.Token) != want[0] || !(math.Abs(got.Logprob-want[1]) <= 1e-11+math.Abs(want[1])*0x1p-51) {
			t.Errorf("%s: %+v, want %v", name, got, want)
		}
	}
	for _, r := range readVectors(t).Logprobs {
		logits := r.logits(t)
		for _, want := range r.Tokens {
			token := int32(want[0])
			chosen, _, err := Logprobs(logits, token, 0, s)
			if err != nil {
				t.Fatal(err)
			}
			check(r.Name, Logprob{token, chosen}, want)
		}
		_, likeliest, err := Logprobs(logits, 0, MaxLogprobs, s)
		if err != nil || len(likeliest) != len(r.Likeliest) {
			t.Fatalf("%s has %d likeliest, %v, want %d", r.Name, len(likeliest), err, len(r.Likeliest))
		}
		for i, want := range r.Likeliest {
			check(r.Name, likeliest[i], want)
		}
	}
}
