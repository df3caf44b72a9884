package sampler

import (
	"errors"
	"math/bits"
)

// MaxVocabulary is the most logits in a row, so that the sum of all weights fits
// 64 bits.
const MaxVocabulary = 1 << 20

var (
	// ErrNaN is returned when a logit is NaN or +Inf: the forward pass went
	// wrong, and nothing of the row may be used.
	ErrNaN = errors.New("sampler: a logit is NaN or +Inf")

	// ErrNoToken is returned when every logit is -Inf, as when a mask forbids
	// all tokens, or when there is none.
	ErrNoToken = errors.New("sampler: no token can be picked")

	// ErrVocabulary is returned for more than MaxVocabulary logits.
	ErrVocabulary = errors.New("sampler: too many logits")
)

// Pick returns the token that the package's definition picks from logits, which it
// only reads. It looks at every logit before it answers, so that a poisoned row is
// always found.
// row.Params must be valid (Params.Validate); otherwise the token, not the
// safety, of the call is unspecified. Pick allocates only while s grows.
//
// Log-probabilities are no result of Pick but of Logprobs: they need an exponential
// of every logit, which greedy rows and most requests need not pay for.
func Pick(logits []float32, row Row, s *Scratch) (token int32, err error) {
	if len(logits) > MaxVocabulary {
		return 0, ErrVocabulary
	}
	if logits, err = s.adjust(logits, &row); err != nil {
		return 0, err
	}
	first, err := argmax(logits)
	if err != nil {
		return 0, err
	}
	p := &row.Params
	if !(p.Temperature > 0) || p.TopK == 1 {
		return first, nil
	}
	kept := s.keep(logits, logits[first], p)
	u := uniform53(p.Seed, uint64(row.Position), row.Choice, useDraw)
	hi, lo := bits.Mul64(u, kept)
	return s.at(hi<<(64-53) | lo>>53), nil
}

// argmax returns the first token of the order. Eight logits at a time are skipped
// while none is above the best so far; a NaN is not skipped.
func argmax(logits []float32) (int32, error) {
	best := negInf
	token := -1
	for i := 0; i < len(logits); {
		for ; i+8 <= len(logits); i += 8 {
			v := logits[i : i+8 : i+8]
			if !(v[0] <= best && v[1] <= best && v[2] <= best && v[3] <= best &&
				v[4] <= best && v[5] <= best && v[6] <= best && v[7] <= best) {
				break
			}
		}
		for end := min(i+8, len(logits)); i < end; i++ {
			l := logits[i]
			if l <= best {
				continue
			}
			if isPoison(l) {
				return 0, ErrNaN
			}
			best, token = l, i
		}
	}
	if token < 0 {
		return 0, ErrNoToken
	}
	return int32(token), nil
}
