package server

import (
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/sampler"
)

// samplerParams fills in OpenAI's defaults.
func (c *completion) samplerParams(o *api.Options) (sampler.Params, error) {
	p := sampler.Params{
		Temperature:       or(o.Temperature, 1),
		TopP:              or(o.TopP, 1),
		TopK:              int(max(or(o.TopK, 0), 0)),
		MinP:              or(o.MinP, 0),
		RepetitionPenalty: or(o.RepetitionPenalty, 0),
		FrequencyPenalty:  or(o.FrequencyPenalty, 0),
		PresencePenalty:   or(o.PresencePenalty, 0),
		MinTokens:         int(or(o.MinTokens, 0)),
		Seed:              uint64(or(o.Seed, 0)),
		BadWords:          c.badWords(o.BadWords),
	}
	for _, b := range o.LogitBias {
		p.LogitBias = append(p.LogitBias, sampler.Bias(b))
	}
	if p.TopP == 0 {
		// The limit of a shrinking nucleus: the likeliest token alone.
		p.TopP, p.TopK = 1, 1
	}
	return p, p.Validate()
}

// badWords returns the tokens of each word, and those of the word after a space
// where they begin with another token and are as many, as vLLM does: otherwise
// the space is a token of its own, and the word's own tokens follow it.
func (c *completion) badWords(words []string) [][]int32 {
	var all [][]int32
	for _, w := range words {
		w = strings.TrimLeft(w, " ")
		bare, spaced := c.s.worker.Encode(w, false), c.s.worker.Encode(" "+w, false)
		all = append(all, bare)
		if len(bare) > 0 && len(spaced) == len(bare) && spaced[0] != bare[0] {
			all = append(all, spaced)
		}
	}
	return all
}

// or returns what v points to, or def if it is nil.
func or[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}

// checkTokens refuses tokens that the model does not have.
func checkTokens(vocabulary int, param string, tokens []int32) error {
	for i, t := range tokens {
		if int(t) >= vocabulary {
			return api.BadRequest(api.CodeInvalidValue, fmt.Sprintf("%s[%d]", param, i), "The token %d does not exist; the model's vocabulary has %d.", t, vocabulary)
		}
	}
	return nil
}
