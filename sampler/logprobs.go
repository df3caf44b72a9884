package sampler

import (
	"errors"

	"github.com/holdfast-run/holdfast/internal/num"
)

// MaxLogprobs is the most likeliest tokens that Logprobs gives.
const MaxLogprobs = 20

// ErrToken is returned for a token that is not in the row.
var ErrToken = errors.New("sampler: the token is not in the vocabulary")

// Logprob is a token and the natural logarithm of its probability.
type Logprob struct {
	Token   int32
	Logprob float64
}

// Logprobs returns the log-probability of a token, and those of the top likeliest
// tokens in the order of the package: at most MaxLogprobs, and none that is
// impossible. The probabilities are the softmax of logits as the model gave them,
// before anything that Row says. The likeliest are valid until the next call
// with s. It serves made tokens and, by the row before each, a prompt's.
//
// The package's definition says how they are computed, so that every way to sum
// gives the same bits. The error is below 2^-43 for each logit of the row (6e-9 for
// 49,152) and a few roundings.
func Logprobs(logits []float32, token int32, top int, s *Scratch) (chosen float64, likeliest []Logprob, err error) {
	if len(logits) > MaxVocabulary {
		return 0, nil, ErrVocabulary
	}
	first, err := argmax(logits)
	if err != nil {
		return 0, nil, err
	}
	if uint(token) >= uint(len(logits)) {
		return 0, nil, ErrToken
	}
	sc := newScale(logits[first], 1, 0)
	var sum uint64
	for _, l := range logits {
		sum += weight(sc.below(l))
	}
	log := num.Log(float64(float64(sum) * (1.0 / (1 << topBits))))
	of := func(l float32) float64 { return float64(l) - sc.top - log }
	likeliest = s.likeliest[:0]
	for _, m := range s.best(logits, top) {
		likeliest = append(likeliest, Logprob{int32(uint32(m)), of(unrank(uint32(m >> 32)))})
	}
	return of(logits[token]), likeliest, nil
}
