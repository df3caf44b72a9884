package server

import (
	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/session"
)

// DescribeSession returns a session as the API shows it, without where its KV is.
func DescribeSession(i *session.Info) *api.Session {
	got := &api.Session{
		ID:         i.ID.String(),
		Object:     api.ObjectSession,
		Created:    i.Created.Unix(),
		LastUsed:   i.Used.Unix(),
		State:      string(i.State),
		Head:       orNull(i.Head),
		Durability: i.Durability.String(),
		Durable:    i.Durable,
		Exact:      !i.Inexact,
		Pinned:     i.Pinned,
		Turns:      i.Turns,
		Tokens:     i.Tokens,
	}
	if !i.Expires.IsZero() {
		got.ExpiresAt = new(i.Expires.Unix())
	}
	if i.Parent != (session.ID{}) {
		got.Parent = &api.SessionParent{ID: i.Parent.String(), Head: orNull(i.ParentHead)}
	}
	return got
}

// DescribeTurn returns a turn of a session as the API shows it, with its text only
// if it was committed: that of its tokens is for a tokenizer to say.
func DescribeTurn(id session.ID, t *session.TurnInfo) api.Turn {
	got := api.Turn{
		ID:               t.ID,
		Object:           api.ObjectTurn,
		SessionID:        id.String(),
		Parent:           orNull(t.Parent),
		State:            string(t.State),
		Created:          t.Created.Unix(),
		FinishReason:     orNull(t.Finish),
		PromptTokens:     len(t.Input),
		CompletionTokens: len(t.Drawn),
	}
	if body, err := readTurnBody(t); err == nil && body.Chat != nil {
		got.Messages = body.Chat.Messages
	}
	if t.State != session.TurnCommitted {
		return got
	}
	if result, err := readTurnResult(t); err == nil {
		got.Text, got.CompletionTokens = result.Text, result.Completion
	}
	return got
}

// orNull returns a pointer to an ID, nil for none.
func orNull(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}
