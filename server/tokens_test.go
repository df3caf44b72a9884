package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
)

func TestTokenRoutes(t *testing.T) {
	chats := make(chan chat.Input, 1)
	s := serve(t, &fakeWorker{bos: true, chats: chats}, func(c *Config) { c.Version = "1.2.3" })
	conn := s.dial()
	for _, c := range []struct{ raw, want string }{
		{get("/version"), `{"version":"1.2.3"}`},
		{get("/tokenizer_info"), `{"bos_token":"\u0001","eos_token":"\u0002","vocab_size":100,"model_max_length":512}`},
		{post("/tokenize", `{"prompt":"AB"}`), `{"count":3,"max_model_len":512,"tokens":[1,65,66],"token_strs":null}`},
		{post("/tokenize", `{"model":"tiny","prompt":"AB","add_special_tokens":false,"return_token_strs":true,"nobody_knows":1}`), `{"count":2,"max_model_len":512,"tokens":[65,66],"token_strs":["A","B"]}`},
		{post("/tokenize", `{"prompt":"","add_special_tokens":false,"return_token_strs":true}`), `{"count":0,"max_model_len":512,"tokens":[],"token_strs":[]}`},
		{post("/detokenize", `{"tokens":[65,66,99]}`), `{"prompt":"ABc"}`},
		{post("/detokenize", `{"model":"tiny","tokens":[]}`), `{"prompt":""}`},
	} {
		if res, body := conn.do(c.raw); res.StatusCode != 200 || body != c.want {
			t.Errorf("%q: status %d, body %s, want %s", c.raw, res.StatusCode, body, c.want)
		}
	}
	if _, body := serve(t, &fakeWorker{}).dial().do(get("/tokenizer_info")); !strings.HasPrefix(body, `{"bos_token":null,"eos_token":"\u0002"`) {
		t.Errorf("without a token that begins a text: %s", body)
	}
	for more, generation := range map[string]bool{``: true, `,"add_generation_prompt":false,"add_special_tokens":false`: false} {
		res, body := conn.do(post("/tokenize", `{"messages":[{"role":"developer","content":"x"}]`+more+`}`))
		if in := wait(t, chats); in.AddGenerationPrompt != generation || in.Messages[0].Role != "system" || in.Messages[0].Content != "x" {
			t.Errorf("chat input %+v", in)
		}
		if want := `{"count":5,"max_model_len":512,"tokens":[0,0,0,0,0],"token_strs":null}`; res.StatusCode != 200 || body != want {
			t.Errorf("messages%s: status %d, body %s", more, res.StatusCode, body)
		}
	}
}

func TestTokenErrors(t *testing.T) {
	const messages = `{"messages":[{"role":"user","content":"x"}]}`
	for _, c := range []struct {
		name   string
		worker fakeWorker
		path   string
		body   string
		status int
		code   string
		param  string
	}{
		{"bad JSON", fakeWorker{}, "/tokenize", `{`, 400, api.CodeInvalidJSON, ""},
		{"unknown model", fakeWorker{}, "/tokenize", `{"model":"gpt-9","prompt":"x"}`, 404, api.CodeModelNotFound, "model"},
		{"no template", fakeWorker{encodeErr: engine.ErrNoTemplate}, "/tokenize", messages, 400, api.CodeInvalidPrompt, "messages"},
		{"template", fakeWorker{encodeErr: &chat.TemplateError{}}, "/tokenize", messages, 400, api.CodeInvalidPrompt, "messages"},
		{"inner error", fakeWorker{encodeErr: errors.New("secret detail")}, "/tokenize", messages, 500, api.CodeInternal, ""},
		{"panic", fakeWorker{encodePanic: true}, "/tokenize", messages, 500, api.CodeInternal, ""},
		{"bad JSON to detokenize", fakeWorker{}, "/detokenize", `[1]`, 400, api.CodeInvalidJSON, ""},
		{"unknown model to detokenize", fakeWorker{}, "/detokenize", `{"model":"gpt-9","tokens":[1]}`, 404, api.CodeModelNotFound, "model"},
		{"no such token", fakeWorker{}, "/detokenize", `{"tokens":[99,100]}`, 400, api.CodeInvalidValue, "tokens[1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, &c.worker)
			conn := s.dial()
			res, body := conn.do(post(c.path, c.body))
			typ := api.TypeInvalidRequest
			if c.status == 500 {
				typ = api.TypeServer
			}
			wantError(t, res, body, c.status, typ, c.code, c.param, "")
			if strings.Contains(body, "secret") {
				t.Errorf("the answer shows an inner error: %s", body)
			}
			if res, _ := conn.do(get("/health")); res.StatusCode != 200 {
				t.Errorf("/health afterwards: %d", res.StatusCode)
			}
		})
	}
}
