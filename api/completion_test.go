package api

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

const once = `"model":"m","prompt":"Once"`

func TestDecodeCompletionRequest(t *testing.T) {
	for _, c := range []struct {
		more string
		want Prompt
	}{
		{`"Once"`, Prompt{Texts: []string{"Once"}}},
		{`""`, Prompt{Texts: []string{""}}},
		{`["a","","☺"]`, Prompt{Texts: []string{"a", "", "☺"}}},
		{`[7]`, Prompt{Tokens: []Tokens{{7}}}},
		{`[7, 0,2147483647 ]`, Prompt{Tokens: []Tokens{{7, 0, 2147483647}}}},
		{`[[7],[8,9]]`, Prompt{Tokens: []Tokens{{7}, {8, 9}}}},
		{`[` + strings.Repeat(`"x",`, MaxPrompts-1) + `"x"]`, Prompt{Texts: strings.Split(strings.Repeat("x", MaxPrompts), "")}},
	} {
		r, err := DecodeCompletionRequest([]byte(`{"model":"m","prompt":` + c.more + `}`))
		if err != nil {
			t.Errorf("%.40s: %v", c.more, err)
			continue
		}
		if !reflect.DeepEqual(r.Prompt, c.want) || r.TokenLimit() != 16 || r.Prompt.Len() != len(c.want.Texts)+len(c.want.Tokens) {
			t.Errorf("%.40s: %+v, limit %d, want %+v", c.more, r.Prompt, r.TokenLimit(), c.want)
		}
	}
	r, err := DecodeCompletionRequest([]byte(`{` + once + `,"max_tokens":7,"min_tokens":7,"temperature":0.5,"stream":true,"stream_options":{"include_usage":true},
		"n":1,"best_of":1,"echo":false,"suffix":"","add_special_tokens":true,"messages":[],"logit_bias":{"5":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Other = nil
	want := &CompletionRequest{
		Options: Options{Model: "m", Temperature: new(0.5), MinTokens: new(int64(7)), LogitBias: LogitBias{{5, 1}},
			N: new(int64(1)), Stream: true, StreamOptions: &StreamOptions{IncludeUsage: true}},
		Prompt: Prompt{Texts: []string{"Once"}}, MaxTokens: new(int64(7)), BestOf: new(int64(1)), AddSpecialTokens: new(true),
	}
	if !reflect.DeepEqual(r, want) || r.TokenLimit() != 7 {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
}

func TestCompletionRefuses(t *testing.T) {
	prompt := func(p string) string { return `{"model":"m","prompt":` + p + `}` }
	for _, c := range []struct{ name, body, code, param string }{
		{"empty", ``, CodeInvalidJSON, ""},
		{"too deep", prompt(strings.Repeat(`[`, MaxDepth)), CodeInvalidJSON, ""},
		{"no model", `{"prompt":"x"}`, CodeMissingParameter, "model"},
		{"no prompt", `{"model":"m"}`, CodeMissingParameter, "prompt"},
		{"null", prompt(`null`), CodeMissingParameter, "prompt"},
		{"no prompts", prompt(`[]`), CodeMissingParameter, "prompt"},
		{"number", prompt(`5`), CodeInvalidType, "prompt"},
		{"object", prompt(`{"text":"x"}`), CodeInvalidType, "prompt"},
		{"boolean", prompt(`[true]`), CodeInvalidType, "prompt[0]"},
		{"list of null", prompt(`[null]`), CodeInvalidType, "prompt[0]"},
		{"string and null", prompt(`["a",null]`), CodeInvalidType, "prompt[1]"},
		{"string and token", prompt(`["a",1]`), CodeInvalidType, "prompt[1]"},
		{"token and string", prompt(`[1,"a"]`), CodeInvalidType, "prompt[1]"},
		{"token and list", prompt(`[1,[[2]]]`), CodeInvalidType, "prompt[1]"},
		{"list and token", prompt(`[[1],2]`), CodeInvalidType, "prompt[1]"},
		{"list of lists of strings", prompt(`[["a"]]`), CodeInvalidType, "prompt[0][0]"},
		{"list of lists of null", prompt(`[[1],[2,null]]`), CodeInvalidType, "prompt[1][1]"},
		{"no tokens", prompt(`[[1],[]]`), CodeInvalidValue, "prompt[1]"},
		{"token -1", prompt(`[1,-1]`), CodeInvalidValue, "prompt[1]"},
		{"token -1 in a list", prompt(`[[3],[1,-1]]`), CodeInvalidValue, "prompt[1][1]"},
		{"token 1.5", prompt(`[1.5]`), CodeInvalidType, "prompt[0]"},
		{"token 2^31", prompt(`[2147483648]`), CodeInvalidValue, "prompt[0]"},
		{"65 strings", prompt(`[` + strings.Repeat(`"",`, MaxPrompts) + `""]`), CodeInvalidValue, "prompt"},
		{"65 lists", prompt(`[` + strings.Repeat(`[1],`, MaxPrompts) + `[1]]`), CodeInvalidValue, "prompt"},
		{"too many tokens", prompt(`[` + strings.Repeat(`1,`, MaxTokenIDs) + `1]`), CodeInvalidValue, "prompt"},
		{"too many tokens in a list", prompt(`[[` + strings.Repeat(`1,`, MaxTokenIDs) + `1]]`), CodeInvalidValue, "prompt[0]"},
		{"cut short", `{"model":"m","prompt":["a",`, CodeInvalidJSON, "prompt"},
		{"cut short in a list", `{"model":"m","prompt":[[1,`, CodeInvalidJSON, "prompt[0]"},
		{"lone surrogate", prompt(`["\ud800"]`), CodeInvalidJSON, "prompt[0]"},
		{"max_tokens 0", `{` + once + `,"max_tokens":0}`, CodeInvalidValue, "max_tokens"},
		{"max_tokens -1", `{` + once + `,"max_tokens":-1,"echo":true}`, CodeInvalidValue, "max_tokens"},
		{"echo is a number", `{` + once + `,"echo":1}`, CodeInvalidType, "echo"},
		{"logprobs -1", `{` + once + `,"logprobs":-1}`, CodeInvalidValue, "logprobs"},
		{"logprobs 21", `{` + once + `,"logprobs":21}`, CodeInvalidValue, "logprobs"},
		{"logprobs is a boolean", `{` + once + `,"logprobs":true}`, CodeInvalidType, "logprobs"},
		{"best_of above n", `{` + once + `,"best_of":3,"n":2}`, CodeUnsupportedParameter, "best_of"},
		{"best_of alone", `{` + once + `,"best_of":2}`, CodeUnsupportedParameter, "best_of"},
		{"129 completions", `{"model":"m","prompt":["a","b","c"],"n":43}`, CodeInvalidValue, "n"},
		{"min_tokens above the default", `{` + once + `,"min_tokens":17}`, CodeInvalidValue, "min_tokens"},
		{"top_p 2", `{` + once + `,"top_p":2}`, CodeInvalidValue, "top_p"},
		{"stream_options alone", `{` + once + `,"stream_options":{}}`, CodeInvalidValue, "stream_options"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeCompletionRequest([]byte(c.body))
			wantErr(t, err, c.code, c.param)
		})
	}
}

// TestCompletionUnsupported gives each parameter of the table a value that asks
// for something, and null.
func TestCompletionUnsupported(t *testing.T) {
	values := map[string]string{"suffix": `5`}
	nulls := ""
	for name := range unsupportedCompletion {
		v := values[name]
		if v == "" {
			v = `{"a":[1]}`
		}
		_, err := DecodeCompletionRequest([]byte(`{` + once + `,"` + name + `":` + v + `}`))
		wantErr(t, err, CodeUnsupportedParameter, name)
		nulls += fmt.Sprintf(`,%q:null`, name)
	}
	if _, err := DecodeCompletionRequest([]byte(`{` + once + nulls + `}`)); err != nil {
		t.Error(err)
	}
}

func FuzzCompletionRequest(f *testing.F) {
	f.Add([]byte(`{` + once + `}`))
	f.Add([]byte(`{"model":"m","prompt":[[1,2],[3]],"max_tokens":3,"logit_bias":{"7":1}}`))
	f.Add([]byte(`{"model":"m","prompt":[1,2],"stream":true}`))
	f.Add([]byte(`{"model":"m","prompt":["a","b"],"echo":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeCompletionRequest(body)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status != 400 || e.Code == nil || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		// What was accepted is what its own encoding says.
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("marshal: %v", err)
		}
		r2, err := DecodeCompletionRequest(again)
		if err != nil {
			t.Fatalf("decode of %s: %v", again, err)
		}
		if !reflect.DeepEqual(r.Prompt, r2.Prompt) || r.TokenLimit() != r2.TokenLimit() {
			t.Fatalf("decoded %+v\nagain   %+v", r, r2)
		}
	})
}
