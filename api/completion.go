package api

import (
	"fmt"
	"math"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// CompletionRequest is the body of POST /v1/completions.
type CompletionRequest struct {
	Options
	Prompt    Prompt `json:"prompt"`
	MaxTokens *int64 `json:"max_tokens,omitzero"` // of each completion; DefaultMaxTokens if not given
	BestOf    *int64 `json:"best_of,omitzero"`    // must equal n
	Echo      bool   `json:"echo,omitzero"`       // each completion begins with its prompt
	Logprobs  *int64 `json:"logprobs,omitzero"`   // of each token, and of so many of the likeliest

	// AddSpecialTokens, of vLLM, puts the token that begins every text before a
	// prompt that is a text; true if not given.
	AddSpecialTokens *bool `json:"add_special_tokens,omitzero"`

	// Other holds the members that no field above names.
	Other jsontext.Value `json:",embed"`
}

// DefaultMaxTokens is the limit of a completion whose request sets none, as
// OpenAI has it. A chat completion has no such limit.
const DefaultMaxTokens = 16

// TokenLimit returns the most tokens of each completion. It is 0 only for a
// prompt that shall be echoed and nothing else.
func (r *CompletionRequest) TokenLimit() int {
	if r.MaxTokens != nil {
		return int(*r.MaxTokens)
	}
	return DefaultMaxTokens
}

// Prompt holds the prompts of a request, each of which gets a completion of its
// own: either texts or lists of tokens. On the wire it is a string, a list of
// strings, a list of token IDs, or a list of such lists.
type Prompt struct {
	Texts  []string
	Tokens []Tokens
}

// Len returns the number of prompts.
func (p *Prompt) Len() int { return len(p.Texts) + len(p.Tokens) }

// UnmarshalJSONFrom implements json.UnmarshalerFrom; it stops at MaxPrompts.
func (p *Prompt) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*p = Prompt{}
	switch k := dec.PeekKind(); k {
	case '"':
		p.Texts = make([]string, 1)
		return json.UnmarshalDecode(dec, &p.Texts[0])
	case '[':
	case 'n':
		return dec.SkipValue()
	default:
		return &json.SemanticError{JSONKind: k, GoType: reflect.TypeFor[string]()}
	}
	var kind jsontext.Kind // of the elements
	return readList(dec, func() error {
		k := dec.PeekKind()
		if kind == 0 {
			kind = k
		}
		if k != kind || k != '"' && k != '0' && k != '[' {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			return BadRequest(CodeInvalidType, paramName(dec.StackPointer()), "A list of prompts must hold strings only, token IDs only, or lists of token IDs only.")
		}
		return p.readElement(dec, k)
	})
}

// readElement reads one element of a list of prompts, or, if it is a number,
// one token of the only prompt.
func (p *Prompt) readElement(dec *jsontext.Decoder, k jsontext.Kind) error {
	if k == '0' {
		if p.Tokens == nil {
			p.Tokens = make([]Tokens, 1)
		}
		if len(p.Tokens[0]) == MaxTokenIDs {
			return BadRequest(CodeInvalidValue, "prompt", "A prompt may have at most %d tokens.", MaxTokenIDs)
		}
		id, err := readToken(dec)
		p.Tokens[0] = append(p.Tokens[0], id)
		return err
	}
	if p.Len() == MaxPrompts {
		return BadRequest(CodeInvalidValue, "prompt", "A request may have at most %d prompts.", MaxPrompts)
	}
	if k == '"' {
		var text string
		err := json.UnmarshalDecode(dec, &text)
		p.Texts = append(p.Texts, text)
		return err
	}
	var tokens Tokens
	err := json.UnmarshalDecode(dec, &tokens)
	p.Tokens = append(p.Tokens, tokens)
	return err
}

// MarshalJSONTo implements json.MarshalerTo.
func (p Prompt) MarshalJSONTo(enc *jsontext.Encoder) error {
	if p.Tokens != nil {
		return json.MarshalEncode(enc, p.Tokens)
	}
	return json.MarshalEncode(enc, p.Texts)
}

// DecodeCompletionRequest decodes and checks the body of a completion. An error
// is always an *Error.
func DecodeCompletionRequest(body []byte) (*CompletionRequest, error) {
	var r CompletionRequest
	if err := decodeBody(body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

func (r *CompletionRequest) validate() error {
	if err := checkUnsupported(r.Other, unsupportedCompletion, ""); err != nil {
		return err
	}
	if r.Model == "" {
		return BadRequest(CodeMissingParameter, "model", "The parameter 'model' is required.")
	}
	if r.Prompt.Len() == 0 {
		return BadRequest(CodeMissingParameter, "prompt", "The parameter 'prompt' is required and must not be an empty list.")
	}
	for i, tokens := range r.Prompt.Tokens {
		if len(tokens) == 0 {
			return BadRequest(CodeInvalidValue, fmt.Sprintf("prompt[%d]", i), "A prompt must have at least one token.")
		}
	}
	if err := checkInt("logprobs", r.Logprobs, 0, MaxTopLogprobs); err != nil {
		return err
	}
	if err := checkInt("max_tokens", r.MaxTokens, 0, math.MaxInt32); err != nil {
		return err
	}
	if r.TokenLimit() == 0 && !r.Echo {
		return BadRequest(CodeInvalidValue, "max_tokens", "'max_tokens' may be 0 only if 'echo' is true.")
	}
	if err := r.Options.validate(r.TokenLimit()); err != nil {
		return err
	}
	if r.BestOf != nil && *r.BestOf != int64(r.Choices()) {
		return BadRequest(CodeUnsupportedParameter, "best_of", "'best_of' is %d, but 'n' is %d: there is no choosing among more completions than are returned.", *r.BestOf, r.Choices())
	}
	if n := r.Prompt.Len() * r.Choices(); n > MaxChoices {
		return BadRequest(CodeInvalidValue, "n", "%d prompts with 'n' %d ask for %d completions; a request may have at most %d.", r.Prompt.Len(), r.Choices(), n, MaxChoices)
	}
	return nil
}

// TextCompletion is the answer to a CompletionRequest, and each event of one
// that streams.
type TextCompletion struct {
	ID                string       `json:"id"`
	Object            string       `json:"object"` // ObjectTextCompletion
	Created           int64        `json:"created"`
	Model             string       `json:"model"`
	SystemFingerprint string       `json:"system_fingerprint,omitzero"`
	Choices           []TextChoice `json:"choices"` // n for each prompt; in an event, one or, with usage, none
	Usage             *Usage       `json:"usage,omitzero"`

	// Of a session's turn.
	SequenceNumber *int          `json:"sequence_number,omitzero"` // in an event
	Session        *SessionState `json:"session,omitzero"`
}

// TextChoice is one completion of an answer, or a piece of it.
type TextChoice struct {
	Index        int           `json:"index"` // prompt*n + completion of the prompt
	Text         string        `json:"text"`
	Logprobs     *TextLogprobs `json:"logprobs"`      // null if nobody asked
	FinishReason *string       `json:"finish_reason"` // null but in the last piece

	// Of vLLM; absent unless asked for. In a stream the prompt's are in the first
	// piece.
	TokenIDs       []int32      `json:"token_ids,omitzero"`
	PromptTokenIDs []int32      `json:"prompt_token_ids,omitzero"`
	PromptLogprobs []TokenRanks `json:"prompt_logprobs,omitzero"`
}
