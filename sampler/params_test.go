package sampler

import (
	"errors"
	"math"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, p := range []Params{
		{TopP: 1},
		{Temperature: 2, TopK: -1, TopP: 5e-324, Seed: math.MaxUint64},
		{Temperature: 5e-324, TopK: math.MaxInt32, TopP: 0.5},
		{Temperature: math.Copysign(0, -1), TopP: 1},
		{TopP: 1, MinP: 1, RepetitionPenalty: 5e-324, FrequencyPenalty: -2, PresencePenalty: 2, MinTokens: math.MaxInt32},
		{TopP: 1, MinP: 5e-324, RepetitionPenalty: math.MaxFloat64, FrequencyPenalty: 2, PresencePenalty: -2},
		{TopP: 1, LogitBias: []Bias{{0, 100}, {1, -100}, {math.MaxInt32, 0}}, BadWords: [][]int32{{0}, make([]int32, MaxBadWord)}},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, c := range []struct {
		params Params
		want   string
	}{
		{Params{}, "top_p is 0, must be in (0, 1]"},
		{Params{TopP: math.NaN()}, "top_p is NaN, must be in (0, 1]"},
		{Params{TopP: 1.0000000000000002}, "top_p is 1.0000000000000002, must be in (0, 1]"},
		{Params{TopP: 1, Temperature: math.NaN()}, "temperature is NaN, must be in [0, 2]"},
		{Params{TopP: 1, Temperature: -0.1}, "temperature is -0.1, must be in [0, 2]"},
		{Params{TopP: 1, TopK: -2}, "top_k is -2, must be in [-1, 2147483647]"},
		{Params{TopP: 1, MinP: 1.5}, "min_p is 1.5, must be in [0, 1]"},
		{Params{TopP: 1, RepetitionPenalty: -1}, "repetition_penalty is -1, must be above 0 and finite"},
		{Params{TopP: 1, RepetitionPenalty: math.Inf(1)}, "repetition_penalty is +Inf, must be above 0 and finite"},
		{Params{TopP: 1, FrequencyPenalty: 2.1}, "frequency_penalty is 2.1, must be in [-2, 2]"},
		{Params{TopP: 1, PresencePenalty: -2.1}, "presence_penalty is -2.1, must be in [-2, 2]"},
		{Params{TopP: 1, MinTokens: -1}, "min_tokens is -1, must be in [0, 2147483647]"},
		{Params{TopP: 1, LogitBias: []Bias{{3, 0}, {3, 0}}}, "logit_bias is 3, must be of tokens that are not negative and ascend"},
		{Params{TopP: 1, LogitBias: []Bias{{-1, 0}}}, "logit_bias is -1, must be of tokens that are not negative and ascend"},
		{Params{TopP: 1, LogitBias: []Bias{{3, 100.5}, {4, -101}}}, "logit_bias is 100.5, must be in [-100, 100]"},
		{Params{TopP: 1, LogitBias: make([]Bias, MaxBiases+1)}, "logit_bias is 1025, must be of at most 1024 tokens"},
		{Params{TopP: 1, BadWords: make([][]int32, MaxBadWords+1)}, "bad_words is 1025, must be at most 1024"},
		{Params{TopP: 1, BadWords: [][]int32{{1}, {}}}, "bad_words is 0, must be of 1 to 128 tokens each"},
		{Params{TopP: 1, BadWords: [][]int32{make([]int32, MaxBadWord+1)}}, "bad_words is 129, must be of 1 to 128 tokens each"},
		{Params{TopP: 1, BadWords: [][]int32{{1, -1}, {-2}}}, "bad_words is -1, must be of tokens that are not negative"},
		{
			Params{TopP: -1, TopK: -7, Temperature: math.Inf(1)},
			"temperature is +Inf, must be in [0, 2]; top_k is -7, must be in [-1, 2147483647]; top_p is -1, must be in (0, 1]",
		},
	} {
		err := c.params.Validate()
		var errs ParamErrors
		if !errors.As(err, &errs) || err.Error() != c.want {
			t.Errorf("%+v: %v, want %s", c.params, err, c.want)
		}
	}
}

func TestValidateTokens(t *testing.T) {
	p := Params{LogitBias: []Bias{{3, 1}, {7, 1}}, BadWords: [][]int32{{1, 2}, {2, 9}}}
	if err := p.ValidateTokens(10); err != nil {
		t.Error(err)
	}
	for vocabulary, want := range map[int]string{
		9: "bad_words is 9, must be of tokens below 9",
		7: "logit_bias is 7, must be of tokens below 7; bad_words is 9, must be of tokens below 7",
	} {
		var errs ParamErrors
		if err := p.ValidateTokens(vocabulary); !errors.As(err, &errs) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
