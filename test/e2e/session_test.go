package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// said is what the tests read of a turn's answer, and of its events.
type said struct {
	completion
	Number  int `json:"sequence_number"`
	Session *struct {
		ID             string
		Head           string
		Durable, Exact bool
	}
	Choices []struct {
		Message struct{ Content string }
		Delta   struct{ Content string }
		Text    string
		Finish  string  `json:"finish_reason"`
		IDs     []int32 `json:"token_ids"`
	}
	PromptIDs []int32 `json:"prompt_token_ids"`
}

// newSession makes a session and returns its ID.
func (s *server) newSession(body string) string {
	s.t.Helper()
	var got struct{ ID string }
	s.post("/v1/sessions", body, &got)
	if !strings.HasPrefix(got.ID, "sess_") {
		s.t.Fatalf("session %+v", got)
	}
	return got.ID
}

// post sends what must succeed.
func (s *server) post(path, body string, got any) {
	s.t.Helper()
	status, _, text := s.do("POST", path, body)
	if status != 200 {
		s.t.Fatalf("%s %s: %d %s", path, body, status, text)
	}
	if err := json.Unmarshal([]byte(text), got); err != nil {
		s.t.Fatalf("%v in %s", err, text)
	}
}

// turn has a session make one more turn.
func (s *server) turn(model, id, text, more string) said {
	s.t.Helper()
	var got said
	s.post("/v1/sessions/"+id+"/turns", chatBody(model, text, `,"return_token_ids":true`+more), &got)
	if got.Session == nil || got.Session.ID != id || !got.Session.Durable || !got.Session.Exact {
		s.t.Fatalf("session %+v", got.Session)
	}
	return got
}

// wantSame compares two answers by their tokens.
func wantSame(t *testing.T, name string, got, want said) {
	t.Helper()
	if !slices.Equal(got.PromptIDs, want.PromptIDs) || !slices.Equal(got.Choices[0].IDs, want.Choices[0].IDs) || got.Choices[0].Message != want.Choices[0].Message {
		t.Errorf("%s:\n%v\n%v\nwant\n%v\n%v", name, got.PromptIDs, got.Choices, want.PromptIDs, want.Choices)
	}
	if len(want.Choices[0].IDs) == 0 || len(want.PromptIDs) == 0 {
		t.Errorf("%s: no tokens in %+v", name, want)
	}
}

// sampled makes answers that depend on everything that a turn keeps.
const sampled = `,"seed":7,"temperature":0.9,"top_p":0.95,"repetition_penalty":1.2,"presence_penalty":0.3,"max_tokens":48`

// TestSessionRestart makes two turns, restarts the server, and makes a third: it is
// the one of a server that never stopped, whatever happens to the KV.
func TestSessionRestart(t *testing.T) {
	texts := []string{"hi", "and then?", "what else <|im_end|>?"}
	more := []string{sampled, sampled + `,"stop":["e","a"]`, sampled}
	store := t.TempDir()
	s := serve(t, "--model", tinyModel, "--store", store)
	whole := s.newSession("{}")
	var want []said
	for i, text := range texts {
		want = append(want, s.turn("tiny-chat", whole, text, more[i]))
	}
	cut := s.newSession("{}")
	for i := range 2 {
		wantSame(t, fmt.Sprint("turn ", i+1), s.turn("tiny-chat", cut, texts[i], more[i]), want[i])
	}
	var fork struct{ Data []struct{ ID string } }
	s.post("/v1/sessions/"+cut+"/fork", `{"n":3}`, &fork)
	for i, how := range []struct {
		signal syscall.Signal
		flags  []string
	}{{syscall.SIGTERM, nil}, {syscall.SIGKILL, []string{"--restore", "load"}}, {syscall.SIGKILL, []string{"--restore", "recompute", "--threads", "1"}}} {
		s.signal(how.signal)
		if err := s.wait(); (err == nil) != (how.signal == syscall.SIGTERM) {
			t.Errorf("exit: %v", err)
		}
		s = serve(t, append([]string{"--model", tinyModel, "--store", store}, how.flags...)...)
		got := s.turn("tiny-chat", fork.Data[i].ID, texts[2], more[2])
		wantSame(t, fmt.Sprint("turn 3 after ", how), got, want[2])
		if got.Session.Head != "turn_3" {
			t.Errorf("head %s", got.Session.Head)
		}
	}
}

// readNumbered reads events until there are n, or the stream ends. Of one that is read
// on later the scanner has what came with them.
func readNumbered(t *testing.T, lines *bufio.Scanner, n int) (all []said, done bool) {
	t.Helper()
	for len(all) < n && lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			return all, true
		default:
			var e said
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatalf("%v in %s", err, data)
			}
			all = append(all, e)
		}
	}
	return all, false
}

// words returns what events say, and their numbers.
func words(all []said) (text string, numbers []int) {
	for _, e := range all {
		numbers = append(numbers, e.Number)
		for _, c := range e.Choices {
			text += c.Delta.Content + c.Finish
		}
	}
	return text, numbers
}

// TestSessionInterrupted reads a part of a stream, leaves or kills the server, and
// reads the rest: every event comes once, as it would have.
func TestSessionInterrupted(t *testing.T) {
	store := t.TempDir()
	s := serve(t, "--model", tinyModel, "--store", store, "--durability", "step")
	open := func(id string) *http.Response {
		t.Helper()
		res, err := http.Post(s.url+"/v1/sessions/"+id+"/turns", "application/json", strings.NewReader(chatBody("tiny-chat", "go on", strings.Replace(sampled, "48", "400", 1)+`,"ignore_eos":true,"stream":true`)))
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 200 || res.Header.Get("X-Turn-Id") != "turn_1" {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
		return res
	}
	res := open(s.newSession("{}"))
	want, done := readNumbered(t, bufio.NewScanner(res.Body), 1<<30)
	res.Body.Close()
	if last := want[len(want)-1]; !done || last.Session == nil || last.Session.Head != "turn_1" {
		t.Fatalf("the stream ends with %+v", want[len(want)-1])
	}
	wantText, wantNumbers := words(want)
	for i, kill := range []bool{false, true, true} {
		id := s.newSession("{}")
		res := open(id)
		before, _ := readNumbered(t, bufio.NewScanner(res.Body), 10+7*i)
		if kill {
			s.signal(syscall.SIGKILL)
			_ = s.wait()
			s = serve(t, "--model", tinyModel, "--store", store, "--durability", "step")
		}
		res.Body.Close()
		s.untilState(id, "interrupted", "idle") // a fast server may have been at the end
		path := fmt.Sprintf("/v1/sessions/%s/turns/turn_1?stream=true&starting_after=%d", id, before[len(before)-1].Number)
		status, _, text := s.do("GET", path, "")
		if status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		after, done := readNumbered(t, bufio.NewScanner(strings.NewReader(text)), 1<<30)
		got, numbers := words(append(before, after...))
		if !done || got != wantText || !slices.Equal(numbers, wantNumbers) {
			t.Errorf("killed %v: %q\n%v\nwant %q\n%v", kill, got, numbers, wantText, wantNumbers)
		}
		// Once more, all of it.
		_, _, text = s.do("GET", strings.Split(path, "&")[0], "")
		again, _ := readNumbered(t, bufio.NewScanner(strings.NewReader(text)), 1<<30)
		if got, _ := words(again); got != wantText {
			t.Errorf("again: %q, want %q", got, wantText)
		}
	}
}

// untilState polls a session until it has one of two states.
func (s *server) untilState(id string, states ...string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		status, _, text := s.do("GET", "/v1/sessions/"+id, "")
		var got struct{ State string }
		if err := json.Unmarshal([]byte(text), &got); err != nil || status != 200 {
			s.t.Fatalf("%d %s", status, text)
		}
		if slices.Contains(states, got.State) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("the session stays %s", got.State)
		}
	}
}

// TestStoreOffLeavesNothing looks for a prompt and its answer in all files that the
// server could have written.
func TestStoreOffLeavesNothing(t *testing.T) {
	binary(t) // is not built there
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	t.Setenv("TMPDIR", dir)
	t.Setenv("HOME", dir)
	const secret = "xyzzy plugh secret prompt"
	found := func() int {
		t.Helper()
		for end := time.Now().Add(patience); ; {
			n := 0
			err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					data, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					n += strings.Count(string(data), secret)
				}
				return err
			})
			if err == nil {
				return n
			}
			if !errors.Is(err, fs.ErrNotExist) || time.Now().After(end) { // a file that the server renames meanwhile: look again
				t.Fatal(err)
			}
		}
	}
	s := serve(t, "--model", tinyModel, "--store", "off")
	if text, _ := s.ask(chatBody("tiny-chat", secret, `,"max_tokens":9`)); text == "" {
		t.Error("no answer")
	}
	if status, _, text := s.do("POST", "/v1/sessions", "{}"); status != 501 || !strings.Contains(text, `"store_off"`) {
		t.Errorf("%d %s", status, text)
	}
	s.signal(syscall.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 || found() > 0 {
		t.Errorf("%v, %v, the prompt %d times", files, err, found())
	}

	// With a store, in the default place, a request without a session writes
	// nothing of it either, and one with a session does.
	t.Setenv("HOLDFAST_STORE", "")
	os.Unsetenv("HOLDFAST_STORE")
	s = serve(t, "--model", tinyModel)
	s.ask(chatBody("tiny-chat", secret, `,"max_tokens":9`))
	if n := found(); n > 0 {
		t.Errorf("without a session the prompt is there %d times", n)
	}
	s.turn("tiny-chat", s.newSession("{}"), secret, `,"max_tokens":9`)
	if n := found(); n == 0 {
		t.Error("the search does not find what a session writes")
	}
	s.signal(syscall.SIGTERM)
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "holdfast", "log")); err != nil {
		t.Error(err)
	}
}

// TestSessionCommands looks after sessions at a server and in its store.
func TestSessionCommands(t *testing.T) {
	store, other := t.TempDir(), t.TempDir()
	s := serve(t, "--model", tinyModel, "--store", store)
	id := s.newSession("{}")
	s.turn("tiny-chat", id, "hi \x1b[31m", sampled)
	s.turn("tiny-chat", id, "and", sampled)
	at := []string{"--server", s.url}
	do := func(code int, stdin string, args ...string) string {
		t.Helper()
		out := run(t, stdin, append([]string{"session"}, args...)...)
		if out.code != code || code == 0 && out.stderr != "" || code != 0 && (strings.Count(out.stderr, "\n") != 1 || !strings.HasPrefix(out.stderr, "holdfast: ")) {
			t.Errorf("session %q: %+v, want code %d", args, out, code)
		}
		return out.stdout
	}
	for range 2 { // at the server, then in the store
		list := do(0, "", append(at, "ls")...)
		if !strings.Contains(list, id+"  idle") {
			t.Errorf("ls: %q", list)
		}
		if got := do(0, "", append(at, "show", id)...); !strings.Contains(got, "turns       2, ") {
			t.Errorf("show: %q", got)
		}
		tree := do(0, "", append(at, "tree", id)...)
		if !strings.Contains(tree, "\n* turn_2  committed") || strings.Contains(tree, "\x1b") || !strings.Contains(tree, "hi .[31m →") {
			t.Errorf("tree: %q", tree)
		}
		forks := strings.Fields(do(0, "", append(at, "fork", "--turn", "turn_1", "--count", "2", id)...))
		if len(forks) != 2 {
			t.Fatalf("fork: %q", forks)
		}
		if got := do(0, "", append(at, "rewind", forks[0], "start")...); got != forks[0]+"  -\n" {
			t.Errorf("rewind: %q", got)
		}
		archive := do(0, "", append(at, "export", id)...)
		imported := strings.TrimSpace(do(0, archive, append(at, "import")...))
		if got := do(0, "", append(at, "verify", imported)...); !strings.Contains(got, "2 turns") {
			t.Errorf("verify: %q", got)
		}
		do(1, archive[:len(archive)-1]+"x", append(at, "import")...)
		do(0, "", append(at, "rm", imported, forks[0], forks[1])...)
		do(1, "", append(at, "show", imported)...)
		var counted struct{ Sessions, Turns int }
		if err := json.Unmarshal([]byte(do(0, "", append(at, "stats", "--json")...)), &counted); err != nil || counted.Sessions != 1 || counted.Turns != 2 {
			t.Errorf("stats: %v, %+v", err, counted)
		}
		if s != nil {
			// The store is the server's, and its lock says so.
			if out := run(t, "", "session", "ls", "--store", store); out.code != 1 || !strings.Contains(out.stderr, fmt.Sprint("process ", s.cmd.Process.Pid)) {
				t.Errorf("%+v", out)
			}
			do(2, "", append(at, "gc")...)
			do(2, "", append(at, "fork", "--count", "0", id)...)
			do(2, "", append(at, "fork", "--count", "65", id)...)
			do(2, "", append(at, "fsck")...)
			s.signal(syscall.SIGTERM)
			if err := s.wait(); err != nil {
				t.Error(err)
			}
			s, at = nil, []string{"--store", store}
		}
	}
	do(0, "", append(at, "gc")...)
	if got := do(0, "", append(at, "fsck")...); !strings.HasPrefix(got, "1 sessions, 0 damaged; ") {
		t.Errorf("fsck: %q", got)
	}
	do(1, "", "ls", "--store", other)
}
