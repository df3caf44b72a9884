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
	if r.Model == "" {
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
	if err := checkInt("top_k", r.TopK, -1, MaxTopK); err != nil {
		return err
	}
	if err := checkFloat("temperature", r.Temperature, 0, MaxTemperature); err != nil {
		return err
	}
	if err := checkFloat("top_p", r.TopP, 0, 1); err != nil {
		return err
	}
	for i, s := range r.Stop {
		if s == "" || len(s) > MaxStopBytes {
			return BadRequest(CodeInvalidValue, fmt.Sprintf("stop[%d]", i), "A stop string must have 1 to %d bytes.", MaxStopBytes)
		}
	}
	if r.StreamOptions != nil && !r.Stream {
		return BadRequest(CodeInvalidValue, "stream_options", "The parameter 'stream_options' is only allowed when 'stream' is true.")
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
