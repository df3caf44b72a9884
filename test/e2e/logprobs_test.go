package e2e

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// logprobs is what the tests read of log-probabilities, of a chat or of none.
type logprobs struct {
	Content []struct {
		Token       string
		Logprob     float64
		Bytes       []int
		TopLogprobs []struct {
			Token   string
			Logprob float64
		} `json:"top_logprobs"`
	}
	Tokens        []string
	TokenLogprobs []*float64           `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

// TestChoices asks for several completions at once: each is what the same seed
// gives again, and they differ among themselves.
func TestChoices(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	ask := func(more string) completion {
		t.Helper()
		status, _, text := s.do("POST", "/v1/completions", `{"model":"tiny-chat","prompt":["one two","x"],"n":3,"seed":5,"ignore_eos":true`+more+`}`)
		if status != 200 {
			t.Fatalf("status %d: %s", status, text)
		}
		return decode(t, text)
	}
	a, b := ask(""), ask("")
	if len(a.Choices) != 6 || a.Usage.CompletionTokens != 6*16 || !reflect.DeepEqual(a.Choices, b.Choices) {
		t.Fatalf("%+v\nand again %+v", a, b)
	}
	for i, c := range a.Choices {
		if c.Index != i || i > 0 && c.Text == a.Choices[i-1].Text {
			t.Errorf("choice %d has index %d and text %q", i, c.Index, c.Text)
		}
	}
	for i, c := range ask(`,"temperature":0`).Choices[:3] {
		if alone := ask(`,"temperature":0,"logprobs":1`).Choices[0].Text; c.Text != alone {
			t.Errorf("greedy choice %d is %q, another %q", i, c.Text, alone)
		}
	}
	_, _, text := s.do("POST", "/v1/chat/completions", chatBody("tiny-chat", "hi", `,"n":2,"seed":1,"max_tokens":20`))
	chat := decode(t, text)
	if len(chat.Choices) != 2 || chat.Choices[0].Message.Content == chat.Choices[1].Message.Content || chat.Choices[1].Index != 1 {
		t.Errorf("chat %+v", chat)
	}
}

// TestLogprobs scores what was made: the log-probabilities that came with a
// completion are those of the same tokens in a prompt, to the last bit.
func TestLogprobs(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	ask := func(body string) completion {
		t.Helper()
		status, _, text := s.do("POST", "/v1/completions", `{"model":"tiny-chat",`+body+`}`)
		if status != 200 {
			t.Fatalf("%s: status %d: %s", body, status, text)
		}
		return decode(t, text)
	}
	const prompt = "Grüße ☺ one two"
	made := ask(`"prompt":"` + prompt + `","max_tokens":12,"ignore_eos":true,"temperature":0,"echo":true,"logprobs":4`)
	c := made.Choices[0]
	l := c.Logprobs
	n := made.Usage.PromptTokens + 12
	if made.Usage.CompletionTokens != 12 || l == nil || len(l.Tokens) != n || len(l.TokenLogprobs) != n || len(l.TopLogprobs) != n || len(l.TextOffset) != n {
		t.Fatalf("%+v of %+v", l, made.Usage)
	}
	if !strings.HasPrefix(c.Text, prompt) || l.TokenLogprobs[0] != nil || l.TopLogprobs[0] != nil {
		t.Errorf("the echo is %q, its first token %v", c.Text, l.TokenLogprobs[0])
	}
	runes := []rune(c.Text)
	for i := range n {
		token, at := l.Tokens[i], l.TextOffset[i]
		if !strings.HasPrefix(token, "bytes:") && !strings.HasPrefix(string(runes[at:]), token) {
			t.Errorf("token %d, %q, is not at character %d of %q", i, token, at, c.Text)
		}
		if i == 0 {
			continue
		}
		if k := len(l.TopLogprobs[i]); k != 4 && k != 5 || l.TopLogprobs[i][token] != *l.TokenLogprobs[i] || *l.TokenLogprobs[i] >= 0 {
			t.Errorf("token %d, %q: %v of %v", i, token, *l.TokenLogprobs[i], l.TopLogprobs[i])
		}
		if best := slices.Max(slices.Collect(maps.Values(l.TopLogprobs[i]))); i >= made.Usage.PromptTokens && *l.TokenLogprobs[i] != best {
			t.Errorf("the greedy token %q has %v, the likeliest %v", token, *l.TokenLogprobs[i], best)
		}
	}
	quoted, _ := json.Marshal(c.Text)
	for _, limit := range []string{"0", "1"} {
		again := ask(`"prompt":` + string(quoted) + `,"max_tokens":` + limit + `,"echo":true,"logprobs":4`).Choices[0].Logprobs
		if len(again.Tokens) < n || !reflect.DeepEqual(again.Tokens[:n], l.Tokens) {
			continue // the text has another tokenisation than the one that was made
		}
		if limit == "0" && len(again.Tokens) != n || limit == "1" && len(again.Tokens) != n+1 || !reflect.DeepEqual(again.TokenLogprobs[:n], l.TokenLogprobs) || !reflect.DeepEqual(again.TopLogprobs[:n], l.TopLogprobs) {
			t.Errorf("max_tokens %s: scored %+v\nmade %+v", limit, again, l)
		}
	}

	// A chat has the same of its answer, streamed or not.
	body := chatBody("tiny-chat", "hi", `,"temperature":0,"max_tokens":12,"logprobs":true,"top_logprobs":2`)
	text, chat := s.ask(body)
	got := ""
	for _, one := range chat.Choices[0].Logprobs.Content {
		for _, b := range one.Bytes {
			got += string([]byte{byte(b)})
		}
		if len(one.TopLogprobs) != 2 || one.TopLogprobs[0].Logprob != one.Logprob {
			t.Errorf("token %+v", one)
		}
	}
	if string([]rune(got)) != text || len(chat.Choices[0].Logprobs.Content) != chat.Usage.CompletionTokens {
		t.Errorf("the tokens make %q, the answer is %q", got, text)
	}
	_, _, stream := s.do("POST", "/v1/chat/completions", strings.Replace(body, `{`, `{"stream":true,`, 1))
	var streamed logprobs
	for _, e := range strings.Split(strings.TrimSuffix(stream, "\n\ndata: [DONE]\n\n"), "\n\n") {
		if l := decode(t, strings.TrimPrefix(e, "data: ")).Choices[0].Logprobs; l != nil {
			streamed.Content = append(streamed.Content, l.Content...)
		}
	}
	if !reflect.DeepEqual(streamed.Content, chat.Choices[0].Logprobs.Content) {
		t.Errorf("streamed %+v\nin one piece %+v", streamed.Content, chat.Choices[0].Logprobs.Content)
	}
}
