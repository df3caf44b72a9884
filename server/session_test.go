package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
)

// ask sends a request on a connection of its own.
func (s *testServer) ask(method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	head := ""
	for _, h := range headers {
		head += h + "\r\n"
	}
	return s.dial().do(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", method, path, head, len(body), body))
}

// must is ask for what must succeed.
func must[T any](s *testServer, method, path, body string, headers ...string) (got T) {
	s.t.Helper()
	res, text := s.ask(method, path, body, headers...)
	if res.StatusCode != 200 {
		s.t.Fatalf("%s %s %s: %d %s", method, path, body, res.StatusCode, text)
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	return got
}

// refused is ask for what must fail.
func (s *testServer) refused(status int, code, method, path, body string, headers ...string) *api.Error {
	s.t.Helper()
	res, text := s.ask(method, path, body, headers...)
	var e api.ErrorBody
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Error == nil || e.Error.Code == nil || res.StatusCode != status || *e.Error.Code != code {
		s.t.Errorf("%s %s %s: %d %s, want %d %s", method, path, body, res.StatusCode, text, status, code)
		return &api.Error{}
	}
	return e.Error
}

func (s *testServer) create(body string, headers ...string) api.Session {
	s.t.Helper()
	return must[api.Session](s, "POST", sessionsPath, body, headers...)
}

// chatOf is the body of a chat completion in a session.
func chatOf(id, more string, texts ...string) string {
	var messages []string
	for i, text := range texts {
		role := []string{"user", "assistant"}[i%2]
		messages = append(messages, fmt.Sprintf(`{"role":%q,"content":%q}`, role, text))
	}
	return fmt.Sprintf(`{"model":"tiny","session_id":%q,"messages":[%s]%s}`, id, strings.Join(messages, ","), more)
}

func (s *testServer) chat(id, more string, texts ...string) api.ChatCompletion {
	s.t.Helper()
	return must[api.ChatCompletion](s, "POST", chatPath, chatOf(id, more, texts...))
}

// TestSessionChat holds a conversation, sending new turns or all of it.
func TestSessionChat(t *testing.T) {
	w := newScribe()
	s := serveSessions(t, w, t.TempDir())
	one := s.create(`{}`)
	if one.Head != nil || one.State != "idle" || one.Durability != "turn" || !one.Durable || !one.Exact || !strings.HasPrefix(one.ID, "sess_") {
		t.Errorf("created %+v", one)
	}
	a := s.chat(one.ID, `,"seed":3`, "hi")
	first := "[user:hi][assistant:"
	if want := fmt.Sprintf("%d bytes, seed 3", len(first)); a.Choices[0].Message.Content != want || a.Choices[0].TokenIDs != nil {
		t.Errorf("answer %+v, want %s", a, want)
	}
	if st := a.Session; st == nil || st.ID != one.ID || *st.Head != "turn_1" || !st.Durable || !st.Exact {
		t.Errorf("session %+v", st)
	}
	if r := w.lastRequest(); r.Journal == nil || !r.Keep || r.Params.Seed != 3 {
		t.Errorf("request %+v", r)
	}
	answer := a.Choices[0].Message.Content
	for i, texts := range [][]string{{"more"}, {"hi", answer, "more", "", "all of it"}} {
		if i == 1 {
			texts[3] = answer
		}
		b := s.chat(one.ID, "", texts...)
		first += answer + "][user:" + texts[len(texts)-1] + "][assistant:"
		answer = b.Choices[0].Message.Content
		if got := textOf(w.lastRequest().Tokens); got != first {
			t.Errorf("prompt %q, want %q", got, first)
		}
		if *b.Session.Head != fmt.Sprint("turn_", i+2) || b.Usage.PromptTokensDetails.CachedTokens != len(first)/2 {
			t.Errorf("answer %+v", b)
		}
	}
	got := must[api.Session](s, "GET", sessionPrefix+one.ID, "")
	if *got.Head != "turn_3" || got.Turns != 3 || got.Tokens != len(first)+len(answer) || got.Bytes == nil ||
		*got.Bytes != (api.SessionBytes{Total: int64(got.Tokens / 32 * 100), Device: int64(got.Tokens / 64 * 100), Disk: int64(got.Tokens / 32 * 100)}) {
		t.Errorf("session %+v, %+v", got, got.Bytes)
	}
}

// TestSessionNames names the session in each place.
func TestSessionNames(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create("")
	body := chatOf("", "", "hi")
	if got := must[api.ChatCompletion](s, "POST", chatPath, body, "X-Session-Id: "+one.ID); got.Session == nil || *got.Session.Head != "turn_1" {
		t.Errorf("by its header: %+v", got.Session)
	}
	if got := must[api.ChatCompletion](s, "POST", sessionPrefix+one.ID+"/turns", body); got.Session == nil || *got.Session.Head != "turn_2" {
		t.Errorf("by the path: %+v", got.Session)
	}
	if got := must[api.ChatCompletion](s, "POST", chatPath, body, "X-Session-Id: a-router's"); got.Session != nil {
		t.Errorf("another's header: %+v", got.Session)
	}
	s.refused(404, api.CodeSessionNotFound, "POST", chatPath, chatOf("a", "", "hi"))
	s.refused(404, api.CodeSessionNotFound, "POST", chatPath, body, "X-Session-Id: sess_1")
	s.refused(400, api.CodeInvalidValue, "POST", sessionPrefix+one.ID+"/turns", chatOf("sess_2", "", "hi"))
	res, _ := s.ask("POST", chatPath, chatOf(one.ID, "", "hi"))
	if res.Header.Get("X-Session-Id") != one.ID || res.Header.Get("X-Turn-Id") != "turn_3" {
		t.Errorf("headers %v", res.Header)
	}
}

// TestSessionText goes on with completions.
func TestSessionText(t *testing.T) {
	w := newScribe()
	s := serveSessions(t, w, t.TempDir())
	one := s.create("{}")
	ask := func(prompt, more string) api.TextCompletion {
		t.Helper()
		return must[api.TextCompletion](s, "POST", textPath, fmt.Sprintf(`{"model":"tiny","session_id":%q,"prompt":%s,"max_tokens":50%s}`, one.ID, prompt, more))
	}
	w.say = func(string) string { return "abc" }
	if got := ask(`"x"`, ""); got.Choices[0].Text != "abc" || got.Session == nil || *got.Session.Head != "turn_1" {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct{ prompt, want string }{{`"y"`, "xabcy"}, {`[122,33]`, "xabcyabcz!"}, {`""`, "xabcyabcz!abc"}} {
		ask(c.prompt, "")
		if got := textOf(w.lastRequest().Tokens); got != c.want {
			t.Errorf("prompt %q, want %q", got, c.want)
		}
	}
	w.less = 2 // of the answer, as for a stop string within a token: they come again, as text
	ask(`"."`, "")
	w.less = 0
	for _, c := range []struct{ prompt, want string }{{`"y"`, "abcy"}, {`[122]`, "abcyabcz"}} {
		ask(c.prompt, "")
		if got := textOf(w.lastRequest().Tokens); !strings.HasSuffix(got, "."+c.want) {
			t.Errorf("prompt %q, want its end %q", got, c.want)
		}
	}
	s.refused(422, api.CodeKindMismatch, "POST", chatPath, chatOf(one.ID, "", "hi"))
	for _, more := range []string{`"prompt":["a","b"]`, `"prompt":"a","n":2`, `"prompt":"a","n":2,"best_of":2`, `"prompt":"a","echo":true`, `"prompt":"a","logprobs":1`} {
		s.refused(400, api.CodeInvalidValue, "POST", textPath, fmt.Sprintf(`{"model":"tiny","session_id":%q,%s}`, one.ID, more))
	}
	two := s.create("{}")
	s.chat(two.ID, "", "hi")
	s.refused(422, api.CodeKindMismatch, "POST", textPath, fmt.Sprintf(`{"model":"tiny","session_id":%q,"prompt":"x"}`, two.ID))
	for _, more := range []string{`,"n":2`, `,"logprobs":true`, `,"add_generation_prompt":false,"continue_final_message":true`} {
		s.refused(400, api.CodeInvalidValue, "POST", chatPath, chatOf(two.ID, more, "hi"))
	}
	if got := must[api.Session](s, "GET", sessionPrefix+two.ID, ""); got.Turns != 1 {
		t.Errorf("%d turns", got.Turns)
	}
}

// TestSessionHistory sends conversations that are not the session's.
func TestSessionHistory(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create("{}")
	a := s.chat(one.ID, "", "hi").Choices[0].Message.Content
	b := s.chat(one.ID, "", "more").Choices[0].Message.Content
	for _, c := range []struct {
		texts       []string
		param, says string
	}{
		{[]string{"hi", a + "x", "more", b, "new"}, "messages[1]", fmt.Sprint("byte ", len(a), " on")},
		{[]string{"ho", a, "more", b, "new"}, "messages[0]", `'turn' "".`},
		{[]string{"hi", a, "mere", b, "new"}, "messages[2]", `'turn' "turn_1".`},
		{[]string{"hi", a, "new"}, "messages[2]", "since turn_2"},
		{[]string{"hi", a}, "messages", "4 messages and the request 2"},
		{[]string{"hi", a, "more", b}, "messages", "no message"},
	} {
		e := s.refused(422, api.CodeHistoryMismatch, "POST", chatPath, chatOf(one.ID, "", c.texts...))
		if e.Param == nil || *e.Param != c.param || !strings.Contains(e.Message, c.says) {
			t.Errorf("%q: %+v, want %s saying %s", c.texts, e, c.param, c.says)
		}
	}
	roles := fmt.Sprintf(`{"model":"tiny","session_id":%q,"messages":[{"role":"system","content":"hi"},{"role":"assistant","content":"x"}]}`, one.ID)
	if e := s.refused(422, api.CodeHistoryMismatch, "POST", chatPath, roles); !strings.Contains(e.Message, "role is user there, not system") {
		t.Errorf("%+v", e)
	}
	if got := s.chat(one.ID, "", "hi", a, "more", b, "new"); *got.Session.Head != "turn_3" {
		t.Errorf("%+v", got.Session)
	}
}

// TestSessionHead changes a session behind a client's back.
func TestSessionHead(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create("{}")
	if res, _ := s.ask("GET", sessionPrefix+one.ID, ""); res.Header.Get("ETag") != `""` {
		t.Errorf("ETag %s", res.Header.Get("ETag"))
	}
	for i, match := range []string{`""`, `"turn_1"`, "turn_2"} {
		if got := must[api.ChatCompletion](s, "POST", chatPath, chatOf(one.ID, "", "hi"), "If-Match: "+match); *got.Session.Head != fmt.Sprint("turn_", i+1) {
			t.Errorf("%s: %+v", match, got.Session)
		}
	}
	for _, match := range []string{`"turn_2"`, `""`, "turn_03", "turn_3, turn_2", "\xff"} {
		e := s.refused(409, api.CodeStaleHead, "POST", chatPath, chatOf(one.ID, "", "hi"), "If-Match: "+match)
		if e.Head == nil || *e.Head != "turn_3" {
			t.Errorf("%s: %+v", match, e)
		}
	}
	s.refused(409, api.CodeStaleHead, "POST", sessionPrefix+one.ID+"/rewind", `{"turn":"turn_1"}`, "If-Match: turn_2")
	if got := must[api.Session](s, "POST", sessionPrefix+one.ID+"/rewind", `{"turn":"turn_1"}`, "If-Match: turn_3"); *got.Head != "turn_1" || got.Turns != 1 {
		t.Errorf("rewound to %+v", got)
	}
	if got := must[api.ChatCompletion](s, "POST", chatPath, chatOf(one.ID, "", "hi"), "If-Match: *"); *got.Session.Head != "turn_4" {
		t.Errorf("%+v", got.Session)
	}
	tree := must[api.TurnList](s, "GET", sessionPrefix+one.ID+"/turns", "")
	var shape []string
	for _, turn := range tree.Data {
		parent := "-"
		if turn.Parent != nil {
			parent = *turn.Parent
		}
		shape = append(shape, parent+">"+turn.ID)
	}
	if want := []string{"->turn_1", "turn_1>turn_2", "turn_2>turn_3", "turn_1>turn_4"}; !slices.Equal(shape, want) || *tree.Head != "turn_4" {
		t.Errorf("tree %v, want %v", shape, want)
	}
	if got := must[api.Session](s, "POST", sessionPrefix+one.ID+"/rewind", `{"turn":""}`); got.Head != nil || got.Turns != 0 {
		t.Errorf("rewound to %+v", got)
	}
	s.refused(404, api.CodeTurnNotFound, "POST", sessionPrefix+one.ID+"/rewind", `{"turn":"turn_9"}`)
	s.refused(400, api.CodeMissingParameter, "POST", sessionPrefix+one.ID+"/rewind", `{}`)
}

// TestSessionKeys sends requests again.
func TestSessionKeys(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create("{}", "Idempotency-Key: a")
	if again := s.create("{}", "Idempotency-Key: a"); again.ID != one.ID {
		t.Error("two sessions of one key")
	}
	body := chatOf(one.ID, "", "hi")
	first := must[api.ChatCompletion](s, "POST", chatPath, body, "Idempotency-Key: b")
	again := must[api.ChatCompletion](s, "POST", chatPath, body, "Idempotency-Key: b")
	if fmt.Sprint(first.ID, first.Created, first.Choices, first.Usage, *first.Session.Head) != fmt.Sprint(again.ID, again.Created, again.Choices, again.Usage, *again.Session.Head) {
		t.Errorf("again\n%+v\nfirst\n%+v", again, first)
	}
	s.chat(one.ID, "", "more")
	// Also when the session has gone on, and though the history is another now.
	if third := must[api.ChatCompletion](s, "POST", chatPath, body, "Idempotency-Key: b"); third.ID != first.ID {
		t.Errorf("%+v", third)
	}
	s.refused(422, api.CodeKeyReused, "POST", chatPath, chatOf(one.ID, "", "ho"), "Idempotency-Key: b")
	s.refused(400, api.CodeInvalidValue, "POST", chatPath, body, "Idempotency-Key: "+strings.Repeat("x", api.MaxKeyBytes+1))
	if got := must[api.Session](s, "GET", sessionPrefix+one.ID, ""); got.Turns != 2 {
		t.Errorf("%d turns", got.Turns)
	}
}

// TestSessionModel has the worker be another one after a restart.
func TestSessionModel(t *testing.T) {
	w := newScribe()
	s := serveSessions(t, w, t.TempDir())
	one := s.create("{}")
	s.chat(one.ID, "", "hi")
	w.variant = true // as on a GPU without --batch-invariant
	if got := s.chat(one.ID, "", "hi"); got.Session.Exact {
		t.Errorf("a batch that changes the bits, and %+v", got.Session)
	}
	w.variant = false
	w.digests.Weights = [32]byte{9}
	s.refused(409, api.CodeModelMismatch, "POST", chatPath, chatOf(one.ID, "", "hi"))
	if got := s.chat(one.ID, `,"allow_inexact":true`, "hi"); got.Session.Exact {
		t.Errorf("%+v", got.Session)
	}
	if got := must[api.Session](s, "GET", sessionPrefix+one.ID, ""); got.Exact {
		t.Errorf("%+v", got)
	}
	w.digests.Tokenizer = [32]byte{9}
	s.refused(409, api.CodeModelMismatch, "POST", chatPath, chatOf(one.ID, `,"allow_inexact":true`, "hi"))
}

// TestStoreOff has no sessions.
func TestStoreOff(t *testing.T) {
	s := serve(t, newScribe())
	const id = "sess_0123456789abcdef0123456789abcdef"
	for path, all := range s.routes {
		if !strings.HasPrefix(path, sessionsPath) {
			continue
		}
		path = strings.NewReplacer("{id}", id, "{turn}", "turn_1").Replace(path)
		for _, r := range all {
			body := ""
			if strings.HasSuffix(path, "/turns") {
				body = chatOf("", "", "hi")
			}
			s.refused(501, api.CodeStoreOff, r.method, path, body)
		}
	}
	s.refused(501, api.CodeStoreOff, "POST", chatPath, chatOf(id, "", "hi"))
	s.refused(501, api.CodeStoreOff, "POST", chatPath, chatOf("", "", "hi"), "X-Session-Id: "+id)
}

// TestSessionIsItsPrincipals tries every route with another's key.
func TestSessionIsItsPrincipals(t *testing.T) {
	alice, bob := "Authorization: Bearer good", "Authorization: Bearer better"
	s := serveSessions(t, newScribe(), t.TempDir(), withKeys(file(t, "keys", keyLine("alice", "good")+keyLine("bob", "better"))))
	one := s.create("{}", alice, "Idempotency-Key: k")
	must[api.ChatCompletion](s, "POST", chatPath, chatOf(one.ID, "", "hi"), alice)
	for path, all := range s.routes {
		if !strings.Contains(path, "{id}") {
			continue
		}
		path = strings.NewReplacer("{id}", one.ID, "{turn}", "turn_1").Replace(path)
		for _, r := range all {
			body := ""
			switch {
			case strings.HasSuffix(path, "/turns"):
				body = chatOf("", "", "hi")
			case strings.HasSuffix(path, "/rewind"):
				body = `{"turn":""}`
			}
			s.refused(404, api.CodeSessionNotFound, r.method, path, body, bob)
			if strings.HasSuffix(path, "turn_1") {
				s.refused(404, api.CodeSessionNotFound, r.method, path+"?stream=true", body, bob)
			}
		}
	}
	s.refused(404, api.CodeSessionNotFound, "POST", chatPath, chatOf(one.ID, "", "hi"), bob)
	s.refused(404, api.CodeSessionNotFound, "POST", textPath, fmt.Sprintf(`{"model":"tiny","session_id":%q,"prompt":"x"}`, one.ID), bob)
	if got := must[api.SessionList](s, "GET", sessionsPath, "", bob); len(got.Data) != 0 {
		t.Errorf("bob's sessions: %+v", got)
	}
	if two := s.create("{}", bob, "Idempotency-Key: k"); two.ID == one.ID {
		t.Error("bob's key gives alice's session")
	}
	if got := must[api.SessionList](s, "GET", sessionsPath, "", alice); len(got.Data) != 1 || *got.Data[0].Head != "turn_1" {
		t.Errorf("alice's sessions: %+v", got)
	}
}

// TestTurnWithoutModel: a turn need not name the model; a model that is not served
// is refused as everywhere.
func TestTurnWithoutModel(t *testing.T) {
	if _, err := api.DecodeChatRequest([]byte(`{"messages":[{"role":"user","content":"a"}]}`)); err == nil {
		t.Error("a chat completion without a model")
	}
	req, err := api.DecodeTurnRequest([]byte(`{"messages":[{"role":"user","content":"a"}]}`))
	if err != nil || len(req.Messages) != 1 {
		t.Errorf("%+v, %v", req, err)
	}
	if _, err := api.DecodeTurnRequest([]byte(`{"messages":[]}`)); err == nil {
		t.Error("a turn without messages")
	}
}
