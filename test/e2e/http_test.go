package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// chatBody is a request for a chat completion.
func chatBody(model, text, more string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%s}]%s}`, model, quoted, more)
}

// completion is what the tests read of an answer.
type completion struct {
	Object  string
	Choices []struct {
		Index   int
		Text    string // of a completion that is no chat
		Message struct{ Role, Content string }
		Delta   struct {
			Role    string
			Content string
		}
		FinishReason string `json:"finish_reason"`
		Logprobs     *logprobs
	}
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		TotalTokens      int `json:"total_tokens"`
	}
	Error *struct {
		Message, Type string
		Param, Code   *string
	}
}

func decode(t *testing.T, text string) completion {
	t.Helper()
	var c completion
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return c
}

// ask returns the text of an answer that comes in one piece.
func (s *server) ask(body string) (string, completion) {
	s.t.Helper()
	status, _, text := s.do("POST", "/v1/chat/completions", body)
	if status != 200 {
		s.t.Fatalf("status %d: %s", status, text)
	}
	c := decode(s.t, text)
	if c.Object != "chat.completion" || len(c.Choices) != 1 || c.Choices[0].Message.Role != "assistant" || c.Usage == nil {
		s.t.Fatalf("answer %s", text)
	}
	return c.Choices[0].Message.Content, c
}

// askEvents returns the text of a streamed answer, its reason and its usage.
func (s *server) askEvents(body string) (text, reason string, last completion) {
	s.t.Helper()
	status, header, stream := s.do("POST", "/v1/chat/completions", body)
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") {
		s.t.Fatalf("status %d, Content-Type %q: %s", status, header.Get("Content-Type"), stream)
	}
	events := strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n")
	if events[len(events)-1] != "data: [DONE]" {
		s.t.Fatalf("the stream ends with %q", events[len(events)-1])
	}
	for _, e := range events[:len(events)-1] {
		last = decode(s.t, strings.TrimPrefix(e, "data: "))
		for _, c := range last.Choices {
			text += c.Delta.Content
			reason += c.FinishReason
		}
	}
	return text, reason, last
}

func TestChat(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	const greedy = `,"temperature":0,"max_tokens":40`
	first, c := s.ask(chatBody("tiny-chat", "hi", greedy))
	if c.Usage.PromptTokens == 0 || c.Usage.CompletionTokens != 40 || c.Usage.TotalTokens != c.Usage.PromptTokens+40 || c.Choices[0].FinishReason != "length" {
		t.Errorf("answer %+v", c)
	}
	text, reason, last := s.askEvents(chatBody("tiny-chat", "hi", greedy+`,"stream":true,"stream_options":{"include_usage":true}`))
	if text != first || reason != "length" {
		t.Errorf("streamed %q (%s)\nin one piece %q", text, reason, first)
	}
	if last.Usage == nil || *last.Usage != *c.Usage || len(last.Choices) != 0 {
		t.Errorf("usage chunk %+v, want %+v", last, c.Usage)
	}

	// The same seed gives the same text, another one another.
	seeded := func(seed int) string {
		text, _ := s.ask(chatBody("tiny-chat", "hi", fmt.Sprintf(`,"seed":%d,"max_tokens":40`, seed)))
		return text
	}
	if a, b, c := seeded(1), seeded(1), seeded(2); a != b || a == c {
		t.Errorf("seeds 1, 1, 2 gave\n%q\n%q\n%q", a, b, c)
	}

	// A stop string is not in the answer.
	stop := first[strings.LastIndex(strings.TrimSpace(first), " ")+1:]
	stop = stop[:min(2, len(stop))]
	want, _, _ := strings.Cut(first, stop)
	quoted, _ := json.Marshal(stop)
	if got, c := s.ask(chatBody("tiny-chat", "hi", greedy+`,"stop":`+string(quoted))); got != want || c.Choices[0].FinishReason != "stop" {
		t.Errorf("stopped at %q: %q (%s), want %q", stop, got, c.Choices[0].FinishReason, want)
	}
}

// TestSampling has each parameter change an answer as it says.
func TestSampling(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	ask := func(more string) (string, completion) {
		return s.ask(chatBody("tiny-chat", "hi", `,"temperature":0,"max_tokens":40`+more))
	}
	plain, _ := ask("")
	for _, same := range []string{`,"repetition_penalty":1`, `,"presence_penalty":0`, `,"logit_bias":{}`, `,"min_tokens":0`, `,"stop_token_ids":[]`} {
		if got, _ := ask(same); got != plain {
			t.Errorf("%s: %q, without it %q", same, got, plain)
		}
	}
	for _, other := range []string{`,"repetition_penalty":5`, `,"presence_penalty":2`, `,"frequency_penalty":2`} {
		if got, _ := ask(other); got == plain {
			t.Errorf("%s changes nothing: %q", other, got)
		}
	}
	// min_p 1 keeps the likeliest token, whatever the temperature.
	if got, _ := s.ask(chatBody("tiny-chat", "hi", `,"temperature":2,"min_p":1,"max_tokens":40`)); got != plain {
		t.Errorf("min_p 1: %q, greedy %q", got, plain)
	}
	// With one token far above all others, the answer is that token, or nothing
	// if it ends the answer, but not before min_tokens.
	only, c := ask(`,"logit_bias":{"40":100}`)
	if c.Usage.CompletionTokens != 40 || only != strings.Repeat(only[:len(only)/40], 40) {
		t.Errorf("one token: %q, %+v", only, c.Usage)
	}
	one, _ := json.Marshal([]string{only[:len(only)/40]})
	if got, _ := ask(`,"logit_bias":{"40":100},"bad_words":` + string(one)); got == "" || strings.Contains(got, only[:len(only)/40]) {
		t.Errorf("without %s: %q", one, got)
	}
	if got, c := ask(`,"logit_bias":{"40":100},"stop_token_ids":[40]`); got != "" || c.Choices[0].FinishReason != "stop" {
		t.Errorf("stop token: %q (%s)", got, c.Choices[0].FinishReason)
	}
	if _, c := ask(`,"logit_bias":{"40":100},"stop_token_ids":[40],"min_tokens":7`); c.Usage.CompletionTokens != 8 || c.Choices[0].FinishReason != "stop" {
		t.Errorf("min_tokens 7: %+v (%s)", c.Usage, c.Choices[0].FinishReason)
	}
}

// TestCompletions asks for completions of prompts in each form: each prompt
// gets what it gets alone, streamed or not.
func TestCompletions(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	body := func(prompt, more string) string {
		return `{"model":"tiny-chat","prompt":` + prompt + `,"temperature":0` + more + `}`
	}
	complete := func(prompt, more string) completion {
		t.Helper()
		status, _, text := s.do("POST", "/v1/completions", body(prompt, more))
		if status != 200 {
			t.Fatalf("%s: status %d: %s", prompt, status, text)
		}
		return decode(t, text)
	}
	prompts := []string{`"one two three"`, `"x"`, `"to be or not"`}
	var alone []string
	tokens := 0
	for _, p := range prompts {
		c := complete(p, `,"ignore_eos":true`)
		if c.Object != "text_completion" || len(c.Choices) != 1 || c.Usage.CompletionTokens != 16 || c.Choices[0].FinishReason != "length" {
			t.Errorf("answer %+v", c)
		}
		alone = append(alone, c.Choices[0].Text)
		tokens += c.Usage.PromptTokens
	}
	all := "[" + strings.Join(prompts, ",") + "]"
	c := complete(all, `,"ignore_eos":true`)
	if len(c.Choices) != 3 || c.Usage.PromptTokens != tokens || c.Usage.CompletionTokens != 48 {
		t.Fatalf("answer %+v", c)
	}
	for i, choice := range c.Choices {
		if choice.Index != i || choice.Text != alone[i] {
			t.Errorf("choice %d: %q, alone %q", choice.Index, choice.Text, alone[i])
		}
	}
	status, _, stream := s.do("POST", "/v1/completions", body(all, `,"ignore_eos":true,"stream":true`))
	data, ok := strings.CutSuffix(stream, "\n\ndata: [DONE]\n\n")
	if status != 200 || !ok {
		t.Fatalf("status %d: %s", status, stream)
	}
	streamed := make([]string, len(prompts))
	for _, e := range strings.Split(data, "\n\n") {
		for _, choice := range decode(t, strings.TrimPrefix(e, "data: ")).Choices {
			streamed[choice.Index] += choice.Text + choice.FinishReason
		}
	}
	for i := range alone {
		if streamed[i] != alone[i]+"length" {
			t.Errorf("choice %d: streamed %q, alone %q", i, streamed[i], alone[i])
		}
	}
	ids := complete(`[40,41,42]`, "")
	if lists := complete(`[[40,41,42],[40]]`, ""); ids.Usage.PromptTokens != 3 || lists.Usage.PromptTokens != 4 || lists.Choices[0].Text != ids.Choices[0].Text {
		t.Errorf("tokens %+v, lists %+v", ids, lists)
	}
	if c := complete("["+strings.Repeat(`"x",`, 63)+`"x"]`, `,"max_tokens":2,"ignore_eos":true`); len(c.Choices) != 64 || c.Usage.CompletionTokens != 128 {
		t.Errorf("64 prompts: %d choices, %+v", len(c.Choices), c.Usage)
	}
}

// TestTokens goes from text to tokens and back, and finds that completions
// count the same tokens.
func TestTokens(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	post := func(path, body string, into any) {
		t.Helper()
		status, _, text := s.do("POST", path, body)
		if status != 200 {
			t.Fatalf("%s %s: status %d: %s", path, body, status, text)
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	type tokenized struct {
		Count       int
		MaxModelLen int `json:"max_model_len"`
		Tokens      []int32
		TokenStrs   []string `json:"token_strs"`
	}
	for _, prompt := range []string{"one two, three", "", "Grüße ☺\n", "<|im_start|>user\nhi<|im_end|>"} {
		quoted, _ := json.Marshal(prompt)
		var got tokenized
		post("/tokenize", `{"prompt":`+string(quoted)+`,"add_special_tokens":false,"return_token_strs":true}`, &got)
		if got.Count != len(got.Tokens) || got.Count != len(got.TokenStrs) || got.MaxModelLen == 0 {
			t.Errorf("%q: %+v", prompt, got)
		}
		ids, _ := json.Marshal(got.Tokens)
		var back struct{ Prompt string }
		if post("/detokenize", `{"tokens":`+string(ids)+`}`, &back); back.Prompt != prompt {
			t.Errorf("%q became %q", prompt, back.Prompt)
		}
	}
	var plain, chat tokenized
	post("/tokenize", `{"prompt":"one two"}`, &plain)
	post("/tokenize", `{"model":"tiny-chat","messages":[{"role":"user","content":"one two"}]}`, &chat)
	var c completion
	post("/v1/completions", `{"model":"tiny-chat","prompt":"one two","max_tokens":1}`, &c)
	if c.Usage.PromptTokens != plain.Count || plain.TokenStrs != nil {
		t.Errorf("tokenized %+v, completed %+v", plain, c.Usage)
	}
	if _, c := s.ask(chatBody("tiny-chat", "one two", `,"max_tokens":1`)); c.Usage.PromptTokens != chat.Count {
		t.Errorf("messages tokenized %+v, answered %+v", chat, c.Usage)
	}
	var v struct{ Version string }
	if status, _, text := s.do("GET", "/version", ""); status != 200 || json.Unmarshal([]byte(text), &v) != nil || v.Version == "" || !strings.Contains(run(t, "", "version").stdout, v.Version) {
		t.Errorf("version: %d %s", status, text)
	}
}

// TestTogether has several clients ask at once: each gets what it gets alone.
func TestTogether(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	bodies := make([]string, 8)
	alone := make([]string, len(bodies))
	for i := range bodies {
		bodies[i] = chatBody("tiny-chat", strings.Repeat("word ", i+1), fmt.Sprintf(`,"seed":%d,"max_tokens":60`, i))
		alone[i], _ = s.ask(bodies[i])
	}
	together := make([]chan string, len(bodies))
	for i := range bodies {
		together[i] = make(chan string, 1)
		go func() {
			res, err := http.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(bodies[i]))
			if err != nil {
				together[i] <- err.Error()
				return
			}
			defer res.Body.Close()
			var c completion
			if err := json.NewDecoder(res.Body).Decode(&c); err != nil || len(c.Choices) != 1 {
				together[i] <- fmt.Sprint("no answer: ", err)
				return
			}
			together[i] <- c.Choices[0].Message.Content
		}()
	}
	for i, c := range together {
		if got := <-c; got != alone[i] {
			t.Errorf("request %d: together %q, alone %q", i, got, alone[i])
		}
	}
}

func TestErrors(t *testing.T) {
	s := serve(t, "--model", tinyModel, "--context", "128", "--served-model-name", "org/some name")
	const name = "org/some name"
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		code, param, says        string
	}{
		{"no JSON", "POST", "/v1/chat/completions", `{"model":`, 400, "invalid_json", "model", "not valid JSON"},
		{"temperature", "POST", "/v1/chat/completions", chatBody(name, "hi", `,"temperature":-1`), 400, "invalid_value", "temperature", "between 0 and 2"},
		{"role", "POST", "/v1/chat/completions", strings.Replace(chatBody(name, "hi", ""), "user", "king", 1), 400, "invalid_value", "messages[0].role", "king"},
		{"no messages", "POST", "/v1/chat/completions", `{"model":"org/some name","messages":[]}`, 400, "missing_required_parameter", "messages", "required"},
		{"tools", "POST", "/v1/chat/completions", chatBody(name, "hi", `,"tools":[{"type":"function"}]`), 400, "unsupported_parameter", "tools", "not supported"},
		{"repetition penalty", "POST", "/v1/chat/completions", chatBody(name, "hi", `,"repetition_penalty":0`), 400, "invalid_value", "repetition_penalty", "above 0"},
		{"bias of no token", "POST", "/v1/chat/completions", chatBody(name, "hi", `,"logit_bias":{"2000000000":1}`), 400, "invalid_value", "logit_bias", "2000000000"},
		{"no such stop token", "POST", "/v1/chat/completions", chatBody(name, "hi", `,"stop_token_ids":[2000000000]`), 400, "invalid_value", "stop_token_ids[0]", "2000000000"},
		{"no prompt", "POST", "/v1/completions", `{"model":"org/some name"}`, 400, "missing_required_parameter", "prompt", "required"},
		{"no such token", "POST", "/v1/completions", `{"model":"org/some name","prompt":[[1],[2000000000]]}`, 400, "invalid_value", "prompt[1][0]", "2000000000"},
		{"suffix", "POST", "/v1/completions", `{"model":"org/some name","prompt":"a","suffix":"b"}`, 400, "unsupported_parameter", "suffix", "not supported"},
		{"long prompt to complete", "POST", "/v1/completions", `{"model":"org/some name","prompt":["a","` + strings.Repeat("long ", 500) + `"]}`, 400, "context_length_exceeded", "prompt[1]", "holds 128 tokens, but the prompt has "},
		{"nothing to tokenize", "POST", "/tokenize", `{}`, 400, "missing_required_parameter", "prompt", "messages"},
		{"no such token to detokenize", "POST", "/detokenize", `{"tokens":[1,2000000000]}`, 400, "invalid_value", "tokens[1]", "2000000000"},
		{"model", "POST", "/v1/chat/completions", chatBody("tiny-chat", "hi", ""), 404, "model_not_found", "model", "tiny-chat"},
		{"long prompt", "POST", "/v1/chat/completions", chatBody(name, strings.Repeat("long ", 500), ""), 400, "context_length_exceeded", "messages", "holds 128 tokens, but the messages have "},
		{"long completion", "POST", "/v1/chat/completions", chatBody(name, "hi", `,"max_tokens":127`), 400, "context_length_exceeded", "messages", "asks for 127"},
		{"large body", "POST", "/v1/chat/completions", chatBody(name, strings.Repeat("x", 5<<20), ""), 413, "request_too_large", "", "4194304"},
		{"other model", "GET", "/v1/models/gpt", "", 404, "model_not_found", "model", "gpt"},
		{"path", "GET", "/v1/nothing", "", 404, "not_found", "", "no such path"},
		{"method", "GET", "/v1/chat/completions", "", 405, "method_not_allowed", "", "POST"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ask := s.do
			if c.status == 413 {
				ask = s.doUnread
			}
			status, header, text := ask(c.method, c.path, c.body)
			e := decode(t, text).Error
			if e == nil || e.Code == nil {
				t.Fatalf("status %d: %s", status, text)
			}
			param := ""
			if e.Param != nil {
				param = *e.Param
			}
			if status != c.status || *e.Code != c.code || param != c.param || !strings.Contains(e.Message, c.says) || e.Type != "invalid_request_error" {
				t.Errorf("status %d: %s\nwant %d %s %q saying %q", status, text, c.status, c.code, c.param, c.says)
			}
			if header.Get("X-Request-Id") == "" {
				t.Error("no X-Request-Id")
			}
		})
	}
	if status, _, text := s.do("GET", "/v1/models/org/some%20name", ""); status != 200 || !strings.Contains(text, `"id":"org/some name"`) || !strings.Contains(text, `"max_model_len":128`) {
		t.Errorf("model: %d %s", status, text)
	}
	for path, says := range map[string]string{"/health": "ok", "/health/ready": "ready", "/v1/models": name, "/metrics": "holdfast_kv_blocks_used 0"} {
		if status, _, text := s.do("GET", path, ""); status != 200 || !strings.Contains(text, says) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	for _, secret := range []string{"long long", "xxxx"} {
		if strings.Contains(s.text(), secret) {
			t.Errorf("the log holds a prompt: %q", secret)
		}
	}
}

func TestRealModel(t *testing.T) {
	needReal(t)
	s := serve(t, "--model", realModel)
	body := chatBody(realName, "What is the largest ocean on Earth?", `,"temperature":0,"max_tokens":24`)
	text, c := s.ask(body)
	if !strings.Contains(text, "Pacific") {
		t.Errorf("answer %q", text)
	}
	streamed, reason, _ := s.askEvents(strings.Replace(body, `{`, `{"stream":true,`, 1))
	if streamed != text || reason != c.Choices[0].FinishReason {
		t.Errorf("streamed %q (%s), in one piece %q (%s)", streamed, reason, text, c.Choices[0].FinishReason)
	}
}
