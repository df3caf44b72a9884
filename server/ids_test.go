package server

import (
	"context"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
)

// withIDs says "Hi" of two tokens and ends with a third that has no text.
func withIDs(r engine.Request, _ int) []engine.Delta {
	d := []engine.Delta{{Text: "H", TokenIDs: []int32{72}}, {Text: "i", TokenIDs: []int32{73}}, {Finish: engine.FinishStop, TokenIDs: []int32{2}}}
	if !r.TokenIDs {
		for i := range d {
			d[i].TokenIDs = nil
		}
	}
	return d
}

// TestTokenIDs finds the tokens of prompts and completions where vLLM has them.
func TestTokenIDs(t *testing.T) {
	s := serve(t, &fakeWorker{say: withIDs})
	for _, c := range []struct {
		name, path, body string
		want             []string
	}{
		{"chat", chatPath, strings.Replace(plainBody, "{", `{"return_token_ids":true,`, 1), []string{
			`"finish_reason":"stop","token_ids":[72,73,2]}]`, `"prompt_token_ids":[0,0,0,0,0]}`,
		}},
		{"chat, streaming", chatPath, strings.Replace(eventBody, "{", `{"n":2,"return_token_ids":true,"stream_options":{"include_usage":true},`, 1), []string{
			`"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":[0,0,0,0,0],"usage":null}` + "\n",
			`"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n",
			`"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null,"token_ids":[72]}],"usage":null}` + "\n",
			`"index":1,"delta":{"content":""},"logprobs":null,"finish_reason":null,"token_ids":[2]}],"usage":null}` + "\n",
			`"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n",
		}},
		{"completion", textPath, `{"model":"tiny","prompt":["A",  "BC"],"return_token_ids":true}`, []string{
			`"index":0,"text":"Hi","logprobs":null,"finish_reason":"stop","token_ids":[72,73,2],"prompt_token_ids":[65]}`,
			`"index":1,"text":"Hi","logprobs":null,"finish_reason":"stop","token_ids":[72,73,2],"prompt_token_ids":[66,67]}`,
		}},
		{"completion, streaming", textPath, `{"model":"tiny","prompt":["A","BC"],"return_token_ids":true,"stream":true}`, []string{
			`"index":0,"text":"H","logprobs":null,"finish_reason":null,"token_ids":[72],"prompt_token_ids":[65]}]}` + "\n",
			`"index":1,"text":"H","logprobs":null,"finish_reason":null,"token_ids":[72],"prompt_token_ids":[66,67]}]}` + "\n",
			`"index":1,"text":"i","logprobs":null,"finish_reason":null,"token_ids":[73]}]}` + "\n",
			`"index":1,"text":"","logprobs":null,"finish_reason":null,"token_ids":[2]}]}` + "\n",
		}},
		{"the prompt alone", textPath, `{"model":"tiny","prompt":"A","return_token_ids":true,"echo":true,"max_tokens":0}`, []string{
			`"text":"A","logprobs":null,"finish_reason":"length","token_ids":[],"prompt_token_ids":[65]}`,
		}},
	} {
		_, body := s.dial().do(post(c.path, c.body))
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in\n%s", c.name, want, body)
			}
		}
	}
	for _, body := range []string{plainBody, eventBody} {
		if _, body := s.dial().do(post(chatPath, body)); strings.Contains(body, "token_ids") {
			t.Errorf("nobody asked for token_ids: %s", body)
		}
	}
}

// TestPromptLogprobs finds what the model thought of a prompt where vLLM has it.
func TestPromptLogprobs(t *testing.T) {
	w := &ranked{&fakeWorker{}}
	s := serve(t, w)
	// The fake finds token i of a prompt as likely as -i, in place 3, and 49 ("1") first.
	const first, second = `{"66":{"logprob":-1,"rank":3,"decoded_token":"B"}`, `{"90":{"logprob":-2,"rank":3,"decoded_token":"�"}`
	const top = `,"49":{"logprob":-0.5,"rank":1,"decoded_token":"1"}}`
	for _, c := range []struct{ name, path, body, want string }{
		{"completion", textPath, `{"model":"tiny","prompt":[65,66,90],"prompt_logprobs":1}`, `"logprobs":null,"finish_reason":"stop","prompt_logprobs":[null,` + first + top + "," + second + top + `]}]`},
		{"without the likeliest", textPath, `{"model":"tiny","prompt":[65,66,90],"prompt_logprobs":0}`, `"prompt_logprobs":[null,` + first + "}," + second + `}]}]`},
		{"beside logprobs with more", textPath, `{"model":"tiny","prompt":[65,66,90],"prompt_logprobs":0,"logprobs":1}`, `"prompt_logprobs":[null,` + first + "}," + second + `}]}]`},
		{"logprobs with fewer", textPath, `{"model":"tiny","prompt":[65,66],"prompt_logprobs":1,"logprobs":0,"echo":true}`, `"top_logprobs":[null,{"B":-1}],`},
		{"the likeliest itself", textPath, `{"model":"tiny","prompt":[65,49],"prompt_logprobs":1}`, `"prompt_logprobs":[null,{"49":{"logprob":-1,"rank":3,"decoded_token":"1"}}]}]`},
		{"chat", chatPath, strings.Replace(plainBody, "{", `{"prompt_logprobs":0,`, 1), `"prompt_logprobs":[null,{"0":{"logprob":-1,"rank":3,"decoded_token":"\u0000"}}`},
	} {
		if res, body := s.dial().do(post(c.path, c.body)); res.StatusCode != 200 || !strings.Contains(body, c.want) {
			t.Errorf("%s: status %d, no %s in\n%s", c.name, res.StatusCode, c.want, body)
		}
	}
}

// ranked puts every token of a prompt in place 3.
type ranked struct{ *fakeWorker }

func (w *ranked) Generate(ctx context.Context, r engine.Request) ([]Stream, error) {
	all, err := w.fakeWorker.Generate(ctx, r)
	for i := range all {
		all[i] = rankedStream{all[i]}
	}
	return all, err
}

type rankedStream struct{ Stream }

func (s rankedStream) Prompt() []engine.TokenLogprob {
	all := s.Stream.Prompt()
	for i := range all {
		all[i].Rank = 3
	}
	return all
}

// TestContinue has the template end with the last message.
func TestContinue(t *testing.T) {
	chats, inputs := make(chan chat.Input, 1), make(chan engine.Request, 1)
	s := serve(t, &fakeWorker{chats: chats, inputs: inputs})
	const more = `{"continue_final_message":true,"add_generation_prompt":false,`
	if res, body := s.dial().do(post(chatPath, strings.Replace(plainBody, "{", more, 1))); res.StatusCode != 200 {
		t.Fatalf("status %d: %s", res.StatusCode, body)
	}
	if in := wait(t, chats); !in.ContinueFinal || in.AddGenerationPrompt || in.MaxTokens != 512 {
		t.Errorf("%+v", in)
	}
	if r := wait(t, inputs); !r.Continues {
		t.Errorf("%+v", r)
	}
	res, body := s.dial().do(post("/tokenize", strings.Replace(plainBody, "{", more, 1)))
	if in := wait(t, chats); res.StatusCode != 200 || !in.ContinueFinal || in.AddGenerationPrompt || in.MaxTokens != 0 {
		t.Errorf("status %d, %s, %+v", res.StatusCode, body, in)
	}
	for _, path := range []string{chatPath, "/tokenize"} {
		res, body := s.dial().do(post(path, strings.Replace(plainBody, "{", `{"continue_final_message":true,`, 1)))
		wantError(t, res, body, 400, api.TypeInvalidRequest, api.CodeInvalidValue, "continue_final_message", "add_generation_prompt")
	}
	res, body = s.dial().do(post("/tokenize", `{"prompt":"x","continue_final_message":true}`))
	wantError(t, res, body, 400, api.TypeInvalidRequest, api.CodeInvalidValue, "continue_final_message", "messages")
}

// TestFarTooLong has a worker give up counting.
func TestFarTooLong(t *testing.T) {
	s := serve(t, &fakeWorker{encodeErr: &engine.ContextLengthError{Prompt: 513, Limit: 512, AtLeast: true}})
	res, body := s.dial().do(post(chatPath, strings.Replace(plainBody, "{", `{"max_tokens":7,`, 1)))
	wantError(t, res, body, 400, api.TypeInvalidRequest, api.CodeContextLength, "messages", "holds 512 tokens, but the messages have at least 513 and the completion asks for 7")
}
