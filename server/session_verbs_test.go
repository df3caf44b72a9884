package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// TestSessionVerbs has each verb reach the worker with the session's tokens.
func TestSessionVerbs(t *testing.T) {
	w := newScribe()
	s := serveSessions(t, w, t.TempDir(), withKeys(file(t, "keys", keyLine("alice", "good"))))
	const key = "Authorization: Bearer good"
	one := s.create("", key)
	path := sessionPrefix + one.ID
	answer := must[api.ChatCompletion](s, "POST", chatPath, chatOf(one.ID, "", "hi"), key).Choices[0].Message.Content
	text := "[user:hi][assistant:" + answer
	for verb, state := range map[string]string{"checkpoint": "idle", "park": "parked", "resume": "idle"} {
		if verb == "resume" {
			must[api.Session](s, "POST", path+"/park", "", key)
		}
		w.moved = nil
		got := must[api.Session](s, "POST", path+"/"+verb, "{}", key)
		name := map[string]string{"checkpoint": "checkpoint", "park": "park", "resume": "prefetch"}[verb]
		if got.State != state || got.Bytes == nil || !slices.Contains(w.moved, fmt.Sprintf("%s %q %s", name, "alice", text)) {
			t.Errorf("%s: %+v after %q", verb, got, w.moved)
		}
	}
	r := must[api.SessionReport](s, "POST", path+"/verify", "", key)
	if !r.OK || r.Turns != 1 || r.Tokens != len(text) || r.Records == 0 || r.Blocks.Total != len(text)/32 || r.Blocks.Good != r.Blocks.Total {
		t.Errorf("verify: %+v", r)
	}
	got := must[api.Session](s, "POST", path, `{"ttl_seconds":60,"pinned":true}`, key)
	if !got.Pinned || got.ExpiresAt == nil && !got.Pinned {
		t.Errorf("update: %+v", got)
	}
	if got := must[api.Session](s, "POST", path, `{"pinned":false}`, key); got.Pinned || got.ExpiresAt == nil || *got.ExpiresAt < got.LastUsed+60 {
		t.Errorf("update: %+v", got)
	}
	s.refused(400, api.CodeInvalidValue, "POST", path, `{"durability":"step"}`, key)
	forks := must[api.SessionList](s, "POST", path+"/fork", `{"n":3,"turn":"turn_1"}`, key)
	if len(forks.Data) != 3 || forks.Data[0].Parent == nil || forks.Data[0].Parent.ID != one.ID || *forks.Data[2].Head != "turn_1" {
		t.Errorf("forks %+v", forks)
	}
	for _, f := range forks.Data {
		if got := must[api.ChatCompletion](s, "POST", chatPath, chatOf(f.ID, "", "more"), key); !strings.HasPrefix(textOf(w.lastRequest().Tokens), text) {
			t.Errorf("%+v does not go on", got)
		}
	}
	s.refused(404, api.CodeTurnNotFound, "POST", path+"/fork", `{"turn":"turn_7"}`, key)
	s.refused(400, api.CodeInvalidValue, "POST", path+"/fork", `{"n":0}`, key)
	s.refused(400, api.CodeInvalidValue, "POST", path+"/fork", fmt.Sprintf(`{"n":%d}`, api.MaxForks+1), key)
	if got := must[api.SessionDeleted](s, "DELETE", path, "", key); !got.Deleted || !got.Durable || got.ID != one.ID {
		t.Errorf("deleted %+v", got)
	}
	s.refused(410, api.CodeSessionGone, "GET", path, "", key)
	s.refused(410, api.CodeSessionGone, "POST", chatPath, chatOf(one.ID, "", "hi"), key)
}

// TestSessionList reads the list in pages.
func TestSessionList(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	made := map[string]bool{}
	for range 7 {
		made[s.create("{}").ID] = true
	}
	after, pages := "", 0
	for {
		page := must[api.SessionList](s, "GET", sessionsPath+"?limit=3&after="+after, "")
		pages++
		for _, one := range page.Data {
			if !made[one.ID] {
				t.Errorf("%s again, or not made", one.ID)
			}
			delete(made, one.ID)
			after = one.ID
		}
		if !page.HasMore {
			break
		}
	}
	if len(made) > 0 || pages != 3 {
		t.Errorf("%d pages without %v", pages, made)
	}
	for _, query := range []string{"limit=0", "limit=x", "limit=1001", "limit=1x", "after=x"} {
		s.refused(400, api.CodeInvalidValue, "GET", sessionsPath+"?"+query, "")
	}
}

// TestSessionExport moves a session to another server.
func TestSessionExport(t *testing.T) {
	w := newScribe()
	here, there := serveSessions(t, w, t.TempDir()), serveSessions(t, w, t.TempDir())
	one := here.create("{}")
	answer := here.chat(one.ID, "", "hi").Choices[0].Message.Content
	res, archive := here.ask("POST", sessionPrefix+one.ID+"/export", "")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	two := must[api.Session](there, "POST", importPath, archive)
	if two.Turns != 1 || *two.Head != "turn_1" {
		t.Errorf("imported %+v", two)
	}
	there.chat(two.ID, "", "hi", answer, "more")
	if got, want := textOf(w.lastRequest().Tokens), "[user:hi][assistant:"+answer+"][user:more][assistant:"; got != want {
		t.Errorf("prompt %q, want %q", got, want)
	}
	for name, bad := range map[string]string{"nothing": "", "cut": archive[:len(archive)-1], "more": archive + "x", "changed": strings.Replace(archive, "hi", "ho", 1)} {
		if e := there.refused(422, api.CodeInvalidImport, "POST", importPath, bad); e.Message == "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	w.digests.Template = [32]byte{9}
	there.refused(409, api.CodeModelMismatch, "POST", importPath, archive)
	three := must[api.Session](there, "POST", importPath+"?allow_inexact=true", archive)
	there.refused(409, api.CodeModelMismatch, "POST", chatPath, chatOf(three.ID, "", "more"))
	if got := there.chat(three.ID, `,"allow_inexact":true`, "more"); got.Session.Exact {
		t.Errorf("%+v", got.Session)
	}
	here.refused(404, api.CodeSessionNotFound, "POST", sessionPrefix+strings.Replace(one.ID, "sess_", "sess_f", 1)[:37]+"/export", "")
	there.refused(400, api.CodeInvalidValue, "POST", importPath+"?durability=x", archive)
}

// TestSessionBusy asks for a session while a turn of it is under way.
func TestSessionBusy(t *testing.T) {
	w := newScribe()
	w.gate = make(chan struct{}, 1000)
	s := serveSessions(t, w, t.TempDir())
	one := s.create("{}")
	path := sessionPrefix + one.ID
	c := s.dial()
	c.send(post(chatPath, chatOf(one.ID, `,"stream":true`, "hi"), "Content-Type: application/json", "Idempotency-Key: k"))
	w.gate <- struct{}{}
	res := c.receive()
	s.refused(409, api.CodeSessionBusy, "POST", chatPath, chatOf(one.ID, "", "ho"))
	s.refused(409, api.CodeSessionBusy, "POST", chatPath, chatOf(one.ID, `,"stream":true`, "hi"), "Idempotency-Key: k")
	s.refused(409, api.CodeSessionBusy, "POST", path+"/rewind", `{"turn":""}`)
	s.refused(409, api.CodeSessionBusy, "DELETE", path, "")
	s.refused(409, api.CodeSessionBusy, "GET", path+"/turns/turn_1?stream=true", "")
	if got := must[api.Session](s, "GET", path, ""); got.State != "active" || got.Head != nil {
		t.Errorf("%+v", got)
	}
	if got := must[api.Turn](s, "GET", path+"/turns/turn_1", ""); got.State != "open" {
		t.Errorf("%+v", got)
	}
	close(w.gate)
	if text, err := io.ReadAll(res.Body); err != nil || !strings.HasSuffix(string(text), doneEvent) {
		t.Errorf("%v after %s", err, text)
	}
	if got := s.chat(one.ID, "", "more"); *got.Session.Head != "turn_2" {
		t.Errorf("%+v", got.Session)
	}
}

// TestIncompleteTurn begins another turn after an interrupted one.
func TestIncompleteTurn(t *testing.T) {
	w := newScribe()
	s := serveSessions(t, w, t.TempDir())
	one := s.create("{}")
	w.generateErr = engine.ErrBusy
	s.refused(429, api.CodeRateLimit, "POST", chatPath, chatOf(one.ID, "", "hi"), "Idempotency-Key: k")
	waitState(s, one.ID, "interrupted")
	w.generateErr = nil
	// The same request goes on with the same turn.
	if got := must[api.ChatCompletion](s, "POST", chatPath, chatOf(one.ID, "", "hi"), "Idempotency-Key: k"); *got.Session.Head != "turn_1" {
		t.Errorf("%+v", got.Session)
	}
	if a, b := w.requests[0].Params.Seed, w.requests[1].Params.Seed; a != b {
		t.Errorf("the turn goes on with the seed %d, not %d", b, a)
	}
	w.generateErr = engine.ErrBusy
	s.refused(429, api.CodeRateLimit, "POST", chatPath, chatOf(one.ID, "", "more"), "Idempotency-Key: l")
	w.generateErr = nil
	if got := s.chat(one.ID, "", "other"); *got.Session.Head != "turn_3" {
		t.Errorf("%+v", got.Session)
	}
	if strings.Contains(textOf(w.lastRequest().Tokens), "more") {
		t.Error("an incomplete turn is history")
	}
	s.refused(410, api.CodeTurnIncomplete, "POST", chatPath, chatOf(one.ID, "", "more"), "Idempotency-Key: l")
	s.refused(410, api.CodeTurnIncomplete, "GET", sessionPrefix+one.ID+"/turns/turn_2?stream=true", "")
	if got := must[api.Turn](s, "GET", sessionPrefix+one.ID+"/turns/turn_2", ""); got.State != "incomplete" {
		t.Errorf("%+v", got)
	}
}

// TestSessionTooLong asks for more than the context holds: nothing is begun.
func TestSessionTooLong(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create("{}")
	s.refused(400, api.CodeContextLength, "POST", chatPath, chatOf(one.ID, "", strings.Repeat("x", 5000)))
	s.refused(400, api.CodeContextLength, "POST", chatPath, chatOf(one.ID, `,"max_tokens":4096`, "hi"))
	if got := must[api.Session](s, "GET", sessionPrefix+one.ID, ""); got.State != "idle" || got.Turns != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSessionMalformed sends bodies that are wrong.
func TestSessionMalformed(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create("{}")
	paths := []string{sessionsPath, sessionPrefix + one.ID, sessionPrefix + one.ID + "/fork", sessionPrefix + one.ID + "/rewind",
		sessionPrefix + one.ID + "/checkpoint", sessionPrefix + one.ID + "/verify", sessionPrefix + one.ID + "/export"}
	for _, path := range paths {
		for _, body := range []string{"[]", "{", `{"a":1,"a":2}`, "\xff", `{"a":` + strings.Repeat("[", 100), `null`, `"x"`, `{} {}`} {
			s.refused(400, api.CodeInvalidJSON, "POST", path, body)
		}
		res, _ := s.ask("POST", path, "{}", "Origin: http://a.example", "Content-Type: text/plain")
		if res.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("%s from a web page: %d", path, res.StatusCode)
		}
	}
	for body, code := range map[string]string{
		`{"durability":"x"}`: api.CodeInvalidValue, `{"durability":1}`: api.CodeInvalidType, `{"ttl_seconds":-1}`: api.CodeInvalidValue,
		`{"ttl_seconds":1e30}`: api.CodeInvalidType, `{"ttl_seconds":"1"}`: api.CodeInvalidType, `{"pinned":1}`: api.CodeInvalidType,
	} {
		s.refused(400, code, "POST", sessionsPath, body)
	}
	for body, code := range map[string]string{`{"turn":1}`: api.CodeInvalidType, `{"turn":null}`: api.CodeMissingParameter, `{"turn":"` + strings.Repeat("x", 99) + `"}`: api.CodeInvalidValue} {
		s.refused(400, code, "POST", paths[3], body)
	}
	s.refused(404, api.CodeTurnNotFound, "POST", paths[3], `{"turn":"turn_01"}`)
	s.refused(400, api.CodeInvalidType, "POST", chatPath, strings.Replace(chatOf("", "", "hi"), `""`, `7`, 1))
	for _, path := range []string{"/v1/sessions/", "/v1/sessions/x/", "/v1/sessions/x/fork/y", "/v1/sessions/x/turns/y/z", "/v1/sessions/x/nothing"} {
		s.refused(404, api.CodeNotFound, "POST", path, "{}")
	}
	for _, id := range []string{"x", "sess_", "sess_0", one.ID + "0", strings.ToUpper(one.ID), one.ID[:36] + "%00"} {
		s.refused(404, api.CodeSessionNotFound, "GET", sessionPrefix+id, "")
	}
	s.refused(405, api.CodeMethodNotAllowed, "DELETE", sessionsPath, "")
	if got := must[api.SessionList](s, "GET", sessionsPath, ""); len(got.Data) != 1 {
		t.Errorf("%d sessions", len(got.Data))
	}
}
