package server

import (
	"fmt"
	"slices"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/session"
)

// stored is a message that a session has.
type stored struct {
	role, text string
	turn       *session.TurnInfo
}

// encodeChat returns the prompt of a chat's turn: the conversation up to the
// session's head, of which the tokens are there, and the messages that are new.
func (c *completion) encodeChat(req *api.ChatRequest) ([]prompt, error) {
	t := c.turn
	past, err := storedMessages(t.right.Turns())
	if err != nil {
		return nil, err
	}
	if c.job.fresh, err = newMessages(past, req.Messages); err != nil {
		return nil, err
	}
	all := make(api.Messages, 0, len(past)+len(c.job.fresh))
	for _, m := range past {
		all = append(all, api.Message{Role: m.role, Content: api.Text(m.text)})
	}
	// The session's time, lest a template that tells the date make another text of
	// the whole conversation each day.
	in := chatInput(append(all, c.job.fresh...), t.info.Created)
	in.AddGenerationPrompt = or(req.AddGenerationPrompt, true)
	in.Vars = req.ChatTemplateKwargs
	in.MaxTokens = c.info.ContextLength
	var tokens []int32
	if tokens, t.keep, err = c.s.sessions.EncodeChatAfter(in, t.right.Tokens()); err != nil {
		return nil, err
	}
	return []prompt{{tokens: tokens}}, nil
}

// encodeText returns the prompt of a turn that is no chat: it is put behind the
// session's text.
func (c *completion) encodeText(req *api.CompletionRequest) ([]prompt, error) {
	t := c.turn
	path := t.right.Turns()
	tail := "" // text at the end that has no tokens
	for i := range path {
		body, err := readTurnBody(&path[i])
		if err != nil {
			return nil, err
		}
		if body.Chat != nil {
			return nil, otherKind("a chat", "/v1/chat/completions")
		}
		result, err := readTurnResult(&path[i])
		if err != nil {
			return nil, err
		}
		tail = result.Text[len(result.Text)-result.Tail:]
	}
	past := t.right.Tokens()
	if len(past) == 0 {
		return c.encodePrompts(req)
	}
	t.keep = len(past)
	tokens := slices.Clone(past)
	if len(req.Prompt.Texts) > 0 {
		text := tail + req.Prompt.Texts[0]
		if err := c.checkSize(text, "prompt"); err != nil {
			return nil, err
		}
		return []prompt{{tokens: append(tokens, c.s.sessions.EncodeAfter(text)...)}}, nil
	}
	if err := checkTokens(c.info.VocabSize, "prompt", req.Prompt.Tokens[0]); err != nil {
		return nil, err
	}
	tokens = append(tokens, c.s.sessions.EncodeAfter(tail)...)
	return []prompt{{tokens: append(tokens, req.Prompt.Tokens[0]...)}}, nil
}

func otherKind(is, path string) error {
	return &api.Error{Status: 422, Type: api.TypeInvalidRequest, Code: new(api.CodeKindMismatch),
		Message: fmt.Sprintf("This session is %s; it goes on with POST %s.", is, path)}
}

// storedMessages returns the conversation of a path.
func storedMessages(path []session.TurnInfo) ([]stored, error) {
	var all []stored
	for i := range path {
		t := &path[i]
		body, err := readTurnBody(t)
		if err != nil {
			return nil, err
		}
		if body.Chat == nil {
			return nil, otherKind("no chat", "/v1/completions")
		}
		result, err := readTurnResult(t)
		if err != nil {
			return nil, err
		}
		for _, m := range body.Chat.Messages {
			all = append(all, stored{m.Role, string(*m.Content), t})
		}
		all = append(all, stored{api.RoleAssistant, result.Text, t})
	}
	return all, nil
}

// newMessages returns those of a request that the session does not have. A request
// with a message of the assistant's repeats the whole conversation, which must then
// be the session's; one without has new messages only.
func newMessages(past []stored, sent api.Messages) (api.Messages, error) {
	whole := slices.ContainsFunc(sent, func(m api.Message) bool { return m.Role == api.RoleAssistant })
	if len(past) == 0 || !whole {
		return sent, nil
	}
	for i, have := range past {
		if i == len(sent) {
			return nil, mismatch("messages", "The session has %d messages and the request %d: it does not know of those behind. Send the new messages only, or the whole conversation.", len(past), len(sent))
		}
		got := &sent[i]
		what := ""
		switch text := string(*got.Content); {
		case sameRole(got.Role) != sameRole(have.role):
			what = fmt.Sprintf("the role is %s there, not %s", have.role, got.Role)
		case text != have.text:
			what = fmt.Sprintf("the texts differ from byte %d on", common(text, have.text))
		default:
			continue
		}
		before := `""`
		if have.turn.Parent != "" {
			before = `"` + have.turn.Parent + `"`
		}
		return nil, mismatch(fmt.Sprintf("messages[%d]", i), "messages[%d] is not what the session has in its place since %s: %s. Send the new messages only; to go on from before it, fork or rewind the session with 'turn' %s.",
			i, have.turn.ID, what, before)
	}
	if len(sent) == len(past) {
		return nil, mismatch("messages", "The request has no message that the session does not have.")
	}
	return sent[len(past):], nil
}

func mismatch(param, format string, args ...any) error {
	e := api.BadRequest(api.CodeHistoryMismatch, param, format, args...)
	e.Status = 422
	return e
}

// sameRole returns the older of a role's two names.
func sameRole(role string) string {
	if role == api.RoleDeveloper {
		return api.RoleSystem
	}
	return role
}

// common returns how many bytes a and b have in common at the beginning.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
