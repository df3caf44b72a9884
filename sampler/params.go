package sampler

import (
	"fmt"
	"math"
	"strings"
)

// Params says how a request's tokens are picked. The zero value is greedy, but
// for TopP, which Validate wants above 0.
type Params struct {
	// Temperature divides the logits. 0 is greedy. The bounds are [0, 2].
	Temperature float64
	// TopK keeps the k likeliest tokens. 0 and -1 are off.
	TopK int
	// TopP keeps the fewest likeliest tokens whose probabilities, after
	// temperature and top-k, sum to at least p. 1 is off. The bounds are (0, 1].
	TopP float64
	// Seed keys the random numbers: the same seed gives the same tokens.
	Seed uint64
}

// ParamError is one parameter out of its bounds.
type ParamError struct {
	Field  string // as the API calls it: top_p
	Value  any    // what was given
	Bounds string // what is wanted: "in (0, 1]"
}

func (e ParamError) Error() string {
	return fmt.Sprintf("%s is %v, must be %s", e.Field, e.Value, e.Bounds)
}

// ParamErrors are all parameters out of their bounds: the client's mistake.
type ParamErrors []ParamError

func (e ParamErrors) Error() string {
	all := make([]string, len(e))
	for i := range e {
		all[i] = e[i].Error()
	}
	return strings.Join(all, "; ")
}

// Validate returns nil, or all errors as a ParamErrors.
func (p *Params) Validate() error {
	var errs ParamErrors
	check := func(ok bool, field string, value any, bounds string) {
		if !ok {
			errs = append(errs, ParamError{field, value, bounds})
		}
	}
	check(p.Temperature >= 0 && p.Temperature <= 2, "temperature", p.Temperature, "in [0, 2]")
	check(p.TopK >= -1 && p.TopK <= math.MaxInt32, "top_k", p.TopK, "in [-1, 2147483647]")
	check(p.TopP > 0 && p.TopP <= 1, "top_p", p.TopP, "in (0, 1]")
	if errs == nil {
		return nil
	}
	return errs
}
