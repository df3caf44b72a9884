package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestTokenizeRefuses(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct{ name, body, code, param string }{
		{"empty", ``, CodeInvalidJSON, ""},
		{"neither", `{}`, CodeMissingParameter, "prompt"},
		{"null", `{"prompt":null,"messages":null}`, CodeMissingParameter, "prompt"},
		{"no messages", `{"messages":[]}`, CodeMissingParameter, "prompt"},
		{"both", `{"prompt":"",` + messages + `}`, CodeInvalidValue, "messages"},
		{"prompt is a list", `{"prompt":["x"]}`, CodeInvalidType, "prompt"},
		{"model is a number", `{"model":1,"prompt":"x"}`, CodeInvalidType, "model"},
		{"role", `{"messages":[{"role":"king","content":"x"}]}`, CodeInvalidValue, "messages[0].role"},
		{"special tokens of messages", `{` + messages + `,"add_special_tokens":true}`, CodeUnsupportedParameter, "add_special_tokens"},
		{"generation prompt of a prompt", `{"prompt":"","add_generation_prompt":false}`, CodeInvalidValue, "add_generation_prompt"},
		{"add_special_tokens is a number", `{"prompt":"","add_special_tokens":1}`, CodeInvalidType, "add_special_tokens"},
		{"return_token_strs is a string", `{"prompt":"","return_token_strs":"yes"}`, CodeInvalidType, "return_token_strs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeTokenizeRequest([]byte(c.body))
			wantErr(t, err, c.code, c.param)
		})
	}
	nulls := ""
	for name := range unsupportedTokenize {
		_, err := DecodeTokenizeRequest([]byte(`{"prompt":"","` + name + `":{"a":[1]}}`))
		wantErr(t, err, CodeUnsupportedParameter, name)
		nulls += fmt.Sprintf(`,%q:null`, name)
	}
	if _, err := DecodeTokenizeRequest([]byte(`{"prompt":""` + nulls + `}`)); err != nil {
		t.Error(err)
	}
}

func TestDetokenizeRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, code, param string }{
		{"no tokens", `{}`, CodeMissingParameter, "tokens"},
		{"null", `{"tokens":null}`, CodeMissingParameter, "tokens"},
		{"string", `{"tokens":"1"}`, CodeInvalidType, "tokens"},
		{"list of strings", `{"tokens":["1"]}`, CodeInvalidType, "tokens[0]"},
		{"list of null", `{"tokens":[1,null]}`, CodeInvalidType, "tokens[1]"},
		{"token -1", `{"tokens":[-1]}`, CodeInvalidValue, "tokens[0]"},
		{"token 2^31", `{"tokens":[2147483648]}`, CodeInvalidValue, "tokens[0]"},
		{"too many", `{"tokens":[` + strings.Repeat(`1,`, MaxTokenIDs) + `1]}`, CodeInvalidValue, "tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeDetokenizeRequest([]byte(c.body))
			wantErr(t, err, c.code, c.param)
		})
	}
	if r, err := DecodeDetokenizeRequest([]byte(`{"tokens":[]}`)); err != nil || len(r.Tokens) != 0 {
		t.Errorf("no tokens: %+v, %v", r, err)
	}
}
