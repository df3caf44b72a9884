package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

func itoa(n int) string { return strconv.Itoa(n) }

// variable replaces what differs from one answer to the next.
var variable = regexp.MustCompile(`(chat)?cmpl-[0-9a-f]{24}|"created":\d+`)

func fixed(s string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		if strings.Contains(m, "cmpl-") {
			return "ID"
		}
		return `"created":0`
	})
}

func TestChat(t *testing.T) {
	s := serve(t, &fakeWorker{})
	res, body := s.dial().do(post(chatPath, plainBody))
	want := `{"id":"ID","object":"chat.completion","created":0,"model":"tiny","system_fingerprint":"cpu-1",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"Hello \"you\"\né☺","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}}}`
	if res.StatusCode != 200 || fixed(body) != want {
		t.Errorf("status %d, body\n%s\nwant\n%s", res.StatusCode, fixed(body), want)
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

func TestChatStream(t *testing.T) {
	s := serve(t, &fakeWorker{})
	res, body := s.dial().do(post(chatPath, strings.Replace(eventBody, `true`, `true,"stream_options":{"include_usage":true}`, 1)))
	head := `data: {"id":"ID","object":"chat.completion.chunk","created":0,"model":"tiny","system_fingerprint":"cpu-1","choices":[`
	tail := `],"usage":null}` + "\n\n"
	want := head + `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"delta":{"content":"lo \"you\"\n"},"logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"delta":{"content":"é☺"},"logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}` + tail +
		head + `],"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}}}` + "\n\n" +
		"data: [DONE]\n\n"
	if res.StatusCode != 200 || fixed(body) != want {
		t.Errorf("status %d, body\n%s\nwant\n%s", res.StatusCode, fixed(body), want)
	}
	if got := res.Header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
}

// TestStreamDecodes reads a stream as a client does, through the wire types.
func TestStreamDecodes(t *testing.T) {
	odd := "\x00\x1f\u2028\u007f</script>\\ \xff ☺\U0001F600"
	s := serve(t, &fakeWorker{pieces: []engine.Delta{{Text: odd}, {Text: strings.Repeat("x", 9000)}, {Finish: engine.FinishLength}}})
	_, body := s.dial().do(post(chatPath, eventBody))
	text, finish := "", ""
	events := strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
	for i, e := range events {
		data, ok := strings.CutPrefix(e, "data: ")
		if !ok {
			t.Fatalf("event %q", e)
		}
		if i == len(events)-1 {
			if data != "[DONE]" {
				t.Errorf("last event %q", data)
			}
			continue
		}
		var c api.ChatChunk
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("chunk %q: %v", data, err)
		}
		if c.Usage != nil || len(c.Choices) != 1 {
			t.Errorf("chunk %q: usage or number of choices", data)
		}
		d := c.Choices[0].Delta
		if (d.Role == "assistant") != (i == 0) {
			t.Errorf("chunk %d has role %q", i, d.Role)
		}
		if d.Content != nil {
			text += *d.Content
		}
		if r := c.Choices[0].FinishReason; r != nil {
			finish += *r
		}
	}
	if want := strings.ToValidUTF8(odd, "\ufffd") + strings.Repeat("x", 9000); text != want || finish != "length" {
		t.Errorf("text of %d bytes, want %d; finish %q", len(text), len(want), finish)
	}
}

// TestEventsAreSentAtOnce reads each event before the next piece exists.
func TestEventsAreSentAtOnce(t *testing.T) {
	more := make(chan engine.Delta)
	s := serve(t, &fakeWorker{more: more})
	c := s.dial()
	c.send(post(chatPath, eventBody))
	more <- engine.Delta{Text: "0"}
	res := c.receive()
	event := func() string {
		t.Helper()
		var got []byte
		b := make([]byte, 1)
		for !strings.HasSuffix(string(got), "\n\n") {
			if _, err := res.Body.Read(b); err != nil {
				t.Fatal(err)
			}
			got = append(got, b[0])
		}
		return string(got)
	}
	event() // the role
	for i := range 5 {
		if got, want := event(), `"content":"`+itoa(i)+`"`; !strings.Contains(got, want) {
			t.Fatalf("event %q, want %s", got, want)
		}
		more <- engine.Delta{Text: itoa(i + 1)}
	}
	event()
	more <- engine.Delta{Finish: engine.FinishStop}
	if rest, err := io.ReadAll(res.Body); err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("rest %q, %v", rest, err)
	}
}

func TestRequestOfWorker(t *testing.T) {
	inputs := make(chan engine.Request, 1)
	chats := make(chan chat.Input, 1)
	s := serve(t, &fakeWorker{inputs: inputs, chats: chats})
	c := s.dial()

	c.do(post(chatPath, `{"model":"tiny","messages":[{"role":"developer","content":"d"},{"role":"user","content":"u"}],
		"max_tokens":9,"temperature":0.5,"top_p":0.25,"top_k":3,"seed":-1,"stop":"x",
		"min_p":0.125,"repetition_penalty":1.5,"frequency_penalty":-1,"presence_penalty":2,"logit_bias":{"7":1,"3":-2},"bad_words":["ab"," a"],
		"min_tokens":4,"ignore_eos":true,"stop_token_ids":[99,0]}`, "Content-Type: application/json; charset=utf-8", "X-Request-Id: abc-1"))
	in := wait(t, chats)
	if want := []chat.Message{{Role: "system", Content: "d"}, {Role: "user", Content: "u"}}; !reflect.DeepEqual(in.Messages, want) || !in.AddGenerationPrompt || in.Now.IsZero() {
		t.Errorf("chat input %+v", in)
	}
	want := engine.Request{ID: "abc-1", Tokens: make([]int32, 5), MaxTokens: 9, N: 1, Stop: []string{"x"},
		Params: sampler.Params{Temperature: 0.5, TopP: 0.25, TopK: 3, Seed: 1<<64 - 1,
			MinP: 0.125, RepetitionPenalty: 1.5, FrequencyPenalty: -1, PresencePenalty: 2, MinTokens: 4,
			BadWords:  [][]int32{{97, 98}, {65, 98}, {97}, {65}},
			LogitBias: []sampler.Bias{{Token: 3, Value: -2}, {Token: 7, Value: 1}}},
		StopIDs: []int32{99, 0}, IgnoreEOS: true}
	if got := wait(t, inputs); !reflect.DeepEqual(got, want) {
		t.Errorf("request %+v, want %+v", got, want)
	}

	c.do(post(chatPath, strings.Replace(plainBody, `{`, `{"add_generation_prompt":false,"chat_template_kwargs":{"enable_thinking":false,"a":1},`, 1)))
	wait(t, inputs)
	if in := wait(t, chats); in.AddGenerationPrompt || !reflect.DeepEqual(in.Vars, map[string]any{"enable_thinking": false, "a": int64(1)}) {
		t.Errorf("chat input %+v", in)
	}

	c.do(post(chatPath, plainBody))
	wait(t, chats)
	first := wait(t, inputs)
	if p := first.Params; p.Temperature != 1 || p.TopP != 1 || p.TopK != 0 || first.MaxTokens != 0 || first.IgnoreEOS || first.StopIDs != nil ||
		!reflect.DeepEqual(p, sampler.Params{Temperature: 1, TopP: 1, Seed: p.Seed}) {
		t.Errorf("defaults %+v", first)
	}
	c.do(post(chatPath, plainBody))
	wait(t, chats)
	if second := wait(t, inputs); second.Params.Seed == first.Params.Seed {
		t.Error("two requests without a seed got the same one")
	}

	c.do(post(chatPath, strings.Replace(plainBody, `{`, `{"top_p":0,`, 1)))
	wait(t, chats)
	if p := wait(t, inputs).Params; p.TopP != 1 || p.TopK != 1 {
		t.Errorf("top_p 0 became %+v, want the likeliest token", p)
	}
}

func TestChatErrors(t *testing.T) {
	ctxErr := &engine.ContextLengthError{Prompt: 600, MaxTokens: 20, Limit: 512}
	for _, c := range []struct {
		name   string
		worker fakeWorker
		body   string
		status int
		typ    string
		code   string
		param  string
		says   string
	}{
		{"bad JSON", fakeWorker{}, `{`, 400, api.TypeInvalidRequest, api.CodeInvalidJSON, "", "not valid JSON"},
		{"bad value", fakeWorker{}, strings.Replace(plainBody, `{`, `{"temperature":-1,`, 1), 400, api.TypeInvalidRequest, api.CodeInvalidValue, "temperature", "between 0 and 2"},
		{"unsupported", fakeWorker{}, strings.Replace(plainBody, `{`, `{"store":true,`, 1), 400, api.TypeInvalidRequest, api.CodeUnsupportedParameter, "store", "not supported"},
		{"no such stop token", fakeWorker{}, strings.Replace(plainBody, `{`, `{"stop_token_ids":[0,100],`, 1), 400, api.TypeInvalidRequest, api.CodeInvalidValue, "stop_token_ids[1]", "token 100"},
		{"parameter", fakeWorker{generateErr: fmt.Errorf("wrapped: %w", (&sampler.Params{TopP: 1, LogitBias: []sampler.Bias{{Token: 100}}}).ValidateTokens(100))}, plainBody, 400, api.TypeInvalidRequest, api.CodeInvalidValue, "logit_bias", "tokens below 100"},
		{"bad word of many tokens", fakeWorker{}, strings.Replace(plainBody, `{`, `{"bad_words":["`+strings.Repeat("x", 129)+`"],`, 1), 400, api.TypeInvalidRequest, api.CodeInvalidValue, "bad_words", "128 tokens"},
		{"unknown model", fakeWorker{}, strings.Replace(plainBody, "tiny", "gpt-9", 1), 404, api.TypeInvalidRequest, api.CodeModelNotFound, "model", "gpt-9"},
		{"context", fakeWorker{generateErr: ctxErr}, plainBody, 400, api.TypeInvalidRequest, api.CodeContextLength, "messages", "512 tokens, but the messages have 600"},
		{"template", fakeWorker{encodeErr: &chat.TemplateError{}}, plainBody, 400, api.TypeInvalidRequest, api.CodeInvalidPrompt, "messages", "template"},
		{"budget", fakeWorker{encodeErr: chat.ErrBudget}, plainBody, 400, api.TypeInvalidRequest, api.CodeInvalidPrompt, "messages", "template"},
		{"no template", fakeWorker{encodeErr: engine.ErrNoTemplate}, plainBody, 400, api.TypeInvalidRequest, api.CodeInvalidPrompt, "messages", "no chat template"},
		{"busy", fakeWorker{generateErr: engine.ErrBusy}, plainBody, 429, api.TypeRateLimit, api.CodeRateLimit, "", "retry"},
		{"stopped", fakeWorker{generateErr: engine.ErrStopped}, plainBody, 503, api.TypeServer, api.CodeShuttingDown, "", "shutting down"},
		{"device at the first piece", fakeWorker{endErr: engine.ErrDevice}, plainBody, 500, api.TypeServer, api.CodeDevice, "", "req-"},
		{"device later", fakeWorker{pieces: hello[:2], endErr: engine.ErrDevice}, plainBody, 500, api.TypeServer, api.CodeDevice, "", "req-"},
		{"device for good", fakeWorker{endErr: fmt.Errorf("%w: %w", engine.ErrDevice, engine.ErrGivenUp)}, plainBody, 503, api.TypeServer, api.CodeDevice, "", "another server"},
		{"unknown error", fakeWorker{generateErr: errors.New("secret detail")}, plainBody, 500, api.TypeServer, api.CodeInternal, "", "req-"},
		{"early end", fakeWorker{pieces: hello[:2]}, plainBody, 500, api.TypeServer, api.CodeInternal, "", "req-"},
		{"panic in EncodeChat", fakeWorker{encodePanic: true}, plainBody, 500, api.TypeServer, api.CodeInternal, "", "req-"},
		{"panic in Next", fakeWorker{panicAt: 2}, plainBody, 500, api.TypeServer, api.CodeInternal, "", "req-"},
	} {
		bodies := []string{c.body}
		if !strings.Contains(c.name, "later") && !strings.Contains(c.name, "early") && c.worker.panicAt == 0 {
			bodies = append(bodies, strings.Replace(c.body, `{`, `{"stream":true,`, 1))
		}
		for i, body := range bodies {
			t.Run(c.name+[]string{"", ", streaming"}[i], func(t *testing.T) {
				w := c.worker
				w.started = make(chan *fakeStream, 1)
				s := serve(t, &w)
				conn := s.dial()
				res, got := conn.do(post(chatPath, body))
				wantError(t, res, got, c.status, c.typ, c.code, c.param, c.says)
				if strings.Contains(got, "secret") {
					t.Errorf("the answer shows an inner error: %s", got)
				}
				if has := res.Header.Get("Retry-After") != ""; has != (c.status == 429 || c.status == 503) {
					t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
				}
				select {
				case st := <-w.started:
					wait(t, st.closed)
				default:
				}
				// The connection is good for another request.
				if res, _ := conn.do(get("/health")); res.StatusCode != 200 {
					t.Errorf("/health afterwards: %d", res.StatusCode)
				}
			})
		}
	}
}

func wantError(t *testing.T, res *http.Response, body string, status int, typ, code, param, says string) {
	t.Helper()
	var e api.ErrorBody
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil || e.Error.Code == nil {
		t.Fatalf("body %q: %v", body, err)
	}
	got := ""
	if e.Error.Param != nil {
		got = *e.Error.Param
	}
	if res.StatusCode != status || e.Error.Type != typ || *e.Error.Code != code || got != param || !strings.Contains(e.Error.Message, says) {
		t.Errorf("status %d, body %s\nwant %d %s %s %q saying %q", res.StatusCode, body, status, typ, code, param, says)
	}
	if res.Header.Get("X-Request-Id") == "" {
		t.Error("no X-Request-Id")
	}
}

// TestErrorsInStream has the worker fail when pieces were sent already.
func TestErrorsInStream(t *testing.T) {
	for _, c := range []struct {
		name   string
		worker fakeWorker
		code   string
	}{
		{"device", fakeWorker{pieces: hello[:2], endErr: engine.ErrDevice}, api.CodeDevice},
		{"early end", fakeWorker{pieces: hello[:2]}, api.CodeInternal},
		{"panic", fakeWorker{pieces: hello, panicAt: 3}, api.CodeInternal},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.worker.started = make(chan *fakeStream, 1)
			s := serve(t, &c.worker)
			conn := s.dial()
			res, body := conn.do(post(chatPath, eventBody))
			events := strings.Split(body, "\n\n")
			if res.StatusCode != 200 || len(events) != 5 || events[3] != "data: [DONE]" || events[4] != "" {
				t.Fatalf("status %d, body %q", res.StatusCode, body)
			}
			data, _ := strings.CutPrefix(events[2], "data: ")
			var e api.ErrorBody
			if err := json.Unmarshal([]byte(data), &e); err != nil || e.Error == nil || *e.Error.Code != c.code {
				t.Errorf("event %q, want code %s", events[2], c.code)
			}
			wait(t, wait(t, c.worker.started).closed)
			if strings.Contains(body, "secret") {
				t.Errorf("the answer shows an inner error: %s", body)
			}
			if res, _ := conn.do(get("/health")); res.StatusCode != 200 {
				t.Errorf("/health afterwards: %d", res.StatusCode)
			}
		})
	}
}
