package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
)

// tokens returns a body whose prompt has n tokens.
func tokens(n int) string {
	return `{"model":"tiny","prompt":[` + strings.TrimSuffix(strings.Repeat("7,", n), ",") + `]}`
}

// TestQueueOfTokens fills the queue with prompts: what is too much is turned
// away before anything is done for it, and a first token makes room.
func TestQueueOfTokens(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 10)}
	s := serve(t, w, func(c *Config) { c.MaxQueuedTokens = 100 })
	a, b := s.dial(), s.dial()
	a.send(post(textPath, tokens(60)))
	wait(t, w.started)
	b.send(post(textPath, strings.Replace(tokens(40), `{`, `{"n":2,`, 1))) // a prompt counts once
	wait(t, w.started)
	wait(t, w.started)
	if got := s.queue.tokens.Load(); got != 100 {
		t.Errorf("%d tokens in the queue, want 100", got)
	}
	for _, body := range []string{tokens(1), `{"model":"tiny","prompt":"a"}`, plainBody} {
		path := textPath
		if body == plainBody {
			path = chatPath
		}
		res, text := s.dial().do(post(path, body))
		wantError(t, res, text, 429, api.TypeRateLimit, api.CodeRateLimit, "", "retry")
		if res.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
		}
	}
	w.more <- engine.Delta{Text: "x"}
	w.more <- engine.Delta{Text: "x"}
	w.more <- engine.Delta{Text: "x"} // all three have had one by now, or one has had two
	for range 3 {
		w.more <- engine.Delta{Text: "x"}
	}
	a.conn.Close()
	b.conn.Close()
	s.drained()
	if len(w.started) != 0 {
		t.Error("a request that was turned away reached the worker")
	}
}

// TestPromptLeavesOnce has all completions of a prompt begin: it is taken out of
// the queue once.
func TestPromptLeavesOnce(t *testing.T) {
	s := serve(t, &fakeWorker{pieces: hello[:1], more: make(chan engine.Delta)})
	conn := s.dial()
	conn.send(post(textPath, strings.Replace(tokens(40), `{`, `{"n":3,"stream":true,`, 1)))
	res := conn.receive()
	got := ""
	for b := make([]byte, 1024); strings.Count(got, "Hel") < 3; {
		n, err := res.Body.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got += string(b[:n])
	}
	if n := s.queue.tokens.Load(); n != 0 {
		t.Errorf("%d tokens in the queue", n)
	}
}

// drained waits until nothing is in the queue.
func (s *testServer) drained() {
	s.t.Helper()
	for end := time.Now().Add(patience); s.queue.tokens.Load() != 0; {
		if time.Now().After(end) {
			s.t.Fatalf("%d tokens stay in the queue", s.queue.tokens.Load())
		}
	}
}

// TestFirstTokenMakesRoom has the queue be empty while a request decodes.
func TestFirstTokenMakesRoom(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 10)}
	s := serve(t, w, func(c *Config) { c.MaxQueuedTokens = 50 })
	conn := s.dial()
	conn.send(post(textPath, strings.Replace(tokens(400), `}`, `,"stream":true}`, 1))) // alone it may
	wait(t, w.started)
	if res, _ := s.dial().do(post(textPath, tokens(1))); res.StatusCode != 429 {
		t.Errorf("beside it: status %d", res.StatusCode)
	}
	w.more <- engine.Delta{Text: "x"}
	conn.receive()
	s.drained()
	more := s.dial()
	more.send(post(textPath, tokens(50)))
	wait(t, w.started)
}

// TestQueueIsLeft has requests end in every other way: the queue is empty after.
func TestQueueIsLeft(t *testing.T) {
	for name, w := range map[string]*fakeWorker{
		"generate":   {generateErr: engine.ErrBusy},
		"first":      {endErr: engine.ErrDevice},
		"encode":     {encodeErr: errors.New("x")},
		"panic":      {encodePanic: true},
		"panic next": {panicAt: 1},
		"success":    {},
	} {
		s := serve(t, w)
		conn := s.dial()
		for _, raw := range []string{post(chatPath, plainBody), post(chatPath, eventBody), post(textPath, `{"model":"tiny","prompt":["a",""]}`), post(textPath, `{"model":"tiny","prompt":["a","bc"],"n":2}`)} {
			conn.do(raw)
		}
		s.drained()
		if n := len(s.queue.encode); n != 0 {
			t.Errorf("%s: %d turns at the tokenizer are not given back", name, n)
		}
	}
}

// TestLongTextIsNotTokenised refuses by its bytes a text that cannot fit.
func TestLongTextIsNotTokenised(t *testing.T) {
	s := serve(t, &noEncode{&fakeWorker{}})
	// A token has at most 2 bytes, and 512 fit, of which 16 are the completion's.
	least := 3 * 2 * (512 - 16)
	for _, c := range []struct{ prompt, param string }{
		{fmt.Sprintf(`"%s"`, strings.Repeat("x", least+6)), "prompt"},
	} {
		res, body := s.dial().do(post(textPath, `{"model":"tiny","prompt":`+c.prompt+`}`))
		wantError(t, res, body, 400, api.TypeInvalidRequest, api.CodeContextLength, c.param, "at least 497")
	}
	// One that may fit is tokenised, which panics here.
	if res, _ := s.dial().do(post(textPath, `{"model":"tiny","prompt":"`+strings.Repeat("x", least)+`"}`)); res.StatusCode != 500 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// noEncode is a worker that cannot tokenise.
type noEncode struct{ *fakeWorker }

func (w *noEncode) Encode(string, bool) []int32 { panic("BUG: tokenised") }

// slowEncode is a worker that tokenises when it may.
type slowEncode struct {
	*fakeWorker
	began, may chan struct{}
}

func (w *slowEncode) Encode(text string, begin bool) []int32 {
	w.began <- struct{}{}
	<-w.may
	return w.fakeWorker.Encode(text, begin)
}

func (w *slowEncode) EncodeChat(in chat.Input) ([]int32, error) {
	w.Encode("", false)
	return w.fakeWorker.EncodeChat(in)
}

// TestTokenisingTakesTurns has no more texts tokenised at once than there are
// processors, and clients leave while they wait for their turn.
func TestTokenisingTakesTurns(t *testing.T) {
	w := &slowEncode{&fakeWorker{}, make(chan struct{}, 100), make(chan struct{})}
	s := serve(t, w)
	bodies := []string{post("/tokenize", `{"prompt":"a"}`), post(textPath, `{"model":"tiny","prompt":"a"}`), post(chatPath, plainBody)}
	var conns []*client
	for i := range cap(s.queue.encode) {
		conn := s.dial()
		conn.send(bodies[i%len(bodies)])
		conns = append(conns, conn)
		wait(t, w.began)
	}
	for _, raw := range bodies {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.queue.tokenising(ctx, func() error { panic("BUG: it was not its turn") }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		leaver := s.dial()
		leaver.send(raw)
		leaver.conn.Close()
	}
	if len(w.began) != 0 {
		t.Error("more texts are tokenised than there are processors")
	}
	for end := time.Now().Add(patience); ; {
		_, text := s.dial().do(get("/metrics"))
		if strings.Count(text, `,code="499"} 1`) == len(bodies) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the clients that left are not noticed:\n%s", text)
		}
	}
	close(w.may)
	for _, conn := range conns {
		if res := conn.receive(); res.StatusCode != 200 {
			t.Errorf("status %d", res.StatusCode)
		}
	}
	if len(w.began) != 0 {
		t.Error("the texts of clients that left were tokenised")
	}
}
