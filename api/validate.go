package api

import (
	"fmt"
	"math"
)

// validate checks what types alone do not say.
func (r *ChatRequest) validate() error {
	if err := checkUnsupported(r.Other, unsupportedChat, ""); err != nil {
		return err
	}
	if r.Model == "" && !r.anyModel {
		return BadRequest(CodeMissingParameter, "model", "The parameter 'model' is required.")
	}
	if len(r.Messages) == 0 {
		return BadRequest(CodeMissingParameter, "messages", "The parameter 'messages' is required and must not be empty.")
	}
	for i := range r.Messages {
		if err := r.Messages[i].validate(i); err != nil {
			return err
		}
	}
	if err := checkInt("max_completion_tokens", r.MaxCompletionTokens, 1, math.MaxInt32); err != nil {
		return err
	}
	if err := checkInt("max_tokens", r.MaxTokens, 1, math.MaxInt32); err != nil {
		return err
	}
	if err := checkInt("top_logprobs", r.TopLogprobs, 0, MaxTopLogprobs); err != nil {
		return err
	}
	if r.TopLogprobs != nil && *r.TopLogprobs > 0 && !r.Logprobs {
		return BadRequest(CodeInvalidValue, "top_logprobs", "The parameter 'top_logprobs' is only allowed when 'logprobs' is true.")
	}
	if err := checkContinue(r.ContinueFinalMessage, r.AddGenerationPrompt); err != nil {
		return err
	}
	return r.Options.validate(r.TokenLimit())
}

// checkContinue refuses to go on with a message and to begin one.
func checkContinue(final bool, begin *bool) error {
	if final && (begin == nil || *begin) {
		return BadRequest(CodeInvalidValue, "continue_final_message", "The parameter 'continue_final_message' is only allowed when 'add_generation_prompt' is false.")
	}
	return nil
}

func (m *Message) validate(i int) error {
	at := fmt.Sprintf("messages[%d].", i)
	if err := checkUnsupported(m.Other, unsupportedMessage, at); err != nil {
		return err
	}
	switch m.Role {
	case RoleSystem, RoleDeveloper, RoleUser, RoleAssistant:
	case "":
		return BadRequest(CodeMissingParameter, at+"role", "Each message needs a role.")
	case "tool", "function":
		return BadRequest(CodeUnsupportedParameter, at+"role", "Messages of the role '%s' are not supported.", m.Role)
	default:
		return BadRequest(CodeInvalidValue, at+"role", "The role %s does not exist; use system, developer, user or assistant.", quote(m.Role))
	}
	if m.Content == nil {
		return BadRequest(CodeMissingParameter, at+"content", "Each message needs a content.")
	}
	return nil
}
