package sampler

// Params says how a request's tokens are picked. In the zero value everything is
// off and picking is greedy, but for TopP, which Validate wants above 0.
type Params struct {
	// Temperature divides the logits. 0 is greedy. The bounds are [0, 2].
	Temperature float64
	// TopK keeps the k likeliest tokens. 0 and -1 are off.
	TopK int
	// TopP keeps the fewest likeliest tokens whose probabilities, after
	// temperature, min-p and top-k, sum to at least p. 1 is off. The bounds are
	// (0, 1].
	TopP float64
	// MinP drops the tokens less likely, after temperature, than this share of
	// the likeliest. 0 is off. The bounds are [0, 1].
	MinP float64
	// Seed keys the random numbers: the same seed gives the same tokens.
	Seed uint64

	// RepetitionPenalty divides the positive logits, and multiplies the others,
	// of tokens that stand in the prompt or the output. Below 1 it rewards them.
	// 0 stands for 1, which is off. It is above 0 and finite.
	RepetitionPenalty float64
	// FrequencyPenalty is subtracted from a logit once for each time that the
	// token stands in the output. 0 is off. The bounds are [-2, 2].
	FrequencyPenalty float64
	// PresencePenalty is subtracted once from the logits of tokens that stand in
	// the output. 0 is off. The bounds are [-2, 2].
	PresencePenalty float64

	// LogitBias is added to the logits of some tokens. They ascend, and are at
	// most MaxBiases.
	LogitBias []Bias
	// BadWords are sequences of tokens that the output must not contain: the last
	// of each is forbidden where those before it have just been made. They are at
	// most MaxBadWords, of 1 to MaxBadWord tokens each.
	BadWords [][]int32
	// MinTokens forbids the tokens that end the sequence (Row.Stop) until so many
	// others have been made. 0 is off.
	MinTokens int
}

// Bias is what is added to a token's logit. The bounds are [-100, 100].
type Bias struct {
	Token int32
	Value float64
}

const (
	MaxBiases   = 1024
	MaxBadWords = 1024
	MaxBadWord  = 128 // tokens
)

// adjusts reports whether logits may change before temperature.
func (p *Params) adjusts() bool {
	return p.penalises() || len(p.LogitBias) > 0 || len(p.BadWords) > 0 || p.MinTokens > 0
}

// penalises reports whether a penalty is on.
func (p *Params) penalises() bool {
	return p.repeats() || p.FrequencyPenalty != 0 || p.PresencePenalty != 0
}

// repeats reports whether the repetition penalty is on.
func (p *Params) repeats() bool {
	return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1
}
