package server

import (
	"encoding/hex"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/session"
)

// turnBody is what the log has of a turn's request, as JSON: docs/FORMATS.md.
// One of Chat and Text is there. Of the messages only those are that came with the turn.
type turnBody struct {
	Answer string                 `json:"answer"` // the ID of its answer
	Key    string                 `json:"key,omitzero"`
	Digest digest                 `json:"digest,omitzero"` // of the request, with a key
	Chat   *api.ChatRequest       `json:"chat,omitzero"`
	Text   *api.CompletionRequest `json:"text,omitzero"`
}

// digest is hexadecimal in JSON.
type digest [16]byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	sum, err := hex.DecodeString(string(text))
	if err != nil || len(sum) != len(d) {
		return fmt.Errorf("server: %.40q is no digest", text)
	}
	*d = digest(sum)
	return nil
}

// turnResult is what the log has of a turn's answer, as JSON.
type turnResult struct {
	Text       string  `json:"text"`
	Tail       int     `json:"tail,omitzero"` // the last bytes of Text, which no token of the history has
	Rest       []int32 `json:"rest,omitzero"` // drawn tokens behind those of the history
	Prompt     int     `json:"prompt_tokens"`
	Completion int     `json:"completion_tokens"`
	Cached     int     `json:"cached_tokens"`
	Exact      bool    `json:"exact"`
}

func (r *turnResult) usage() engine.Usage {
	return engine.Usage{PromptTokens: r.Prompt, CompletionTokens: r.Completion, CachedTokens: r.Cached}
}

// turnBody returns what the log shall have of the request. What the server does
// not use of it is left out.
func (c *completion) turnBody() []byte {
	t := c.turn
	body := turnBody{Answer: c.id, Key: t.key}
	if t.key != "" {
		body.Digest = t.digest
	}
	if c.job.chat != nil {
		req := *c.job.chat
		req.Messages = make(api.Messages, len(c.job.fresh))
		for i, m := range c.job.fresh {
			req.Messages[i] = api.Message{Role: m.Role, Content: m.Content}
		}
		req.Other, req.SessionID, req.User = nil, "", ""
		body.Chat = &req
	} else {
		req := *c.job.text
		req.Other, req.SessionID, req.User = nil, "", ""
		body.Text = &req
	}
	return mustMarshal(body)
}

// turnResult returns what the log shall have of the answer: its history has so
// many of the drawn tokens, with so many bytes of text.
func (c *completion) turnResult(tokens, size int, exact bool) []byte {
	t, u := c.turn, c.usage()
	return mustMarshal(turnResult{
		Text:       string(t.text),
		Tail:       len(t.text) - size,
		Rest:       t.drawn[tokens:],
		Prompt:     u.PromptTokens,
		Completion: u.CompletionTokens,
		Cached:     u.CachedTokens,
		Exact:      exact,
	})
}

func mustMarshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return text
}

// readTurnBody reads what the log has of a turn's request. It can only fail for
// turns that another program made.
func readTurnBody(t *session.TurnInfo) (*turnBody, error) {
	var body turnBody
	if err := json.Unmarshal(t.Body, &body); err != nil || (body.Chat == nil) == (body.Text == nil) {
		return nil, foreign(t)
	}
	if body.Chat != nil {
		for _, m := range body.Chat.Messages {
			if m.Content == nil {
				return nil, foreign(t)
			}
		}
	}
	return &body, nil
}

// readTurnResult does the same for the answer of a committed turn.
func readTurnResult(t *session.TurnInfo) (*turnResult, error) {
	var result turnResult
	if err := json.Unmarshal(t.Result, &result); err != nil || result.Tail < 0 || result.Tail > len(result.Text) {
		return nil, foreign(t)
	}
	return &result, nil
}

func foreign(t *session.TurnInfo) error {
	return api.NewError(422, api.TypeInvalidRequest, api.CodeSessionDamaged, fmt.Sprintf("This server does not understand %s of the session; rewind to a turn before it, or fork there.", t.ID))
}

// job returns what the request asked for.
func (b *turnBody) job() (*kind, *job) {
	if b.Chat != nil {
		return &chatKind, chatJob(b.Chat)
	}
	return &textKind, textJob(b.Text)
}

// turns serves GET /v1/sessions/{id}/turns.
func (c *call) turns() (any, error) {
	info, err := c.s.cfg.Sessions.Get(c.principal, c.id)
	if err != nil {
		return nil, err
	}
	all, err := c.s.cfg.Sessions.Turns(c.ctx, c.principal, c.id)
	if err != nil {
		return nil, err
	}
	got := api.TurnList{Object: api.ObjectList, Data: make([]api.Turn, len(all)), Head: orNull(info.Head)}
	for i := range all {
		got.Data[i] = c.describeTurn(&info, all, &all[i], false)
	}
	return got, nil
}

// oneTurn serves GET /v1/sessions/{id}/turns/{turn}.
func (c *call) oneTurn() (any, error) {
	info, err := c.s.cfg.Sessions.Get(c.principal, c.id)
	if err != nil {
		return nil, err
	}
	all, err := c.s.cfg.Sessions.Turns(c.ctx, c.principal, c.id)
	if err != nil {
		return nil, err
	}
	_, which := pathParts(c.http)
	for i := range all {
		if all[i].ID == which {
			return c.describeTurn(&info, all, &all[i], true), nil
		}
	}
	return nil, session.ErrNoTurn
}

// describeTurn describes one of a session's turns, with its whole answer or without.
func (c *call) describeTurn(info *session.Info, all []session.TurnInfo, t *session.TurnInfo, answer bool) api.Turn {
	got := DescribeTurn(c.id, t)
	body, err := readTurnBody(t)
	if err != nil {
		return got
	}
	result, err := readTurnResult(t)
	if t.State != session.TurnCommitted || err != nil {
		kind, job := body.job()
		p := &completion{s: c.s, kind: kind, job: job}
		for _, d := range c.s.sessions.Replay(p.asked(sampler.Params{}, &prompt{}), t.Drawn, engine.FinishLength) {
			got.Text += d.Text
		}
		return got
	}
	if answer {
		got.Answer = mustMarshal(c.s.answerOf(info, all, t, body, result))
	}
	return got
}

// answerOf returns what the client was answered.
func (s *Server) answerOf(info *session.Info, all []session.TurnInfo, t *session.TurnInfo, body *turnBody, result *turnResult) any {
	kind, job := body.job()
	c := &completion{s: s, kind: kind, job: job, id: body.Answer, created: t.Created.Unix(), info: s.worker.Info()}
	c.turn = &turn{id: info.ID, state: &api.SessionState{ID: info.ID.String(), Head: orNull(t.ID), Durable: info.Durable, Exact: result.Exact}}
	c.generations = []generation{{stream: &replayStream{usage: result.usage()}, prompt: &prompt{tokens: promptOf(all, t)}}}
	one := choice{text: []byte(result.Text), finish: engine.FinishReason(t.Finish)}
	if job.ReturnTokenIDs {
		one.ids = append(t.Drawn[:len(t.Drawn):len(t.Drawn)], result.Rest...)
	}
	return kind.whole(c, []choice{one})
}
