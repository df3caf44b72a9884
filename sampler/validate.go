package sampler

import (
	"fmt"
	"math"
	"strings"
)

// ParamError is one parameter out of its bounds.
type ParamError struct {
	Field  string // as the API calls it: top_p
	Value  any    // what was given
	Bounds string // what is wanted: "in (0, 1]"
}

func (e ParamError) Error() string {
	return fmt.Sprintf("%s is %v, must be %s", e.Field, e.Value, e.Bounds)
}

// ParamErrors are all parameters out of their bounds, one error for each: the
// client's mistake.
type ParamErrors []ParamError

func (e ParamErrors) Error() string {
	all := make([]string, len(e))
	for i := range e {
		all[i] = e[i].Error()
	}
	return strings.Join(all, "; ")
}

// check adds an error unless ok, and returns ok.
func (e *ParamErrors) check(ok bool, field string, value any, bounds string) bool {
	if !ok {
		*e = append(*e, ParamError{field, value, bounds})
	}
	return ok
}

// asError returns nil for no errors.
func (e ParamErrors) asError() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Validate returns nil, or all errors as a ParamErrors.
func (p *Params) Validate() error {
	var errs ParamErrors
	errs.check(within(p.Temperature, 0, 2), "temperature", p.Temperature, "in [0, 2]")
	errs.check(p.TopK >= -1 && p.TopK <= math.MaxInt32, "top_k", p.TopK, "in [-1, 2147483647]")
	errs.check(p.TopP > 0 && p.TopP <= 1, "top_p", p.TopP, "in (0, 1]")
	errs.check(within(p.MinP, 0, 1), "min_p", p.MinP, "in [0, 1]")
	errs.check(within(p.RepetitionPenalty, 0, math.MaxFloat64), "repetition_penalty", p.RepetitionPenalty, "above 0 and finite")
	errs.check(within(p.FrequencyPenalty, -2, 2), "frequency_penalty", p.FrequencyPenalty, "in [-2, 2]")
	errs.check(within(p.PresencePenalty, -2, 2), "presence_penalty", p.PresencePenalty, "in [-2, 2]")
	errs.check(p.MinTokens >= 0 && p.MinTokens <= math.MaxInt32, "min_tokens", p.MinTokens, "in [0, 2147483647]")
	p.checkBiases(&errs)
	p.checkBadWords(&errs)
	return errs.asError()
}

// ValidateTokens returns nil, or what Validate cannot know: a ParamErrors for the
// parameters that name a token beyond a vocabulary of the given size.
func (p *Params) ValidateTokens(vocabulary int) error {
	var errs ParamErrors
	bounds := fmt.Sprintf("of tokens below %d", vocabulary)
	for _, b := range p.LogitBias {
		if !errs.check(int(b.Token) < vocabulary, "logit_bias", b.Token, bounds) {
			break
		}
	}
words:
	for _, word := range p.BadWords {
		for _, t := range word {
			if !errs.check(int(t) < vocabulary, "bad_words", t, bounds) {
				break words
			}
		}
	}
	return errs.asError()
}

func (p *Params) checkBiases(errs *ParamErrors) {
	if !errs.check(len(p.LogitBias) <= MaxBiases, "logit_bias", len(p.LogitBias), fmt.Sprintf("of at most %d tokens", MaxBiases)) {
		return
	}
	before := int32(-1)
	for _, b := range p.LogitBias {
		if !errs.check(b.Token > before, "logit_bias", b.Token, "of tokens that are not negative and ascend") ||
			!errs.check(within(b.Value, -100, 100), "logit_bias", b.Value, "in [-100, 100]") {
			return
		}
		before = b.Token
	}
}

func (p *Params) checkBadWords(errs *ParamErrors) {
	if !errs.check(len(p.BadWords) <= MaxBadWords, "bad_words", len(p.BadWords), fmt.Sprintf("at most %d", MaxBadWords)) {
		return
	}
	for _, word := range p.BadWords {
		if !errs.check(len(word) > 0 && len(word) <= MaxBadWord, "bad_words", len(word), fmt.Sprintf("of 1 to %d tokens each", MaxBadWord)) {
			return
		}
		for _, t := range word {
			if !errs.check(t >= 0, "bad_words", t, "of tokens that are not negative") {
				return
			}
		}
	}
}

// within reports whether x is in [low, high]; NaN is not.
func within(x, low, high float64) bool { return x >= low && x <= high }
