package api

import (
	"bytes"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// A neutral says of a parameter that is known, but not served, which values of
// it ask for nothing, and are therefore accepted.
type neutral struct {
	ok   func(v jsontext.Value) bool
	text string // the accepted values, for the error message; empty for none
}

// unsupportedAnywhere lists the parameters of OpenAI's completions, chat or not,
// and of vLLM's extensions that change an answer and are not served. Parameters
// that are hints to a service (metadata, service_tier, prompt_cache_key …) are
// not in it: ignoring them changes no answer.
var unsupportedAnywhere = map[string]neutral{
	"response_format":        {ok: formatText, text: `{"type":"text"}`},
	"allowed_token_ids":      empty('['),
	"cache_salt":             nothing,
	"guided_choice":          nothing,
	"guided_grammar":         nothing,
	"guided_json":            nothing,
	"guided_regex":           nothing,
	"kv_transfer_params":     nothing,
	"length_penalty":         number(1),
	"logprob_token_ids":      empty('['),
	"structured_outputs":     nothing,
	"thinking_token_budget":  nothing,
	"truncate_prompt_tokens": nothing,
	"use_beam_search":        literal("false"),
}

// unsupportedChat lists those of chat completions.
var unsupportedChat = and(unsupportedAnywhere, map[string]neutral{
	"audio":              nothing,
	"function_call":      word("none"),
	"functions":          empty('['),
	"modalities":         {ok: onlyText, text: `["text"]`},
	"moderation":         nothing,
	"prediction":         nothing,
	"reasoning_effort":   word("none"),
	"store":              literal("false"),
	"tool_choice":        word("none"),
	"tools":              empty('['),
	"verbosity":          word("medium"),
	"web_search_options": nothing,
	"add_special_tokens": literal("false"),
	"chat_template":      nothing,
	"documents":          empty('['),
	"echo":               literal("false"),
})

// unsupportedCompletion lists those of completions.
var unsupportedCompletion = and(unsupportedAnywhere, map[string]neutral{
	"prompt_embeds": nothing,
	"suffix":        literal(`""`),
})

// unsupportedTokenize lists those of POST /tokenize.
var unsupportedTokenize = map[string]neutral{
	"chat_template":        nothing,
	"chat_template_kwargs": empty('{'),
	"documents":            empty('['),
	"mm_processor_kwargs":  empty('{'),
	"tools":                empty('['),
}

// and returns the parameters of both tables.
func and(a, b map[string]neutral) map[string]neutral {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// unsupportedMessage is the same for the members of a message.
var unsupportedMessage = map[string]neutral{
	"audio":         nothing,
	"function_call": nothing,
	"refusal":       nothing,
	"tool_call_id":  nothing,
	"tool_calls":    empty('['),
}

// checkUnsupported looks up each member of the object other, whose names are
// prefixed by at in errors.
func checkUnsupported(other jsontext.Value, table map[string]neutral, at string) error {
	if len(other) == 0 {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(other))
	if _, err := dec.ReadToken(); err != nil {
		return decodeError(err)
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return decodeError(err)
		}
		// The token is only valid until the next read.
		key := name.String()
		known, listed := table[key]
		if !listed {
			if err := dec.SkipValue(); err != nil {
				return decodeError(err)
			}
			continue
		}
		v, err := dec.ReadValue()
		if err != nil {
			return decodeError(err)
		}
		switch {
		case v.Kind() == 'n' || known.ok != nil && known.ok(v):
		case known.text != "":
			return BadRequest(CodeUnsupportedParameter, at+key, "'%s' is not supported; only %s is accepted.", at+key, known.text)
		default:
			return BadRequest(CodeUnsupportedParameter, at+key, "'%s' is not supported.", at+key)
		}
	}
	return nil
}

// nothing accepts no value but null.
var nothing = neutral{}

// number accepts a number, however it is written.
func number(want float64) neutral {
	return neutral{text: strconv.FormatFloat(want, 'g', -1, 64), ok: func(v jsontext.Value) bool {
		got, err := strconv.ParseFloat(string(v), 64)
		return v.Kind() == '0' && err == nil && got == want
	}}
}

// literal accepts true or false.
func literal(want string) neutral {
	return neutral{text: want, ok: func(v jsontext.Value) bool { return string(v) == want }}
}

// word accepts a string.
func word(want string) neutral {
	return neutral{text: strconv.Quote(want), ok: func(v jsontext.Value) bool { return unquoted(v) == want }}
}

// empty accepts an empty list ('[') or an empty object ('{').
func empty(kind jsontext.Kind) neutral {
	text := "[]"
	if kind == '{' {
		text = "{}"
	}
	return neutral{text: text, ok: func(v jsontext.Value) bool {
		return v.Kind() == kind && len(bytes.TrimSpace(v[1:len(v)-1])) == 0
	}}
}

// onlyText accepts a list of modalities without audio.
func onlyText(v jsontext.Value) bool {
	v = slices.Clone(v)
	return v.Compact() == nil && string(v) == `["text"]`
}

// formatText accepts the response format {"type":"text"}.
func formatText(v jsontext.Value) bool {
	v = slices.Clone(v)
	return v.Compact() == nil && string(v) == `{"type":"text"}`
}

func unquoted(v jsontext.Value) string {
	if v.Kind() != '"' {
		return ""
	}
	s, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(s)
}
