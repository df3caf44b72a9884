package server

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

const (
	textPath  = "/v1/completions"
	textPlain = `{"model":"tiny","prompt":"secret prompt text"}`
	textEvent = `{"model":"tiny","prompt":"secret prompt text","stream":true}`
)

// numbered says a text of which each prompt's first token is a part.
func numbered(r engine.Request, _ int) []engine.Delta {
	return []engine.Delta{{Text: fmt.Sprint(r.Tokens[0])}, {Text: ""}, {Text: "!", Finish: engine.FinishLength}}
}

func TestCompletion(t *testing.T) {
	s := serve(t, &fakeWorker{})
	res, body := s.dial().do(post(textPath, textPlain))
	want := `{"id":"ID","object":"text_completion","created":0,"model":"tiny","system_fingerprint":"cpu-1",` +
		`"choices":[{"index":0,"text":"Hello \"you\"\né☺","logprobs":null,"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}}}`
	if res.StatusCode != 200 || fixed(body) != want {
		t.Errorf("status %d, body\n%s\nwant\n%s", res.StatusCode, fixed(body), want)
	}
	res, body = s.dial().do(post(textPath, strings.Replace(textEvent, `true`, `true,"stream_options":{"include_usage":true}`, 1)))
	head := `data: {"id":"ID","object":"text_completion","created":0,"model":"tiny","system_fingerprint":"cpu-1","choices":[`
	tail := `],"usage":null}` + "\n\n"
	want = head + `{"index":0,"text":"Hel","logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"text":"lo \"you\"\n","logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"text":"é☺","logprobs":null,"finish_reason":null}` + tail +
		head + `{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}` + tail +
		head + `],"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":3}}}` + "\n\n" +
		"data: [DONE]\n\n"
	if res.StatusCode != 200 || fixed(body) != want {
		t.Errorf("status %d, body\n%s\nwant\n%s", res.StatusCode, fixed(body), want)
	}
}

// TestPrompts gives prompts in each form, and finds them in the worker's
// requests and the answer's choices.
func TestPrompts(t *testing.T) {
	many := make([]string, api.MaxPrompts)
	var manyTokens [][]int32
	for i := range many {
		many[i] = fmt.Sprintf(`[%d,7]`, i)
		manyTokens = append(manyTokens, []int32{int32(i), 7})
	}
	for _, c := range []struct {
		prompt string
		bos    bool
		want   [][]int32
	}{
		{`"AB"`, false, [][]int32{{65, 66}}},
		{`""`, true, [][]int32{{1}}},
		{`["A","B"]`, true, [][]int32{{1, 65}, {1, 66}}},
		{`[5,6,7]`, true, [][]int32{{5, 6, 7}}},
		{`[[5],[99,0]]`, false, [][]int32{{5}, {99, 0}}},
		{`[` + strings.Join(many, ",") + `]`, false, manyTokens},
	} {
		for _, stream := range []bool{false, true} {
			inputs := make(chan engine.Request, len(c.want))
			s := serve(t, &fakeWorker{inputs: inputs, say: numbered, bos: c.bos})
			body := fmt.Sprintf(`{"model":"tiny","prompt":%s,"stream":%v`, c.prompt, stream)
			if stream {
				body += `,"stream_options":{"include_usage":true}`
			}
			res, text := s.dial().do(post(textPath, body+`}`))
			if res.StatusCode != 200 {
				t.Fatalf("%.40s: status %d, body %s", c.prompt, res.StatusCode, text)
			}
			texts, usage := texts(t, text, len(c.want), stream)
			for i, tokens := range c.want {
				if r := wait(t, inputs); !slices.Equal(r.Tokens, tokens) || r.MaxTokens != api.DefaultMaxTokens {
					t.Errorf("%.40s: request %d %+v, want tokens %v", c.prompt, i, r, tokens)
				}
				if want := fmt.Sprint(tokens[0]) + "!length"; texts[i] != want {
					t.Errorf("%.40s: choice %d is %q, want %q", c.prompt, i, texts[i], want)
				}
			}
			n := len(c.want)
			if want := (api.Usage{PromptTokens: 5 * n, CompletionTokens: 4 * n, TotalTokens: 9 * n, PromptTokensDetails: api.PromptTokensDetails{CachedTokens: 3 * n}}); usage != want {
				t.Errorf("%.40s: usage %+v, want %+v", c.prompt, usage, want)
			}
		}
	}
}

// texts returns each choice's text and reason, and the usage, of an answer.
func texts(t *testing.T, body string, n int, stream bool) ([]string, api.Usage) {
	t.Helper()
	answers := []string{body}
	if stream {
		data, ok := strings.CutSuffix(body, "\n\ndata: [DONE]\n\n")
		if !ok {
			t.Fatalf("stream %q", body)
		}
		answers = strings.Split(strings.TrimPrefix(data, "data: "), "\n\ndata: ")
	}
	all := make([]string, n)
	usage := api.Usage{}
	for i, answer := range answers {
		var a api.TextCompletion
		if err := json.Unmarshal([]byte(answer), &a); err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		for _, c := range a.Choices {
			all[c.Index] += c.Text
			if c.FinishReason != nil {
				all[c.Index] += *c.FinishReason
			}
		}
		if a.Usage != nil {
			usage = *a.Usage
		}
		if last := i == len(answers)-1; (a.Usage != nil) != last || stream && (len(a.Choices) == 0) != last {
			t.Errorf("event %d of %d: %s", i, len(answers), answer)
		}
	}
	return all, usage
}

// TestSeeds has prompts share a seed that was given, and none that was not.
func TestSeeds(t *testing.T) {
	inputs := make(chan engine.Request, 2)
	s := serve(t, &fakeWorker{inputs: inputs})
	for _, given := range []bool{false, true} {
		body := `{"model":"tiny","prompt":["a","b"],"max_tokens":9}`
		if given {
			body = strings.Replace(body, `{`, `{"seed":4,`, 1)
		}
		s.dial().do(post(textPath, body))
		a, b := wait(t, inputs), wait(t, inputs)
		if (a.Params.Seed == b.Params.Seed) != given || a.MaxTokens != 9 {
			t.Errorf("seed given: %v, requests %+v and %+v", given, a, b)
		}
	}
}

func TestCompletionErrors(t *testing.T) {
	ctxErr := &engine.ContextLengthError{Prompt: 600, MaxTokens: 16, Limit: 512}
	two := `{"model":"tiny","prompt":["a","b"]}`
	for _, c := range []struct {
		name   string
		worker fakeWorker
		body   string
		status int
		code   string
		param  string
		says   string
	}{
		{"bad JSON", fakeWorker{}, `{`, 400, api.CodeInvalidJSON, "", "not valid JSON"},
		{"no prompt", fakeWorker{}, `{"model":"tiny"}`, 400, api.CodeMissingParameter, "prompt", "required"},
		{"empty prompt", fakeWorker{}, `{"model":"tiny","prompt":""}`, 400, api.CodeInvalidPrompt, "prompt", "empty"},
		{"an empty prompt", fakeWorker{}, `{"model":"tiny","prompt":["a",""]}`, 400, api.CodeInvalidPrompt, "prompt[1]", "empty"},
		{"unknown model", fakeWorker{}, `{"model":"gpt-9","prompt":""}`, 404, api.CodeModelNotFound, "model", "gpt-9"},
		{"no such token", fakeWorker{}, `{"model":"tiny","prompt":[99,100]}`, 400, api.CodeInvalidValue, "prompt[1]", "vocabulary has 100"},
		{"no such token in a list", fakeWorker{}, `{"model":"tiny","prompt":[[99],[100]]}`, 400, api.CodeInvalidValue, "prompt[1][0]", "vocabulary has 100"},
		{"no such stop token", fakeWorker{}, `{"model":"tiny","prompt":"a","stop_token_ids":[100]}`, 400, api.CodeInvalidValue, "stop_token_ids[0]", "vocabulary has 100"},
		{"suffix", fakeWorker{}, `{"model":"tiny","prompt":"a","suffix":"b"}`, 400, api.CodeUnsupportedParameter, "suffix", "not supported"},
		{"context", fakeWorker{generateErr: ctxErr}, textPlain, 400, api.CodeContextLength, "prompt", "but the prompt has 600"},
		{"context of one of two", fakeWorker{generateErr: ctxErr}, two, 400, api.CodeContextLength, "prompt[0]", "asks for 16"},
		{"busy", fakeWorker{generateErr: engine.ErrBusy}, two, 429, api.CodeRateLimit, "", "retry"},
		{"device", fakeWorker{endErr: engine.ErrDevice}, two, 500, api.CodeDevice, "", "req-"},
		{"unknown error", fakeWorker{endErr: errors.New("secret detail")}, two, 500, api.CodeInternal, "", "req-"},
		{"early end", fakeWorker{pieces: hello[:2]}, two, 500, api.CodeInternal, "", "req-"},
		{"panic", fakeWorker{panicAt: 1}, two, 500, api.CodeInternal, "", "req-"},
		{"later panic", fakeWorker{panicAt: 3}, two, 500, api.CodeInternal, "", "req-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.worker
			w.started = make(chan *fakeStream, 2)
			s := serve(t, &w)
			conn := s.dial()
			res, got := conn.do(post(textPath, c.body))
			typ := api.TypeInvalidRequest
			switch c.status {
			case 429:
				typ = api.TypeRateLimit
			case 500:
				typ = api.TypeServer
			}
			wantError(t, res, got, c.status, typ, c.code, c.param, c.says)
			if strings.Contains(got, "secret") {
				t.Errorf("the answer shows an inner error: %s", got)
			}
			for range len(w.started) {
				wait(t, wait(t, w.started).closed)
			}
			// The connection is good for another request.
			if res, _ := conn.do(get("/health")); res.StatusCode != 200 {
				t.Errorf("/health afterwards: %d", res.StatusCode)
			}
		})
	}
}

// TestOneOfManyFails has one of two generations fail while the other goes on:
// both end, and the stream with an error.
func TestOneOfManyFails(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		more := make(chan engine.Delta)
		w := &fakeWorker{more: more, started: make(chan *fakeStream, 2)}
		bad := &fakeWorker{pieces: hello[:1], endErr: engine.ErrDevice}
		code := api.CodeDevice
		if how == "panic" {
			bad.endErr, bad.panicAt, code = nil, 2, api.CodeInternal
		}
		w.other = func(r engine.Request) *fakeWorker {
			if r.Tokens[0] == 2 {
				return bad
			}
			return w
		}
		s := serve(t, w)
		conn := s.dial()
		res, body := conn.do(post(textPath, `{"model":"tiny","prompt":[[1],[2]],"stream":true}`))
		if res.StatusCode != 200 || !strings.Contains(body, `"index":1,"text":"Hel"`) || !strings.Contains(body, code) || !strings.HasSuffix(body, doneEvent) {
			t.Errorf("%s: status %d, body %s", how, res.StatusCode, body)
		}
		for range 2 {
			wait(t, wait(t, w.started).closed)
		}
		if res, _ := conn.do(get("/health")); res.StatusCode != 200 {
			t.Errorf("/health afterwards: %d", res.StatusCode)
		}
	}
}

// TestInterleaved reads each event of two prompts before the next piece exists.
func TestInterleaved(t *testing.T) {
	feeds := map[int32]chan engine.Delta{1: make(chan engine.Delta), 2: make(chan engine.Delta)}
	w := &fakeWorker{}
	w.other = func(r engine.Request) *fakeWorker { return &fakeWorker{more: feeds[r.Tokens[0]]} }
	s := serve(t, w)
	c := s.dial()
	c.send(post(textPath, `{"model":"tiny","prompt":[[1],[2]],"stream":true}`))
	feeds[2] <- engine.Delta{Text: "0"}
	res := c.receive()
	b := make([]byte, 1)
	for i := range 6 {
		var got []byte
		for !strings.HasSuffix(string(got), "\n\n") {
			if _, err := res.Body.Read(b); err != nil {
				t.Fatal(err)
			}
			got = append(got, b[0])
		}
		if want := fmt.Sprintf(`{"index":%d,"text":"%d"`, 1-i%2, i); !strings.Contains(string(got), want) {
			t.Fatalf("event %q, want %s", got, want)
		}
		feeds[int32(i%2)+1] <- engine.Delta{Text: fmt.Sprint(i + 1)}
	}
	feeds[1] <- engine.Delta{Finish: engine.FinishStop}
	feeds[2] <- engine.Delta{Finish: engine.FinishLength}
	if rest, err := io.ReadAll(res.Body); err != nil || strings.Count(string(rest), `"finish_reason":"`) != 2 || !strings.HasSuffix(string(rest), doneEvent) {
		t.Errorf("rest %q, %v", rest, err)
	}
}

// TestManyLeave has the client of several prompts leave: all of them end.
func TestManyLeave(t *testing.T) {
	for _, body := range []string{`{"model":"tiny","prompt":["a","b","c"]}`, `{"model":"tiny","prompt":["a","b","c"],"stream":true}`} {
		for _, decode := range []bool{false, true} {
			w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 3)}
			s := serve(t, w)
			conn := s.dial()
			conn.send(post(textPath, body))
			streams := []*fakeStream{wait(t, w.started), wait(t, w.started), wait(t, w.started)}
			if decode {
				w.more <- engine.Delta{Text: "x"}
				w.more <- engine.Delta{Text: "y"}
			}
			conn.conn.Close()
			for _, stream := range streams {
				wait(t, stream.closed)
				wait(t, stream.ctx.Done())
			}
		}
	}
}

// TestChoicesAreLogged finds the number of prompts in the log, and no text.
func TestChoicesAreLogged(t *testing.T) {
	s := serve(t, &fakeWorker{})
	s.dial().do(post(textPath, `{"model":"tiny","prompt":["secret prompt text","b"]}`))
	if text := s.log.String(); !strings.Contains(text, "route=/v1/completions choices=2 ") || !strings.Contains(text, "prompt_tokens=10 ") {
		t.Errorf("log %s", text)
	}
}

// TestSameOptions has both kinds ask the same of the worker, but that a completion
// goes on its prompt.
func TestSameOptions(t *testing.T) {
	inputs := make(chan engine.Request, 1)
	s := serve(t, &fakeWorker{inputs: inputs})
	const more = `,"seed":1,"temperature":0.5,"top_p":0.5,"top_k":4,"min_p":0.5,"repetition_penalty":2,"frequency_penalty":1,"presence_penalty":1,
		"logit_bias":{"4":1},"stop":["x"],"stop_token_ids":[3],"min_tokens":2,"max_tokens":9,"ignore_eos":true,
		"skip_special_tokens":false,"include_stop_str_in_output":true,"return_token_ids":true,"prompt_logprobs":3}`
	s.dial().do(post(chatPath, strings.TrimSuffix(plainBody, "}")+more))
	a := wait(t, inputs)
	s.dial().do(post(textPath, strings.TrimSuffix(textPlain, "}")+more))
	b := wait(t, inputs)
	if a.Continues || !b.Continues || !a.Specials || !a.KeepStop || !a.TokenIDs || !a.PromptLogprobs || a.TopLogprobs != 3 {
		t.Errorf("chat       %+v\ncompletion %+v", a, b)
	}
	a.ID, a.Tokens, b.ID, b.Tokens, b.Continues = "", nil, "", nil, false
	if !reflect.DeepEqual(a, b) {
		t.Errorf("chat       %+v\ncompletion %+v", a, b)
	}
}
