package api

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Options are the parameters that all requests for completions share. A nil
// pointer is a parameter that was not given.
type Options struct {
	Model string `json:"model"`

	// How tokens are picked.
	Temperature       *float64  `json:"temperature,omitzero"`
	TopP              *float64  `json:"top_p,omitzero"`
	TopK              *int64    `json:"top_k,omitzero"` // as in vLLM: 0 and -1 mean all tokens
	MinP              *float64  `json:"min_p,omitzero"`
	Seed              *int64    `json:"seed,omitzero"`
	RepetitionPenalty *float64  `json:"repetition_penalty,omitzero"`
	FrequencyPenalty  *float64  `json:"frequency_penalty,omitzero"`
	PresencePenalty   *float64  `json:"presence_penalty,omitzero"`
	LogitBias         LogitBias `json:"logit_bias,omitzero"`
	BadWords          BadWords  `json:"bad_words,omitzero"`

	// Where a completion ends.
	Stop         Stop   `json:"stop,omitzero"`
	StopTokenIDs Tokens `json:"stop_token_ids,omitzero"`
	MinTokens    *int64 `json:"min_tokens,omitzero"` // no end token before so many
	IgnoreEOS    bool   `json:"ignore_eos,omitzero"`

	// What an answer says, of vLLM.
	SkipSpecialTokens *bool  `json:"skip_special_tokens,omitzero"`        // leave control tokens out of texts; true if not given
	IncludeStop       bool   `json:"include_stop_str_in_output,omitzero"` // a text ends with what ended it
	ReturnTokenIDs    bool   `json:"return_token_ids,omitzero"`           // of the prompts and of the completions
	PromptLogprobs    *int64 `json:"prompt_logprobs,omitzero"`            // of each token of a prompt, and of so many of the likeliest

	SessionOptions

	N        *int64 `json:"n,omitzero"`        // completions of each prompt; 1 if not given
	Priority *int64 `json:"priority,omitzero"` // as in vLLM: a lower one is served earlier

	Stream        bool           `json:"stream,omitzero"`
	StreamOptions *StreamOptions `json:"stream_options,omitzero"`
	User          string         `json:"user,omitzero"` // accepted, and not used
}

// Choices returns the number of completions to make of each prompt.
func (o *Options) Choices() int {
	if o.N == nil {
		return 1
	}
	return int(*o.N)
}

// StreamOptions are the parameters of a streamed answer.
type StreamOptions struct {
	IncludeUsage bool `json:"include_usage,omitzero"`
}

// IncludeUsage reports whether a stream shall end with a usage chunk.
func (o *Options) IncludeUsage() bool {
	return o.StreamOptions != nil && o.StreamOptions.IncludeUsage
}

// Stop holds the strings before which a completion ends. On the wire it is a
// string or a list of strings.
type Stop []string

// BadWords are texts that a completion must not contain, each alone and after a
// space, as the tokens that they encode to.
type BadWords []string

// Tokens are token IDs: not negative. Whether a vocabulary has them is for the
// server to check.
type Tokens []int32

// LogitBias is what is added to the logits of some tokens, ascending by token.
// On the wire it is an object: {"50256": -100}.
type LogitBias []Bias

// Bias is what is added to one token's logit.
type Bias struct {
	Token int32
	Value float64
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom for a string or a list of strings.
func (s *Stop) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*s = nil
	one := func() error {
		if len(*s) == MaxStops {
			return BadRequest(CodeInvalidValue, "stop", "A request may have at most %d stop strings.", MaxStops)
		}
		var text string
		if err := json.UnmarshalDecode(dec, &text); err != nil {
			return err
		}
		*s = append(*s, text)
		return nil
	}
	switch dec.PeekKind() {
	case '[':
		return readList(dec, one)
	case '"':
		return one()
	case 'n':
		return dec.SkipValue()
	}
	return &json.SemanticError{JSONKind: dec.PeekKind(), GoType: reflect.TypeFor[string]()}
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom; it stops at MaxBadWords.
func (w *BadWords) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*w = nil
	return readList(dec, func() error {
		if len(*w) == MaxBadWords {
			return BadRequest(CodeInvalidValue, "bad_words", "A request may have at most %d bad words.", MaxBadWords)
		}
		var text string
		if err := json.UnmarshalDecode(dec, &text); err != nil {
			return err
		}
		*w = append(*w, text)
		return nil
	})
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom; it stops at MaxTokenIDs.
func (t *Tokens) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*t = nil
	if dec.PeekKind() == '[' {
		*t = Tokens{} // not absent
	}
	return readList(dec, func() error {
		if len(*t) == MaxTokenIDs {
			return BadRequest(CodeInvalidValue, "", "A list may have at most %d tokens.", MaxTokenIDs)
		}
		id, err := readToken(dec)
		*t = append(*t, id)
		return err
	})
}

// readToken reads one element of a list of token IDs; null is none.
func readToken(dec *jsontext.Decoder) (int32, error) {
	if dec.PeekKind() == 'n' {
		if err := dec.SkipValue(); err != nil {
			return 0, err
		}
		at := paramName(dec.StackPointer())
		return 0, BadRequest(CodeInvalidType, at, "'%s' must be an integer, not null.", at)
	}
	var id int64
	if err := json.UnmarshalDecode(dec, &id); err != nil {
		return 0, err
	}
	if id < 0 || id > math.MaxInt32 {
		return 0, BadRequest(CodeInvalidValue, paramName(dec.StackPointer()), "A token ID must be between 0 and %d, not %d.", math.MaxInt32, id)
	}
	return int32(id), nil
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom; it stops at MaxBiases.
func (l *LogitBias) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*l = nil
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	err := readObject(dec, func(name string) error {
		if len(*l) == MaxBiases {
			return BadRequest(CodeInvalidValue, "logit_bias", "'logit_bias' may name at most %d tokens.", MaxBiases)
		}
		one, err := readBias(dec, name)
		*l = append(*l, one)
		return err
	})
	slices.SortFunc(*l, func(a, b Bias) int { return cmp.Compare(a.Token, b.Token) })
	return err
}

// readBias reads the value of one member of logit_bias.
func readBias(dec *jsontext.Decoder, key string) (Bias, error) {
	id, err := strconv.ParseInt(key, 10, 32)
	if err != nil || id < 0 || strconv.FormatInt(id, 10) != key { // "07" might be there beside "7"
		return Bias{}, BadRequest(CodeInvalidValue, "logit_bias", "The names in 'logit_bias' must be token IDs, not %s.", quote(key))
	}
	if k := dec.PeekKind(); k != '0' && k != 0 {
		return Bias{}, &json.SemanticError{JSONKind: k, GoType: reflect.TypeFor[float64]()}
	}
	b := Bias{Token: int32(id)}
	if err := json.UnmarshalDecode(dec, &b.Value); err != nil {
		return b, err
	}
	if b.Value < -MaxBias || b.Value > MaxBias {
		return b, BadRequest(CodeInvalidValue, "logit_bias", "The values in 'logit_bias' must be between %d and %d; that of token %d is %g.", -MaxBias, MaxBias, id, b.Value)
	}
	return b, nil
}

// MarshalJSONTo implements json.MarshalerTo.
func (l LogitBias) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, b := range l {
		if err := enc.WriteToken(jsontext.String(strconv.Itoa(int(b.Token)))); err != nil {
			return err
		}
		if err := enc.WriteToken(jsontext.Float(b.Value)); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// validate checks what types alone do not say. most is the token limit of the
// request, or 0.
func (o *Options) validate(most int) error {
	for _, err := range []error{
		checkInt("top_k", o.TopK, -1, MaxTopK),
		checkInt("min_tokens", o.MinTokens, 0, math.MaxInt32),
		checkInt("n", o.N, 1, MaxChoices),
		checkInt("prompt_logprobs", o.PromptLogprobs, 0, MaxTopLogprobs),
		checkInt("priority", o.Priority, -MaxPriority, MaxPriority),
		checkFloat("temperature", o.Temperature, 0, MaxTemperature),
		checkFloat("top_p", o.TopP, 0, 1),
		checkFloat("min_p", o.MinP, 0, 1),
		checkFloat("frequency_penalty", o.FrequencyPenalty, -MaxPenalty, MaxPenalty),
		checkFloat("presence_penalty", o.PresencePenalty, -MaxPenalty, MaxPenalty),
	} {
		if err != nil {
			return err
		}
	}
	if p := o.RepetitionPenalty; p != nil && *p <= 0 {
		return BadRequest(CodeInvalidValue, "repetition_penalty", "'repetition_penalty' must be above 0, not %g; 1 turns it off.", *p)
	}
	if o.MinTokens != nil && most > 0 && *o.MinTokens > int64(most) {
		return BadRequest(CodeInvalidValue, "min_tokens", "'min_tokens' is %d, more than the limit of %d on the completion.", *o.MinTokens, most)
	}
	for i, s := range o.Stop {
		if s == "" || len(s) > MaxStopBytes {
			return BadRequest(CodeInvalidValue, fmt.Sprintf("stop[%d]", i), "A stop string must have 1 to %d bytes.", MaxStopBytes)
		}
	}
	for i, w := range o.BadWords {
		if strings.TrimLeft(w, " ") == "" || len(w) > MaxBadWordBytes {
			return BadRequest(CodeInvalidValue, fmt.Sprintf("bad_words[%d]", i), "A bad word must have 1 to %d bytes, and not only spaces.", MaxBadWordBytes)
		}
	}
	if len(o.StopTokenIDs) > MaxStopTokens {
		return BadRequest(CodeInvalidValue, "stop_token_ids", "A request may have at most %d stop tokens.", MaxStopTokens)
	}
	if o.PromptLogprobs != nil && o.Stream {
		return BadRequest(CodeInvalidValue, "prompt_logprobs", "The parameter 'prompt_logprobs' is not allowed when 'stream' is true.")
	}
	if o.StreamOptions != nil && !o.Stream {
		return BadRequest(CodeInvalidValue, "stream_options", "The parameter 'stream_options' is only allowed when 'stream' is true.")
	}
	return nil
}

func checkInt(name string, v *int64, lo, hi int64) error {
	if v == nil || (*v >= lo && *v <= hi) {
		return nil
	}
	return BadRequest(CodeInvalidValue, name, "'%s' must be between %d and %d, not %d.", name, lo, hi, *v)
}

func checkFloat(name string, v *float64, lo, hi float64) error {
	if v == nil || (*v >= lo && *v <= hi) {
		return nil
	}
	return BadRequest(CodeInvalidValue, name, "'%s' must be between %g and %g, not %g.", name, lo, hi, *v)
}
