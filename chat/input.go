package chat

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/holdfast-run/holdfast/chat/internal/jinja"
)

// Message is one message of a conversation. Templates see it as a mapping with
// the keys role, content and, where not empty, name, reasoning_content,
// tool_calls and tool_call_id.
type Message struct {
	Role       string
	Content    string
	Name       string
	Reasoning  string
	ToolCalls  []ToolCall
	ToolCallID string // of the call that a message of role "tool" answers
}

// ToolCall is a call of a function that the model asked for.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string // JSON; an object reaches the template as a mapping, all else as text
}

// Input is what a template renders. Nothing of it is kept.
type Input struct {
	Messages []Message
	// Tools are JSON values, as the client sent them. Templates see their keys in
	// the order in which they stand.
	Tools []jsontext.Value
	// AddGenerationPrompt asks for the beginning of the assistant's answer.
	AddGenerationPrompt bool
	// ContinueFinal ends the prompt with the last message's content, for the model
	// to go on with it.
	ContinueFinal bool
	// MaxTokens, if not 0, is how many tokens are of use: Tokens may give up with a
	// TooLongError if there are more.
	MaxTokens int
	// Now is the time that strftime_now tells.
	Now time.Time
	// Vars are further names for the template, such as enable_thinking: nil, bool,
	// string, int, int64 or float64. They may not hide the template's own names.
	Vars map[string]any
}

// trustedRoles are the closed set of roles that the API knows. Their names count
// as the template's own text.
var trustedRoles = []string{"system", "developer", "user", "assistant", "tool"}

// reserved are names that Input.Vars may not set.
var reserved = []string{
	"messages", "tools", "add_generation_prompt", "bos_token", "eos_token",
	"range", "namespace", "dict", "joiner", "cycler", "raise_exception", "strftime_now", "loop", "caller",
}

// values returns the names that the template sees, and the number of bytes of
// client text in them.
func (t *Template) values(in Input) (vars map[string]jinja.Value, sizeBytes int, err error) {
	c := &converter{}
	vars = make(map[string]jinja.Value, 8+len(in.Vars))
	if t.bos != "" {
		vars["bos_token"] = jinja.Trusted(t.bos)
	}
	if t.eos != "" {
		vars["eos_token"] = jinja.Trusted(t.eos)
	}
	messages := make([]jinja.Value, len(in.Messages))
	for i, m := range in.Messages {
		if in.ContinueFinal && i == len(in.Messages)-1 {
			m.Content += continueTag
		}
		if messages[i], err = c.message(&m); err != nil {
			return nil, 0, fmt.Errorf("messages[%d]: %w", i, err)
		}
	}
	vars["messages"] = jinja.NewList(messages...)
	vars["add_generation_prompt"] = in.AddGenerationPrompt
	vars["tools"] = jinja.None{}
	if len(in.Tools) > 0 {
		tools := make([]jinja.Value, len(in.Tools))
		for i, tool := range in.Tools {
			if tools[i], err = c.json(tool); err != nil {
				return nil, 0, &TemplateError{Message: fmt.Sprintf("tools[%d]: %v", i, err)}
			}
		}
		vars["tools"] = jinja.NewList(tools...)
	}
	for name, v := range in.Vars {
		if slices.Contains(reserved, name) {
			return nil, 0, &TemplateError{Message: fmt.Sprintf("the name %q is the template's own", name)}
		}
		if vars[name], err = c.scalar(v); err != nil {
			return nil, 0, &TemplateError{Message: fmt.Sprintf("variable %q: %v", name, err)}
		}
	}
	return vars, c.sizeBytes, nil
}

// converter makes template values of a client's and counts their bytes.
type converter struct{ sizeBytes int }

func (c *converter) text(s string) jinja.Text {
	c.sizeBytes += len(s)
	return jinja.Client(s)
}

func (c *converter) message(m *Message) (jinja.Value, error) {
	d := jinja.NewDict()
	set := func(key string, v jinja.Value) { d.Set(jinja.Trusted(key), v) }
	role := c.text(m.Role)
	if slices.Contains(trustedRoles, m.Role) {
		role = jinja.Trusted(m.Role)
	}
	set("role", role)
	set("content", c.text(m.Content))
	if m.Name != "" {
		set("name", c.text(m.Name))
	}
	if m.Reasoning != "" {
		set("reasoning_content", c.text(m.Reasoning))
	}
	if len(m.ToolCalls) > 0 {
		calls := make([]jinja.Value, len(m.ToolCalls))
		for i := range m.ToolCalls {
			calls[i] = c.toolCall(&m.ToolCalls[i])
		}
		set("tool_calls", jinja.NewList(calls...))
	}
	if m.ToolCallID != "" {
		set("tool_call_id", c.text(m.ToolCallID))
	}
	return d, nil
}

func (c *converter) toolCall(call *ToolCall) jinja.Value {
	function := jinja.NewDict()
	function.Set(jinja.Trusted("name"), c.text(call.Name))
	var arguments jinja.Value = jinja.Client(call.Arguments)
	if v, err := c.json(jsontext.Value(call.Arguments)); err == nil {
		if _, ok := v.(*jinja.Dict); ok {
			arguments = v
		}
	}
	c.sizeBytes += len(call.Arguments)
	function.Set(jinja.Trusted("arguments"), arguments)
	d := jinja.NewDict()
	if call.ID != "" {
		d.Set(jinja.Trusted("id"), c.text(call.ID))
	}
	d.Set(jinja.Trusted("type"), jinja.Trusted("function"))
	d.Set(jinja.Trusted("function"), function)
	return d
}

func (c *converter) scalar(v any) (jinja.Value, error) {
	switch v := v.(type) {
	case nil:
		return jinja.None{}, nil
	case bool, int64, float64:
		return v, nil
	case int:
		return int64(v), nil
	case string:
		return c.text(v), nil
	}
	return nil, fmt.Errorf("cannot be %T", v)
}

// json decodes one JSON value of a client's.
func (c *converter) json(data jsontext.Value) (jinja.Value, error) {
	return jinja.ParseJSON(data, func(s string) jinja.Text {
		c.sizeBytes += 8
		return c.text(s)
	})
}
