package api

import (
	"errors"
	"fmt"
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
		"n":1.0,"tools":[ ],"logit_bias":{},"response_format":{ "type": "text" },"logprobs":false,"store":null}`
	r, err := DecodeChatRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Other = nil
	r.Messages[1].Other = nil
	want := &ChatRequest{
		Model: "m",
		Messages: Messages{
			{Role: "developer", Content: Text("Be\nbrief.")},
			{Role: "user", Content: Text("Grüße\n☺")},
		},
		MaxTokens: new(int64(7)), MaxCompletionTokens: new(int64(9)),
		Temperature: new(0.0), TopP: new(0.5), TopK: new(int64(-1)), Seed: new(int64(-3)),
		Stop: Stop{"a", "b"}, Stream: true, StreamOptions: &StreamOptions{IncludeUsage: true}, User: "u",
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
	flat := strings.Repeat(`[],`, 2*MaxDepth)
	if _, err := DecodeChatRequest([]byte(`{` + hello + `,"zz":[` + flat + `1]}`)); err != nil {
		t.Error(err)
	}
}

// TestNullEqualsAbsent gives every parameter as null.
func TestNullEqualsAbsent(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{` + hello)
	typ := reflect.TypeFor[ChatRequest]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
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
		{"seed is a boolean", `{` + hello + `,"seed":true}`, CodeInvalidType, "seed"},
		{"stop is a number", `{` + hello + `,"stop":1}`, CodeInvalidType, "stop"},
		{"stop holds a number", `{` + hello + `,"stop":["a",1]}`, CodeInvalidType, "stop[1]"},
		{"five stops", `{` + hello + `,"stop":["a","b","c","d","e"]}`, CodeInvalidValue, "stop"},
		{"empty stop", `{` + hello + `,"stop":["a",""]}`, CodeInvalidValue, "stop[1]"},
		{"long stop", `{` + hello + `,"stop":"` + strings.Repeat("x", MaxStopBytes+1) + `"}`, CodeInvalidValue, "stop[0]"},
		{"stream is a string", `{` + hello + `,"stream":"true"}`, CodeInvalidType, "stream"},
		{"stream_options alone", `{` + hello + `,"stream_options":{}}`, CodeInvalidValue, "stream_options"},
		{"include_usage is a number", `{` + hello + `,"stream":true,"stream_options":{"include_usage":1}}`, CodeInvalidType, "stream_options.include_usage"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.body, c.code, c.param) })
	}
}

// TestUnsupported gives each parameter of the table a value that asks for something.
func TestUnsupported(t *testing.T) {
	values := map[string]string{
		"n": `2`, "logprobs": `true`, "store": `true`, "tools": `[{}]`, "functions": `[{}]`, "logit_bias": `{"1":2}`,
		"modalities": `["text","audio"]`, "response_format": `{"type":"json_object"}`, "frequency_penalty": `0.1`,
		"presence_penalty": `-0.1`, "top_logprobs": `3`, "add_generation_prompt": `false`, "skip_special_tokens": `false`,
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
		}
		if !reflect.DeepEqual(r, r2) {
			t.Fatalf("decoded %+v\nagain   %+v", r, r2)
		}
	})
}
