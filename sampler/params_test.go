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
