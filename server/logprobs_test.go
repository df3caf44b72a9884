package server

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

// likely is a token, and that one beside it is likelier.
func likely(token int32, logprob float64, r engine.Request) engine.TokenLogprob {
	return engine.TokenLogprob{Token: token, Logprob: logprob, Top: []sampler.Logprob{{Token: 65, Logprob: -0.25}, {Token: token, Logprob: logprob}}[:min(r.TopLogprobs, 2)]}
}

// withLogprobs says "B☺C" in two pieces, and ends with a token that has no text.
func withLogprobs(r engine.Request, _ int) []engine.Delta {
	if !r.Logprobs {
		return []engine.Delta{{Text: "B"}, {Text: "☺C", Finish: engine.FinishLength}}
	}
	return []engine.Delta{
		{Text: "B", Logprobs: []engine.TokenLogprob{likely(66, -1, r)}},
		{Text: "☺C", Logprobs: []engine.TokenLogprob{likely(90, -2, r), likely(91, -3, r), likely(92, math.Inf(-1), r), likely(67, -5, r)}},
		{Finish: engine.FinishLength, Logprobs: []engine.TokenLogprob{likely(1, -6, r)}},
	}
}

func TestChatLogprobs(t *testing.T) {
	s := serve(t, &fakeWorker{say: withLogprobs})
	entry := func(token, logprob, bytes string) string {
		one := `{"token":"` + token + `","logprob":` + logprob + `,"bytes":[` + bytes + `]`
		return one + `,"top_logprobs":[{"token":"A","logprob":-0.25,"bytes":[65]},` + one + `}]}`
	}
	b, c, end := entry("B", "-1", "66"), entry("C", "-5", "67"), entry(`\u0001`, "-6", "1")
	smile := entry(`bytes:\\xe2`, "-2", "226") + "," + entry(`bytes:\\x98`, "-3", "152") + "," + entry(`bytes:\\xba`, "-9999", "186")
	_, body := s.dial().do(post(chatPath, strings.Replace(plainBody, `{`, `{"logprobs":true,"top_logprobs":2,`, 1)))
	want := `"content":"B☺C","refusal":null},"logprobs":{"content":[` + b + "," + smile + "," + c + "," + end + `],"refusal":null},"finish_reason":"length"}`
	if !strings.Contains(body, want) {
		t.Errorf("body\n%s\nwant\n%s", body, want)
	}
	_, body = s.dial().do(post(chatPath, strings.Replace(eventBody, `{`, `{"logprobs":true,"top_logprobs":2,`, 1)))
	for _, want := range []string{
		`"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`,
		`"delta":{"content":"B"},"logprobs":{"content":[` + b + `],"refusal":null},"finish_reason":null}`,
		`"delta":{"content":"☺C"},"logprobs":{"content":[` + smile + "," + c + `],"refusal":null},"finish_reason":null}`,
		`"delta":{"content":""},"logprobs":{"content":[` + end + `],"refusal":null},"finish_reason":null}`,
		`"delta":{},"logprobs":null,"finish_reason":"length"}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	// Without top_logprobs the list is there, and empty; without logprobs nothing is.
	if _, body := s.dial().do(post(chatPath, strings.Replace(plainBody, `{`, `{"logprobs":true,`, 1))); !strings.Contains(body, `{"token":"B","logprob":-1,"bytes":[66],"top_logprobs":[]}`) {
		t.Errorf("body %s", body)
	}
	if _, body := s.dial().do(post(chatPath, plainBody)); !strings.Contains(body, `"logprobs":null`) {
		t.Errorf("body %s", body)
	}
}

func TestTextLogprobs(t *testing.T) {
	const none = `"logprobs":null`
	for _, c := range []struct {
		name, more string
		text       string
		logprobs   string
	}{
		{"nothing asked", ``, `B☺C`, none},
		{"no likeliest", `,"logprobs":0`, `B☺C`, `"logprobs":{"tokens":["B","bytes:\\xe2","bytes:\\x98","bytes:\\xba","C","\u0001"],"token_logprobs":[-1,-2,-3,-9999,-5,-6],` +
			`"top_logprobs":[{"B":-1},{"bytes:\\xe2":-2},{"bytes:\\x98":-3},{"bytes:\\xba":-9999},{"C":-5},{"\u0001":-6}],"text_offset":[0,1,1,1,2,3]}`},
		{"one", `,"logprobs":1,"stop":"z"`, `B☺C`, `"logprobs":{"tokens":["B","bytes:\\xe2","bytes:\\x98","bytes:\\xba","C","\u0001"],"token_logprobs":[-1,-2,-3,-9999,-5,-6],` +
			`"top_logprobs":[{"A":-0.25,"B":-1},{"A":-0.25,"bytes:\\xe2":-2},{"A":-0.25,"bytes:\\x98":-3},{"A":-0.25,"bytes:\\xba":-9999},{"A":-0.25,"C":-5},{"A":-0.25,"\u0001":-6}],"text_offset":[0,1,1,1,2,3]}`},
		{"echo", `,"echo":true`, `AéXB☺C`, none},
		{"echo of nothing else", `,"echo":true,"max_tokens":0`, `AéX`, none},
		// Token 1 begins every text and is not in it; é is two tokens.
		{"echo with logprobs", `,"echo":true,"logprobs":0`, `AéXB☺C`, `"logprobs":{"tokens":["\u0001","A","bytes:\\xc3","bytes:\\xa9","X","B","bytes:\\xe2","bytes:\\x98","bytes:\\xba","C","\u0001"],` +
			`"token_logprobs":[null,-1,-2,-3,-4,-1,-2,-3,-9999,-5,-6],` +
			`"top_logprobs":[null,{"A":-1},{"bytes:\\xc3":-2},{"bytes:\\xa9":-3},{"X":-4},{"B":-1},{"bytes:\\xe2":-2},{"bytes:\\x98":-3},{"bytes:\\xba":-9999},{"C":-5},{"\u0001":-6}],"text_offset":[0,0,1,1,2,3,4,4,4,5,6]}`},
		{"logprobs of the prompt alone", `,"echo":true,"logprobs":1,"max_tokens":0`, `AéX`, `"logprobs":{"tokens":["\u0001","A","bytes:\\xc3","bytes:\\xa9","X"],"token_logprobs":[null,-1,-2,-3,-4],` +
			`"top_logprobs":[null,{"1":-0.5,"A":-1},{"1":-0.5,"bytes:\\xc3":-2},{"1":-0.5,"bytes:\\xa9":-3},{"1":-0.5,"X":-4}],"text_offset":[0,0,1,1,2]}`},
	} {
		for _, stream := range []bool{false, true} {
			w := &fakeWorker{say: withLogprobs, bos: true}
			s := serve(t, &accents{w})
			body := `{"model":"tiny","prompt":"AéX"` + c.more
			if stream {
				body += `,"stream":true`
			}
			_, got := s.dial().do(post(textPath, body+`}`))
			if stream {
				all, _ := texts(t, strings.TrimSuffix(got, doneEvent)+`data: {"choices":[],"usage":{}}`+"\n\n"+doneEvent, 1, true)
				if all[0] != c.text+"length" {
					t.Errorf("%s, streaming: text %q, want %q", c.name, all[0], c.text)
				}
				continue
			}
			if want := `"text":"` + c.text + `",` + c.logprobs + `,"finish_reason":"length"}`; !strings.Contains(got, want) {
				t.Errorf("%s: body\n%s\nwant\n%s", c.name, got, want)
			}
			if tokens := strings.Contains(c.more, `"max_tokens":0`); strings.Contains(got, `"completion_tokens":0`) != tokens {
				t.Errorf("%s: %s", c.name, got)
			}
		}
	}
}

// accents is a worker whose tokens are the bytes of a text, so that they say
// where they are in it.
type accents struct{ *fakeWorker }

func (w *accents) AppendToken(dst []byte, token int32, names bool) []byte {
	switch token {
	case int32("é"[0]) % 100:
		return append(dst, "é"[0])
	case int32("é"[1]) % 100:
		return append(dst, "é"[1])
	}
	return w.fakeWorker.AppendToken(dst, token, names)
}

// TestLogprobEvents pins what each event of a stream says of its tokens.
func TestLogprobEvents(t *testing.T) {
	s := serve(t, &fakeWorker{say: withLogprobs})
	_, body := s.dial().do(post(textPath, `{"model":"tiny","prompt":"AX","stream":true,"echo":true,"logprobs":0}`))
	for _, want := range []string{
		`"text":"AXB","logprobs":{"tokens":["A","X","B"],"token_logprobs":[null,-1,-1],"top_logprobs":[null,{"X":-1},{"B":-1}],"text_offset":[0,1,2]},"finish_reason":null}`,
		`"text":"☺C","logprobs":{"tokens":["bytes:\\xe2","bytes:\\x98","bytes:\\xba","C"],"token_logprobs":[-2,-3,-9999,-5],"top_logprobs":[{"bytes:\\xe2":-2},{"bytes:\\x98":-3},{"bytes:\\xba":-9999},{"C":-5}],"text_offset":[3,3,3,4]},"finish_reason":null}`,
		`"text":"","logprobs":{"tokens":["\u0001"],"token_logprobs":[-6],"top_logprobs":[{"\u0001":-6}],"text_offset":[5]},"finish_reason":null}`,
		`"text":"","logprobs":null,"finish_reason":"length"}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

// TestPlaces pins where tokens are in texts that are not just their bytes.
func TestPlaces(t *testing.T) {
	at := func(tokens ...int32) (all []engine.TokenLogprob) {
		for _, t := range tokens {
			all = append(all, engine.TokenLogprob{Token: t})
		}
		return all
	}
	for _, c := range []struct {
		name   string
		pieces []engine.Delta
		want   string
	}{
		{"a rune in parts", []engine.Delta{{Text: "A", Logprobs: at(65)}, {Text: "☺B", Logprobs: at(90, 91, 92, 66)}}, "0,1,1,1,2"},
		{"half a rune", []engine.Delta{{Text: "\ufffdB\ufffd\ufffdC", Logprobs: at(90, 91, 66, 91, 92, 67)}}, "0,0,1,2,3,4"},
		{"half a rune at the end", []engine.Delta{{Text: "A\ufffd", Logprobs: at(65, 90, 91)}}, "0,1,1"},
		{"a special token", []engine.Delta{{Text: "AB", Logprobs: at(65, 1, 1, 66)}}, "0,1,1,1"},
		{"text that waits", []engine.Delta{{Text: "", Logprobs: at(65)}, {Text: "ABC", Logprobs: at(66, 67, 68)}, {Text: "DE", Logprobs: at(69)}}, "0,1,2,3,4"},
		{"a stop string", []engine.Delta{{Text: "A", Logprobs: at(65, 66, 67)}}, "0,1,1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.pieces[len(c.pieces)-1].Finish = engine.FinishStop
			s := serve(t, &fakeWorker{pieces: c.pieces})
			_, body := s.dial().do(post(textPath, `{"model":"tiny","prompt":"A","logprobs":0}`))
			if want := `"text_offset":[` + c.want + `]`; !strings.Contains(body, want) {
				t.Errorf("body %s\nwant %s", body, want)
			}
		})
	}
}

// TestEchoOfChoices has each choice begin with the prompt, of which only the first
// stream knows the log-probabilities.
func TestEchoOfChoices(t *testing.T) {
	s := serve(t, &fakeWorker{say: withLogprobs})
	_, body := s.dial().do(post(textPath, `{"model":"tiny","prompt":[[65,66],[67,68]],"echo":true,"logprobs":0,"max_tokens":0,"n":2}`))
	for i, text := range []string{"AB", "AB", "CD", "CD"} {
		want := fmt.Sprintf(`{"index":%d,"text":"%s","logprobs":{"tokens":["%c","%c"],"token_logprobs":[null,-1],"top_logprobs":[null,{"%c":-1}],"text_offset":[0,1]},"finish_reason":"length"}`,
			i, text, text[0], text[1], text[1])
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

// TestLogprobRequests has the worker asked for what the client asked for.
func TestLogprobRequests(t *testing.T) {
	inputs := make(chan engine.Request, 1)
	s := serve(t, &fakeWorker{inputs: inputs, say: withLogprobs})
	ask := func(path, body, more string) engine.Request {
		t.Helper()
		res, text := s.dial().do(post(path, strings.TrimSuffix(body, "}")+more+"}"))
		if res.StatusCode != 200 {
			t.Fatalf("%s: status %d, body %s", more, res.StatusCode, text)
		}
		return wait(t, inputs)
	}
	if r := ask(chatPath, plainBody, `,"n":7,"priority":-3,"logprobs":true,"top_logprobs":4`); r.N != 7 || r.Priority != 3 || !r.Logprobs || r.TopLogprobs != 4 || r.PromptLogprobs {
		t.Errorf("chat: %+v", r)
	}
	if r := ask(textPath, textPlain, ``); r.N != 1 || r.Priority != 0 || r.Logprobs || r.PromptLogprobs || r.IgnoreEOS {
		t.Errorf("nothing asked: %+v", r)
	}
	if r := ask(textPath, textPlain, `,"logprobs":20,"n":2`); r.N != 2 || !r.Logprobs || r.TopLogprobs != 20 || r.PromptLogprobs {
		t.Errorf("logprobs: %+v", r)
	}
	if r := ask(textPath, textPlain, `,"echo":true,"max_tokens":2`); r.Logprobs || r.PromptLogprobs || r.MaxTokens != 2 || r.IgnoreEOS {
		t.Errorf("echo: %+v", r)
	}
	for _, more := range []string{`,"max_tokens":0`, `,"max_tokens":1`} {
		if r := ask(textPath, textPlain, `,"echo":true,"logprobs":1`+more); !r.Logprobs || !r.PromptLogprobs || r.TopLogprobs != 1 || r.MaxTokens != 1 || !r.IgnoreEOS {
			t.Errorf("echo with logprobs%s: %+v", more, r)
		}
	}
	if api.MaxTopLogprobs != sampler.MaxLogprobs || api.MaxChoices != engine.MaxChoices || api.MaxPriority != engine.MaxPriority {
		t.Error("the limits of api and engine differ")
	}
}
