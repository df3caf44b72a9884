package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/session"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// event is what the tests read of a chunk of either kind.
type event struct {
	Number  int `json:"sequence_number"`
	ID      string
	Created int64
	Choices []struct {
		Delta  struct{ Content string }
		Text   string
		Finish string `json:"finish_reason"`
	}
	Usage   *api.Usage
	Session *api.SessionState
	Error   *api.Error
}

func readEvents(t *testing.T, body string) (all []event) {
	t.Helper()
	body, done := strings.CutSuffix(body, doneEvent)
	if !done {
		t.Errorf("the stream does not end: %q", body)
	}
	for _, e := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		if e == "" {
			continue
		}
		one := event{Number: -1}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &one, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatalf("%v in %q", err, e)
		}
		all = append(all, one)
	}
	return all
}

// said returns the text of events, and checks that their numbers rise.
func said(t *testing.T, all []event) (text, finish string) {
	t.Helper()
	last := -1
	for _, e := range all {
		if e.Number <= last {
			t.Errorf("number %d after %d", e.Number, last)
		}
		last = e.Number
		for _, c := range e.Choices {
			text += c.Delta.Content + c.Text
			finish += c.Finish
		}
	}
	return text, finish
}

// TestSessionStream reads a turn's stream, then again from each event on.
func TestSessionStream(t *testing.T) {
	for _, c := range []struct{ name, path, body, more string }{
		{"chat, to its end", chatPath, `"messages":[{"role":"user","content":"hi"}]`, ""},
		{"chat, with usage", chatPath, `"messages":[{"role":"user","content":"hi"}]`, `,"stream_options":{"include_usage":true}`},
		{"chat, to a stop string", chatPath, `"messages":[{"role":"user","content":"hi"}]`, `,"stop":["s"]`},
		{"chat, to its limit", chatPath, `"messages":[{"role":"user","content":"hi"}]`, `,"max_tokens":4`},
		{"text", textPath, `"prompt":"hi","max_tokens":50`, `,"return_token_ids":true`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveSessions(t, newScribe(), t.TempDir())
			one := s.create("{}")
			res, body := s.ask("POST", c.path, fmt.Sprintf(`{"model":"tiny","session_id":%q,"seed":5,"stream":true,%s%s}`, one.ID, c.body, c.more))
			if res.StatusCode != 200 || res.Header.Get("X-Turn-Id") != "turn_1" {
				t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
			}
			all := readEvents(t, body)
			text, finish := said(t, all)
			last := all[len(all)-1]
			if last.Session == nil || *last.Session.Head != "turn_1" || all[0].Session != nil || text == "" || finish == "" {
				t.Errorf("%q, %q, %+v", text, finish, last)
			}
			turn := sessionPrefix + one.ID + "/turns/turn_1"
			if _, again := s.ask("GET", turn+"?stream=true", ""); again != body {
				t.Errorf("again\n%s\nfirst\n%s", again, body)
			}
			for i, e := range all {
				_, rest := s.ask("GET", fmt.Sprint(turn, "?stream=true&starting_after=", e.Number), "")
				if events := readEvents(t, rest); fmt.Sprint(numbers(events)) != fmt.Sprint(numbers(all[i+1:])) {
					t.Errorf("after %d: %v, want %v", e.Number, numbers(events), numbers(all[i+1:]))
				}
			}
			got := must[api.Turn](s, "GET", turn, "")
			if got.State != "committed" || got.Text != text || *got.FinishReason != finish || got.Answer == nil {
				t.Errorf("%+v", got)
			}
			var answer api.ChatCompletion
			if err := json.Unmarshal(got.Answer, &answer); err != nil || answer.ID != last.ID || answer.Session == nil || answer.Created != last.Created {
				t.Errorf("%v: %s", err, got.Answer)
			}
			s.refused(400, api.CodeInvalidValue, "GET", turn+"?stream=true&starting_after=-1", "")
			s.refused(400, api.CodeInvalidValue, "GET", turn+"?stream=true&starting_after=x", "")
			s.refused(404, api.CodeTurnNotFound, "GET", turn+"2", "")
			s.refused(404, api.CodeTurnNotFound, "GET", turn+"2?stream=true", "")
		})
	}
}

func numbers(all []event) (n []int) {
	for _, e := range all {
		n = append(n, e.Number)
	}
	return n
}

// TestInterruptedTurn has clients leave after each number of tokens, restarts the
// server, and goes on: what is said is what would have been, once.
func TestInterruptedTurn(t *testing.T) {
	w := newScribe()
	whole := serveSessions(t, w, t.TempDir())
	const more = `,"seed":5,"stream":true,"stream_options":{"include_usage":true}`
	_, body := whole.ask("POST", chatPath, chatOf(whole.create("{}").ID, more, "hi"))
	want := readEvents(t, body)
	for seen := 0; seen < len(want)-3; seen += 3 {
		for _, restart := range []bool{false, true} {
			interrupt(t, more, want, seen, restart)
		}
	}
}

func interrupt(t *testing.T, more string, want []event, seen int, restart bool) {
	t.Helper()
	dir := t.TempDir()
	open := func() *session.Manager {
		t.Helper()
		m, err := session.Open(vfs.OS{}, dir, session.Options{Log: tokenlog.Options{SegmentBytes: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := open()
	with := func(c *Config) { c.Sessions = m }
	w := newScribe()
	w.gate = make(chan struct{}, 100)
	s := serve(t, w, with)
	one := s.create(`{"durability":"step"}`)
	c := s.dial()
	c.send(post(chatPath, chatOf(one.ID, more, "hi")))
	for range seen {
		w.gate <- struct{}{}
	}
	if seen == 0 {
		w.gate <- struct{}{} // the head of the answer comes with the first piece
	}
	res := c.receive()
	var got strings.Builder
	buf := make([]byte, 1)
	for strings.Count(got.String(), "\n\n") < seen+1 { // the first event is no token's
		if _, err := res.Body.Read(buf); err != nil {
			t.Fatal(err)
		}
		got.Write(buf)
	}
	c.conn.Close()
	state := waitState(s, one.ID, "interrupted")
	if state.Head != nil {
		t.Errorf("an interrupted turn is the head: %+v", state)
	}
	s.untilMetric(`holdfast_turns_total{end="interrupted"} 1`)
	s.untilMetric(`holdfast_sessions{state="interrupted"} 1`)
	if restart {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		m = open()
		w = newScribe()
		s = serve(t, w, with)
	} else {
		close(w.gate)
	}
	defer m.Close()
	turn := sessionPrefix + one.ID + "/turns/" + res.Header.Get("X-Turn-Id")
	if got := must[api.Turn](s, "GET", turn, ""); got.State != "interrupted" || got.Answer != nil || got.CompletionTokens < seen {
		t.Errorf("%+v", got)
	}
	before := readEvents(t, got.String()+doneEvent)
	_, rest := s.ask("GET", fmt.Sprint(turn, "?stream=true&starting_after=", before[len(before)-1].Number), "")
	all := slices.Concat(before, readEvents(t, rest))
	text, finish := said(t, all)
	if wantText, wantFinish := said(t, want); text != wantText || finish != wantFinish || fmt.Sprint(numbers(all)) != fmt.Sprint(numbers(want)) {
		t.Errorf("%d events, restart %v: %q (%s), %v\nwant %q (%s), %v", seen, restart, text, finish, numbers(all), wantText, wantFinish, numbers(want))
	}
	if last := all[len(all)-1]; last.Session == nil || *last.Session.Head != res.Header.Get("X-Turn-Id") || last.Usage == nil || last.Usage.CompletionTokens != want[len(want)-1].Usage.CompletionTokens {
		t.Errorf("last event %+v", last)
	}
	if r := w.lastRequest(); len(r.Drawn) < seen {
		t.Errorf("%d tokens were drawn before, %d were seen", len(r.Drawn), seen)
	}
	if got, want := waitState(s, one.ID, "idle").Tokens, len(w.lastRequest().Tokens)+len(text); got != want {
		t.Errorf("the history has %d tokens, want %d", got, want)
	}
}

// waitState waits until a session has a state.
func waitState(s *testServer, id, state string) api.Session {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		got := must[api.Session](s, "GET", sessionPrefix+id, "")
		if got.State == state {
			return got
		}
		if time.Now().After(end) {
			s.t.Fatalf("the session stays %s, want %s", got.State, state)
		}
	}
}

// TestEventNumbers: a number comes once, also for text that was held back and
// comes with no token of its own, and an event is left out up to the number that
// the client has.
func TestEventNumbers(t *testing.T) {
	s := &Server{worker: newScribe()}
	pieces := []engine.Delta{{Text: "a", Tokens: 1}, {Text: "b", Tokens: 3}, {Text: "c", Tokens: 3, Finish: engine.FinishLength}}
	for after, want := range [][]int{{1, 3, 4, 5, 6}, {3, 4, 5, 6}, {3, 4, 5, 6}, {4, 5, 6}, {5, 6}, {6}, nil} {
		c := &completion{s: s, kind: &textKind, job: &job{Options: &api.Options{StreamOptions: &api.StreamOptions{IncludeUsage: true}}}, turn: &turn{after: after}}
		c.generations = []generation{{stream: &replayStream{}, prompt: &prompt{}}}
		e := &eventStream{c: c, enc: newChunkEncoder(c)}
		for _, d := range pieces {
			e.add(piece{Delta: d})
		}
		if got := numbers(readEvents(t, string(e.buf))); !slices.Equal(got, want) {
			t.Errorf("after %d: %v, want %v", after, got, want)
		}
	}
}
