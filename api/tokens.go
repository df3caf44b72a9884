package api

import "github.com/go-json-experiment/json/jsontext"

// TokenizeRequest is the body of POST /tokenize, as vLLM has it: a prompt, as a
// completion takes it, or messages, as a chat completion does.
type TokenizeRequest struct {
	Model                string   `json:"model,omitzero"` // may be left out
	Prompt               *string  `json:"prompt,omitzero"`
	Messages             Messages `json:"messages,omitzero"`
	AddSpecialTokens     *bool    `json:"add_special_tokens,omitzero"`     // of a prompt: the token that begins every text; true if not given
	AddGenerationPrompt  *bool    `json:"add_generation_prompt,omitzero"`  // of messages; true if not given
	ContinueFinalMessage bool     `json:"continue_final_message,omitzero"` // of messages: end with the last one
	ReturnTokenStrs      bool     `json:"return_token_strs,omitzero"`

	// Other holds the members that no field above names.
	Other jsontext.Value `json:",embed"`
}

// Tokenized is the answer to a TokenizeRequest.
type Tokenized struct {
	Count       int       `json:"count"`
	MaxModelLen int       `json:"max_model_len"`
	Tokens      []int32   `json:"tokens"`
	TokenStrs   *[]string `json:"token_strs"` // the text of each token; null if nobody asked
}

// DetokenizeRequest is the body of POST /detokenize.
type DetokenizeRequest struct {
	Model  string `json:"model,omitzero"` // may be left out
	Tokens Tokens `json:"tokens"`
}

// Detokenized is the answer to a DetokenizeRequest.
type Detokenized struct {
	Prompt string `json:"prompt"` // with the names of special tokens
}

// TokenizerInfo is the answer to GET /tokenizer_info: what programs that score
// texts ask of a tokenizer before they use it from afar.
type TokenizerInfo struct {
	BOSToken       *string `json:"bos_token"` // the name of the token that begins a text, or null
	EOSToken       *string `json:"eos_token"` // of the one that ends it
	VocabSize      int     `json:"vocab_size"`
	ModelMaxLength int     `json:"model_max_length"`
}

// Version is the answer to GET /version.
type Version struct {
	Version string `json:"version"`
}

// DecodeTokenizeRequest decodes and checks the body of a POST /tokenize. An
// error is always an *Error.
func DecodeTokenizeRequest(body []byte) (*TokenizeRequest, error) {
	var r TokenizeRequest
	if err := decodeBody(body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// DecodeDetokenizeRequest decodes and checks the body of a POST /detokenize. An
// error is always an *Error.
func DecodeDetokenizeRequest(body []byte) (*DetokenizeRequest, error) {
	var r DetokenizeRequest
	if err := decodeBody(body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

func (r *TokenizeRequest) validate() error {
	if err := checkUnsupported(r.Other, unsupportedTokenize, ""); err != nil {
		return err
	}
	switch {
	case r.Prompt != nil && r.Messages != nil:
		return BadRequest(CodeInvalidValue, "messages", "A request has either 'prompt' or 'messages', not both.")
	case r.Prompt != nil && r.AddGenerationPrompt != nil:
		return BadRequest(CodeInvalidValue, "add_generation_prompt", "The parameter 'add_generation_prompt' is only allowed with 'messages'.")
	case r.Prompt != nil && r.ContinueFinalMessage:
		return BadRequest(CodeInvalidValue, "continue_final_message", "The parameter 'continue_final_message' is only allowed with 'messages'.")
	case r.Prompt != nil:
		return nil
	case len(r.Messages) == 0:
		return BadRequest(CodeMissingParameter, "prompt", "One of the parameters 'prompt' and 'messages' is required.")
	case r.AddSpecialTokens != nil && *r.AddSpecialTokens:
		return BadRequest(CodeUnsupportedParameter, "add_special_tokens", "'add_special_tokens' is not supported with 'messages'; only false is accepted.")
	}
	for i := range r.Messages {
		if err := r.Messages[i].validate(i); err != nil {
			return err
		}
	}
	return checkContinue(r.ContinueFinalMessage, r.AddGenerationPrompt)
}

func (r *DetokenizeRequest) validate() error {
	if r.Tokens == nil {
		return BadRequest(CodeMissingParameter, "tokens", "The parameter 'tokens' is required.")
	}
	return nil
}
