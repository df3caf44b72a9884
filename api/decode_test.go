package api

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

const hello = `"model":"m","messages":[{"role":"user","content":"Hello"}]`

func TestDecodeChatRequest(t *testing.T) {
	body := `{"model":"m","messages":[
		{"role":"developer","content":[{"type":"text","text":"Be"},{"type":"text","text":"brief."}]},
		{"role":"user","content":"Grüße\n\u263a","name":"ignored"}],
		"max_tokens":7,"max_completion_tokens":9,"temperature":0,"top_p":0.5,"top_k":-1,"seed":-3,
		"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false},
		"user":"u","metadata":{"k":"v"},"nobody_knows_this":[1,{"x":null}],
		"min_p":0.1,"repetition_penalty":1.5,"frequency_penalty":-2,"presence_penalty":2,"logit_bias":{"10":-100,"9":1.5,"0":100},
		"bad_words":["x"," y"],"min_tokens":9,"ignore_eos":true,"stop_token_ids":[7,0],
		"n":1,"tools":[ ],"response_format":{ "type": "text" },"logprobs":true,"top_logprobs":20,"store":null,"priority":-8,
		"add_generation_prompt":false,"chat_template_kwargs":{"enable_thinking":false,"a":null,"b":"x","c":3.0,"d":-0.5}}`
	r, err := DecodeChatRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Other = nil
	r.Messages[1].Other = nil
	want := &ChatRequest{
		Options: Options{
			Model:       "m",
			Temperature: new(0.0), TopP: new(0.5), TopK: new(int64(-1)), MinP: new(0.1), Seed: new(int64(-3)),
			RepetitionPenalty: new(1.5), FrequencyPenalty: new(-2.0), PresencePenalty: new(2.0),
			LogitBias: LogitBias{{0, 100}, {9, 1.5}, {10, -100}}, BadWords: BadWords{"x", " y"},
			Stop: Stop{"a", "b"}, StopTokenIDs: Tokens{7, 0}, MinTokens: new(int64(9)), IgnoreEOS: true, N: new(int64(1)), Priority: new(int64(-8)),
			Stream: true, StreamOptions: &StreamOptions{IncludeUsage: true}, User: "u",
		},
		Messages: Messages{
			{Role: "developer", Content: Text("Be\nbrief.")},
			{Role: "user", Content: Text("Grüße\n☺")},
		},
		MaxTokens: new(int64(7)), MaxCompletionTokens: new(int64(9)),
		Logprobs: true, TopLogprobs: new(int64(20)), AddGenerationPrompt: new(false),
		ChatTemplateKwargs: TemplateVars{"enable_thinking": false, "a": nil, "b": "x", "c": int64(3), "d": -0.5},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if r.TokenLimit() != 9 || !r.IncludeUsage() {
		t.Errorf("TokenLimit() = %d, IncludeUsage() = %v; want 9, true", r.TokenLimit(), r.IncludeUsage())
	}
}

// TestDepthCountsNoStrings has brackets where they do not nest.
func TestDepthCountsNoStrings(t *testing.T) {
	text := strings.Repeat(`[`, 2*MaxDepth)
	for _, s := range []string{text, `\"` + text, `\\\"` + text, strings.Repeat(`[]`, 2*MaxDepth)} {
		if _, err := DecodeChatRequest([]byte(`{"model":"m","messages":[{"role":"user","content":"` + s + `"}]}`)); err != nil {
			t.Errorf("%.20q: %v", s, err)
		}
	}
	flat := strings.Repeat(`":::",[],`, 2*MaxDepth)
	if _, err := DecodeChatRequest([]byte(`{` + hello + `,"zz":[` + flat + `1]}`)); err != nil {
		t.Error(err)
	}
}

// TestNullEqualsAbsent gives every parameter as null.
func TestNullEqualsAbsent(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{` + hello)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[ChatRequest]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "model" && name != "messages" {
			fmt.Fprintf(&b, `,%q:null`, name)
		}
	}
	for name := range unsupportedChat {
		fmt.Fprintf(&b, `,%q:null`, name)
	}
	got, err := DecodeChatRequest([]byte(b.String() + `}`))
	if err != nil {
		t.Fatal(err)
	}
	want, err := DecodeChatRequest([]byte(`{` + hello + `}`))
	if err != nil {
		t.Fatal(err)
	}
	got.Other = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	for _, c := range []struct{ name, body, code, param string }{
		{"empty", ``, CodeInvalidJSON, ""},
		{"blank", " \n", CodeInvalidJSON, ""},
		{"not an object", `[1]`, CodeInvalidJSON, ""},
		{"null", `null`, CodeInvalidJSON, ""},
		{"truncated", `{"model":"m","messages":[{"role":`, CodeInvalidJSON, "messages[0].role"},
		{"truncated list", `{"stop":[`, CodeInvalidJSON, "stop"},
		{"trailing bytes", `{` + hello + `} {}`, CodeInvalidJSON, ""},
		{"duplicate name", `{` + hello + `,"model":"n"}`, CodeInvalidJSON, "model"},
		{"duplicate unknown name", `{` + hello + `,"zz":1,"zz":1}`, CodeInvalidJSON, "zz"},
		{"duplicate name in a message", `{"model":"m","messages":[{"role":"user","role":"user","content":""}]}`, CodeInvalidJSON, "messages[0].role"},
		{"invalid UTF-8", "{\"model\":\"m\xff\"}", CodeInvalidJSON, "model"},
		{"invalid UTF-8 in an unknown name", `{` + hello + ",\"\xff\":1}", CodeInvalidJSON, ""},
		{"long duplicate name", `{"` + strings.Repeat("x", 9999) + `":1,"` + strings.Repeat("x", 9999) + `":1}`, CodeInvalidJSON, strings.Repeat("x", 128) + "..."},
		{"lone surrogate", `{"model":"\ud800"}`, CodeInvalidJSON, "model"},
		{"too deep", `{` + hello + `,"zz":` + deep(MaxDepth) + `}`, CodeInvalidJSON, ""},
		{"far too deep", deep(100_000), CodeInvalidJSON, ""},
		{"far too deep in an object", `{"zz":` + strings.Repeat(`[`, 100_000), CodeInvalidJSON, ""},

		{"too many members", `{` + hello + `,"zz":{` + biases(MaxMembers) + `}}`, CodeInvalidJSON, ""},
		{"too many members in all", `{` + hello + `,"zz":[` + strings.Repeat(`{"a":1},`, MaxMembers) + `1]}`, CodeInvalidJSON, ""},
		{"no model", `{"messages":[{"role":"user","content":"x"}]}`, CodeMissingParameter, "model"},
		{"model is a number", `{"model":1}`, CodeInvalidType, "model"},
		{"no messages", `{"model":"m"}`, CodeMissingParameter, "messages"},
		{"empty messages", `{"model":"m","messages":[]}`, CodeMissingParameter, "messages"},
		{"messages is a string", `{"model":"m","messages":"x"}`, CodeInvalidType, "messages"},
		{"message is a string", `{"model":"m","messages":["x"]}`, CodeInvalidType, "messages[0]"},
		{"message is null", `{"model":"m","messages":[null]}`, CodeMissingParameter, "messages[0].role"},
		{"too many messages", `{"model":"m","messages":[` + strings.Repeat(`{},`, MaxMessages) + `{}]}`, CodeInvalidValue, "messages"},
		{"unknown role", `{"model":"m","messages":[{"role":"king","content":"x"}]}`, CodeInvalidValue, "messages[0].role"},
		{"tool role", `{"model":"m","messages":[{"role":"tool","content":"x"}]}`, CodeUnsupportedParameter, "messages[0].role"},
		{"no content", `{"model":"m","messages":[{"role":"user"}]}`, CodeMissingParameter, "messages[0].content"},
		{"content is a number", `{"model":"m","messages":[{"role":"user","content":5}]}`, CodeInvalidType, "messages[0].content"},
		{"part is a string", `{"model":"m","messages":[{"role":"user","content":["x"]}]}`, CodeInvalidType, "messages[0].content[0]"},
		{"image", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"image_url","image_url":{}}]}]}`, CodeUnsupportedParameter, "messages[0].content[1]"},
		{"part without text", `{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}`, CodeMissingParameter, "messages[0].content[0]"},
		{"part without type", `{"model":"m","messages":[{"role":"user","content":[{}]}]}`, CodeMissingParameter, "messages[0].content[0]"},
		{"tool calls", `{"model":"m","messages":[{"role":"assistant","content":"","tool_calls":[{}]}]}`, CodeUnsupportedParameter, "messages[0].tool_calls"},

		{"temperature -1", `{` + hello + `,"temperature":-1}`, CodeInvalidValue, "temperature"},
		{"temperature 3", `{` + hello + `,"temperature":3}`, CodeInvalidValue, "temperature"},
		{"temperature is a string", `{` + hello + `,"temperature":"1"}`, CodeInvalidType, "temperature"},
		{"temperature 1e400", `{` + hello + `,"temperature":1e400}`, CodeInvalidValue, "temperature"},
		{"top_p 2", `{` + hello + `,"top_p":2}`, CodeInvalidValue, "top_p"},
		{"top_k -2", `{` + hello + `,"top_k":-2}`, CodeInvalidValue, "top_k"},
		{"max_tokens 0", `{` + hello + `,"max_tokens":0}`, CodeInvalidValue, "max_tokens"},
		{"max_tokens 1.5", `{` + hello + `,"max_tokens":1.5}`, CodeInvalidType, "max_tokens"},
		{"max_tokens 1e99", `{` + hello + `,"max_tokens":99999999999999999999}`, CodeInvalidValue, "max_tokens"},
		{"max_completion_tokens 2^40", `{` + hello + `,"max_completion_tokens":1099511627776}`, CodeInvalidValue, "max_completion_tokens"},
		{"n 0", `{` + hello + `,"n":0}`, CodeInvalidValue, "n"},
		{"n 129", `{` + hello + `,"n":129}`, CodeInvalidValue, "n"},
		{"n 1.5", `{` + hello + `,"n":1.5}`, CodeInvalidType, "n"},
		{"priority 9", `{` + hello + `,"priority":9}`, CodeInvalidValue, "priority"},
		{"priority -9", `{` + hello + `,"priority":-9}`, CodeInvalidValue, "priority"},
		{"logprobs is a number", `{` + hello + `,"logprobs":1}`, CodeInvalidType, "logprobs"},
		{"top_logprobs 21", `{` + hello + `,"logprobs":true,"top_logprobs":21}`, CodeInvalidValue, "top_logprobs"},
		{"top_logprobs -1", `{` + hello + `,"logprobs":true,"top_logprobs":-1}`, CodeInvalidValue, "top_logprobs"},
		{"top_logprobs alone", `{` + hello + `,"top_logprobs":1}`, CodeInvalidValue, "top_logprobs"},
		{"template variable is a list", `{` + hello + `,"chat_template_kwargs":{"a":[]}}`, CodeUnsupportedParameter, "chat_template_kwargs.a"},
		{"template variable 1e400", `{` + hello + `,"chat_template_kwargs":{"a":1e400}}`, CodeInvalidValue, "chat_template_kwargs.a"},
		{"template variable twice", `{` + hello + `,"chat_template_kwargs":{"a":1,"a":1}}`, CodeInvalidJSON, "chat_template_kwargs.a"},
		{"template variables cut short", `{` + hello + `,"chat_template_kwargs":{"a":`, CodeInvalidJSON, "chat_template_kwargs.a"},
		{"template variables are a list", `{` + hello + `,"chat_template_kwargs":[]}`, CodeInvalidType, "chat_template_kwargs"},
		{"33 template variables", `{` + hello + `,"chat_template_kwargs":{` + biases(MaxTemplateVars+1) + `}}`, CodeInvalidValue, "chat_template_kwargs"},
		{"seed is a boolean", `{` + hello + `,"seed":true}`, CodeInvalidType, "seed"},
		{"stop is a number", `{` + hello + `,"stop":1}`, CodeInvalidType, "stop"},
		{"stop holds a number", `{` + hello + `,"stop":["a",1]}`, CodeInvalidType, "stop[1]"},
		{"five stops", `{` + hello + `,"stop":["a","b","c","d","e"]}`, CodeInvalidValue, "stop"},
		{"empty stop", `{` + hello + `,"stop":["a",""]}`, CodeInvalidValue, "stop[1]"},
		{"long stop", `{` + hello + `,"stop":"` + strings.Repeat("x", MaxStopBytes+1) + `"}`, CodeInvalidValue, "stop[0]"},
		{"min_p -0.1", `{` + hello + `,"min_p":-0.1}`, CodeInvalidValue, "min_p"},
		{"min_p 1.1", `{` + hello + `,"min_p":1.1}`, CodeInvalidValue, "min_p"},
		{"min_p is a list", `{` + hello + `,"min_p":[]}`, CodeInvalidType, "min_p"},
		{"repetition_penalty 0", `{` + hello + `,"repetition_penalty":0}`, CodeInvalidValue, "repetition_penalty"},
		{"repetition_penalty -1", `{` + hello + `,"repetition_penalty":-1}`, CodeInvalidValue, "repetition_penalty"},
		{"repetition_penalty 1e400", `{` + hello + `,"repetition_penalty":1e400}`, CodeInvalidValue, "repetition_penalty"},
		{"frequency_penalty 2.1", `{` + hello + `,"frequency_penalty":2.1}`, CodeInvalidValue, "frequency_penalty"},
		{"presence_penalty -2.1", `{` + hello + `,"presence_penalty":-2.1}`, CodeInvalidValue, "presence_penalty"},
		{"presence_penalty is a boolean", `{` + hello + `,"presence_penalty":true}`, CodeInvalidType, "presence_penalty"},
		{"min_tokens -1", `{` + hello + `,"min_tokens":-1}`, CodeInvalidValue, "min_tokens"},
		{"min_tokens above max_tokens", `{` + hello + `,"min_tokens":8,"max_tokens":7}`, CodeInvalidValue, "min_tokens"},
		{"min_tokens above max_completion_tokens", `{` + hello + `,"min_tokens":8,"max_tokens":9,"max_completion_tokens":7}`, CodeInvalidValue, "min_tokens"},
		{"ignore_eos is a number", `{` + hello + `,"ignore_eos":1}`, CodeInvalidType, "ignore_eos"},
		{"stop_token_ids is a number", `{` + hello + `,"stop_token_ids":1}`, CodeInvalidType, "stop_token_ids"},
		{"stop token is null", `{` + hello + `,"stop_token_ids":[1,null]}`, CodeInvalidType, "stop_token_ids[1]"},
		{"stop token is a string", `{` + hello + `,"stop_token_ids":["1"]}`, CodeInvalidType, "stop_token_ids[0]"},
		{"stop token 1.5", `{` + hello + `,"stop_token_ids":[1.5]}`, CodeInvalidType, "stop_token_ids[0]"},
		{"stop token -1", `{` + hello + `,"stop_token_ids":[2,-1]}`, CodeInvalidValue, "stop_token_ids[1]"},
		{"stop token 2^31", `{` + hello + `,"stop_token_ids":[2147483648]}`, CodeInvalidValue, "stop_token_ids[0]"},
		{"stop token 1e99", `{` + hello + `,"stop_token_ids":[99999999999999999999]}`, CodeInvalidValue, "stop_token_ids[0]"},
		{"129 stop tokens", `{` + hello + `,"stop_token_ids":[` + strings.Repeat(`1,`, MaxStopTokens) + `1]}`, CodeInvalidValue, "stop_token_ids"},
		{"stop_token_ids cut short", `{` + hello + `,"stop_token_ids":[1,`, CodeInvalidJSON, "stop_token_ids"},
		{"bad_words is a string", `{` + hello + `,"bad_words":"x"}`, CodeInvalidType, "bad_words"},
		{"bad word is a number", `{` + hello + `,"bad_words":["x",1]}`, CodeInvalidType, "bad_words[1]"},
		{"bad word is null", `{` + hello + `,"bad_words":[null]}`, CodeInvalidValue, "bad_words[0]"},
		{"empty bad word", `{` + hello + `,"bad_words":["x",""]}`, CodeInvalidValue, "bad_words[1]"},
		{"blank bad word", `{` + hello + `,"bad_words":["  "]}`, CodeInvalidValue, "bad_words[0]"},
		{"long bad word", `{` + hello + `,"bad_words":["` + strings.Repeat("x", MaxBadWordBytes+1) + `"]}`, CodeInvalidValue, "bad_words[0]"},
		{"513 bad words", `{` + hello + `,"bad_words":[` + strings.Repeat(`"x",`, MaxBadWords) + `"x"]}`, CodeInvalidValue, "bad_words"},
		{"logit_bias is a list", `{` + hello + `,"logit_bias":[1]}`, CodeInvalidType, "logit_bias"},
		{"logit_bias of a word", `{` + hello + `,"logit_bias":{"the":1}}`, CodeInvalidValue, "logit_bias"},
		{"logit_bias of -1", `{` + hello + `,"logit_bias":{"-1":1}}`, CodeInvalidValue, "logit_bias"},
		{"logit_bias of 01", `{` + hello + `,"logit_bias":{"1":1,"01":1}}`, CodeInvalidValue, "logit_bias"},
		{"logit_bias of 2^31", `{` + hello + `,"logit_bias":{"2147483648":1}}`, CodeInvalidValue, "logit_bias"},
		{"logit_bias twice", `{` + hello + `,"logit_bias":{"1":1,"1":1}}`, CodeInvalidJSON, "logit_bias[1]"},
		{"logit_bias 101", `{` + hello + `,"logit_bias":{"1":101}}`, CodeInvalidValue, "logit_bias"},
		{"logit_bias -100.5", `{` + hello + `,"logit_bias":{"1":-100.5}}`, CodeInvalidValue, "logit_bias"},
		{"logit_bias null", `{` + hello + `,"logit_bias":{"1":null}}`, CodeInvalidType, "logit_bias[1]"},
		{"logit_bias is a string", `{` + hello + `,"logit_bias":{"1":"2"}}`, CodeInvalidType, "logit_bias[1]"},
		{"logit_bias cut short", `{` + hello + `,"logit_bias":{"1":`, CodeInvalidJSON, "logit_bias[1]"},
		{"logit_bias cut shorter", `{` + hello + `,"logit_bias":{`, CodeInvalidJSON, "logit_bias"},
		{"1025 biases", `{` + hello + `,"logit_bias":{` + biases(MaxBiases+1) + `}}`, CodeInvalidValue, "logit_bias"},
		{"stream is a string", `{` + hello + `,"stream":"true"}`, CodeInvalidType, "stream"},
		{"stream_options alone", `{` + hello + `,"stream_options":{}}`, CodeInvalidValue, "stream_options"},
		{"include_usage is a number", `{` + hello + `,"stream":true,"stream_options":{"include_usage":1}}`, CodeInvalidType, "stream_options.include_usage"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.body, c.code, c.param) })
	}
}

// biases returns the members of a logit_bias for n tokens, descending.
func biases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `%q:1,`, fmt.Sprint(n-1-i))
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestBounds gives each parameter values at the ends of its range.
func TestBounds(t *testing.T) {
	for _, more := range []string{
		`"n":128`, `"priority":8`, `"logprobs":false,"top_logprobs":0`, `"logprobs":true,"top_logprobs":0`,
		`"chat_template_kwargs":{}`, `"chat_template_kwargs":{` + biases(MaxTemplateVars) + `}`,
		`"min_p":0`, `"min_p":1`, `"repetition_penalty":1e-9`, `"repetition_penalty":1e300`,
		`"frequency_penalty":2`, `"frequency_penalty":-2`, `"presence_penalty":2`, `"presence_penalty":-2`,
		`"min_tokens":0,"max_tokens":1`, `"min_tokens":7,"max_tokens":7`, `"min_tokens":2147483647`,
		`"ignore_eos":false`, `"stop_token_ids":[]`, `"stop_token_ids":[2147483647]`,
		`"stop_token_ids":[` + strings.Repeat(`1,`, MaxStopTokens-1) + `1]`,
		`"bad_words":[]`, `"bad_words":[` + strings.Repeat(`"x",`, MaxBadWords-1) + `"x"]`, `"bad_words":["` + strings.Repeat("x", MaxBadWordBytes) + `"]`,
		`"logit_bias":{}`, `"logit_bias":{"2147483647":100,"0":-100}`, `"logit_bias":{` + biases(MaxBiases) + `}`,
	} {
		r, err := DecodeChatRequest([]byte(`{` + hello + `,` + more + `}`))
		if err != nil {
			t.Errorf("%.80s: %v", more, err)
			continue
		}
		for i := 1; i < len(r.LogitBias); i++ {
			if r.LogitBias[i-1].Token >= r.LogitBias[i].Token {
				t.Fatalf("%.80s: the tokens do not ascend", more)
			}
		}
	}
}

// TestUnsupported gives each parameter of the table a value that asks for something.
func TestUnsupported(t *testing.T) {
	values := map[string]string{
		"store": `true`, "tools": `[{}]`, "functions": `[{}]`,
		"modalities": `["text","audio"]`, "response_format": `{"type":"json_object"}`,
		"skip_special_tokens": `false`,
	}
	for name := range unsupportedChat {
		v := values[name]
		if v == "" {
			v = `{"a":[1]}`
		}
		wantError(t, `{`+hello+`,"`+name+`":`+v+`}`, CodeUnsupportedParameter, name)
	}
}

func wantError(t *testing.T, body, code, param string) {
	t.Helper()
	_, err := DecodeChatRequest([]byte(body))
	wantErr(t, err, code, param)
}

func wantErr(t *testing.T, err error, code, param string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *Error", err, err)
	}
	gotParam := ""
	if e.Param != nil {
		gotParam = *e.Param
	}
	if e.Status != 400 || *e.Code != code || gotParam != param || e.Type != TypeInvalidRequest {
		t.Errorf("error %d %s param %q (%s), want 400 %s param %q", e.Status, *e.Code, gotParam, e.Message, code, param)
	}
	if e.Message == "" || len(e.Message) > 600 {
		t.Errorf("message of %d bytes: %.80q", len(e.Message), e.Message)
	}
}

func TestErrorBody(t *testing.T) {
	got, err := json.Marshal(ErrorBody{BadRequest(CodeInvalidValue, "n", "bad")})
	if want := `{"error":{"message":"bad","type":"invalid_request_error","param":"n","code":"invalid_value"}}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	got, err = json.Marshal(ErrorBody{BadRequest(CodeInvalidJSON, "", "bad")})
	if want := `{"error":{"message":"bad","type":"invalid_request_error","param":null,"code":"invalid_json"}}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func FuzzChatRequest(f *testing.F) {
	f.Add([]byte(`{` + hello + `}`))
	f.Add([]byte(`{` + hello + `,"stop":["a"],"stream":true,"stream_options":{"include_usage":true},"n":1,"zz":[{}]}`))
	f.Add([]byte(`{` + hello + `,"logit_bias":{"7":1,"5":-2e1},"stop_token_ids":[1,2],"min_tokens":3,"ignore_eos":true,"repetition_penalty":1.5}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"temperature":1e400}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeChatRequest(body)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != 400 || e.Code == nil || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
			if _, err := json.Marshal(ErrorBody{e}); err != nil {
				t.Fatalf("the error cannot be sent: %v", err)
			}
			return
		}
		// What was accepted is what its own encoding says.
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		r2, err := DecodeChatRequest(again)
		if err != nil {
			t.Fatalf("decode of %s: %v", again, err)
		}
		for _, x := range []*ChatRequest{r, r2} {
			x.Other = nil
			for i := range x.Messages {
				x.Messages[i].Other = nil
			}
			if len(x.Stop) == 0 {
				x.Stop = nil
			}
			if len(x.BadWords) == 0 {
				x.BadWords = nil
			}
			if len(x.StopTokenIDs) == 0 {
				x.StopTokenIDs = nil
			}
		}
		if !reflect.DeepEqual(r, r2) {
			t.Fatalf("decoded %+v\nagain   %+v", r, r2)
		}
	})
}

// TestStringEnd holds the search for a string's end to one byte after the other.
func TestStringEnd(t *testing.T) {
	slow := func(b []byte) int {
		for i := 0; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return i
			}
		}
		return len(b)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := make([]byte, rng.IntN(12))
		for i := range b {
			b[i] = `\"a`[rng.IntN(3)]
		}
		if got, want := stringEnd(b), slow(b); got != want {
			t.Fatalf("%q ends at %d, not %d", b, got, want)
		}
	}
}
