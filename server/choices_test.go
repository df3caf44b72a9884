package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// own says which prompt and which completion of it a choice is.
func own(r engine.Request, choice int) []engine.Delta {
	return []engine.Delta{{Text: fmt.Sprintf("prompt %d, ", r.Tokens[0])}, {Text: fmt.Sprint("choice ", choice), Finish: engine.FinishStop}}
}

// TestChoices asks for n completions of each of several prompts: completion i
// of prompt p is choice p*n+i, and a prompt counts once.
func TestChoices(t *testing.T) {
	s := serve(t, &fakeWorker{say: own})
	for _, stream := range []bool{false, true} {
		body := fmt.Sprintf(`{"model":"tiny","prompt":[[7],[8],[9]],"n":2,"best_of":2,"stream":%v`, stream)
		if stream {
			body += `,"stream_options":{"include_usage":true}`
		}
		res, text := s.dial().do(post(textPath, body+`}`))
		if res.StatusCode != 200 {
			t.Fatalf("status %d, body %s", res.StatusCode, text)
		}
		got, usage := texts(t, text, 6, stream)
		for i := range got {
			if want := fmt.Sprintf("prompt %d, choice %dstop", 7+i/2, i%2); got[i] != want {
				t.Errorf("choice %d is %q, want %q", i, got[i], want)
			}
		}
		if want := (api.Usage{PromptTokens: 15, CompletionTokens: 24, TotalTokens: 39, PromptTokensDetails: api.PromptTokensDetails{CachedTokens: 9}}); usage != want {
			t.Errorf("usage %+v, want %+v", usage, want)
		}
	}
}

// TestChatChoices has each choice of a stream begin with its role.
func TestChatChoices(t *testing.T) {
	s := serve(t, &fakeWorker{say: own})
	_, body := s.dial().do(post(chatPath, strings.Replace(plainBody, `{`, `{"n":3,`, 1)))
	var whole api.ChatCompletion
	if err := json.Unmarshal([]byte(body), &whole); err != nil || len(whole.Choices) != 3 {
		t.Fatalf("%v, body %s", err, body)
	}
	for i, c := range whole.Choices {
		if want := fmt.Sprint("prompt 0, choice ", i); c.Index != i || c.Message.Content != want || c.FinishReason != "stop" {
			t.Errorf("choice %d: %+v, want %q", i, c, want)
		}
	}
	if whole.Usage.PromptTokens != 5 || whole.Usage.CompletionTokens != 12 {
		t.Errorf("usage %+v", whole.Usage)
	}

	_, body = s.dial().do(post(chatPath, strings.Replace(eventBody, `{`, `{"n":3,`, 1)))
	texts, roles, ends := [3]string{}, [3]int{}, [3]int{}
	for _, e := range strings.Split(strings.TrimSuffix(body, "\n\n"+doneEvent), "\n\n") {
		var c api.ChatChunk
		if err := json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &c); err != nil || len(c.Choices) != 1 {
			t.Fatalf("event %q: %v", e, err)
		}
		one := c.Choices[0]
		if one.Delta.Role == "assistant" && texts[one.Index] == "" {
			roles[one.Index]++
		}
		if one.Delta.Content != nil {
			texts[one.Index] += *one.Delta.Content
		}
		if one.FinishReason != nil {
			ends[one.Index]++
		}
	}
	for i, got := range texts {
		if want := fmt.Sprint("prompt 0, choice ", i); got != want || roles[i] != 1 || ends[i] != 1 {
			t.Errorf("choice %d: %q, %d roles, %d ends; want %q", i, got, roles[i], ends[i], want)
		}
	}
}

// TestManyChoicesLeave has the client of several choices leave.
func TestManyChoicesLeave(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 2)}
	s := serve(t, w)
	conn := s.dial()
	conn.send(post(chatPath, strings.Replace(eventBody, `{`, `{"n":2,`, 1)))
	streams := []*fakeStream{wait(t, w.started), wait(t, w.started)}
	conn.conn.Close()
	for _, stream := range streams {
		wait(t, stream.closed)
		wait(t, stream.ctx.Done())
	}
}
