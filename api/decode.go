package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// DecodeChatRequest decodes and checks the body of a chat completion. An error
// is always an *Error.
func DecodeChatRequest(body []byte) (*ChatRequest, error) {
	var r ChatRequest
	if err := decodeBody(body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// DecodeTurnRequest does the same for a session's turn, which need not name the
// model: the session has one.
func DecodeTurnRequest(body []byte) (*ChatRequest, error) {
	r := ChatRequest{anyModel: true}
	if err := decodeBody(body, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// decodeBody decodes and checks a body. An error is always an *Error.
func decodeBody(body []byte, into interface{ validate() error }) error {
	if err := checkShape(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return decodeError(err)
	}
	return into.validate()
}

// checkShape refuses bodies that are no object, those nested deeper than
// MaxDepth and those with more than MaxMembers, in one pass that allocates
// nothing. What it lets pass need not be valid JSON: the decoder judges that.
func checkShape(body []byte) error {
	rest := strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n")
	if rest == "" && len(body) <= 64 {
		return BadRequest(CodeInvalidJSON, "", "The request body is empty.")
	}
	if rest != "" && rest[0] != '{' {
		return BadRequest(CodeInvalidJSON, "", "The request body must be a JSON object.")
	}
	depth, members := 0, 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			i += 1 + stringEnd(body[i+1:])
		case '{', '[':
			if depth++; depth > MaxDepth {
				return BadRequest(CodeInvalidJSON, "", "The request body nests deeper than %d levels.", MaxDepth)
			}
		case '}', ']':
			depth--
		case ':':
			if members++; members > MaxMembers {
				return BadRequest(CodeInvalidJSON, "", "The request body has more than %d members.", MaxMembers)
			}
		}
	}
	return nil
}

// stringEnd returns where a JSON string ends that begins before b: at the first quote
// behind an even number of backslashes, else at b's end.
func stringEnd(b []byte) int {
	for at := 0; ; at++ {
		n := bytes.IndexByte(b[at:], '"')
		if n < 0 {
			return len(b)
		}
		from := at
		at += n
		slashes := at
		for slashes > from && b[slashes-1] == '\\' {
			slashes--
		}
		if (at-slashes)%2 == 0 {
			return at
		}
	}
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom; it stops at MaxMessages.
func (m *Messages) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*m = nil
	return readList(dec, func() error {
		if len(*m) == MaxMessages {
			return BadRequest(CodeInvalidValue, "messages", "A request may have at most %d messages.", MaxMessages)
		}
		var one Message
		if err := json.UnmarshalDecode(dec, &one); err != nil {
			return err
		}
		*m = append(*m, one)
		return nil
	})
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom for a string or a list of parts.
func (c *Content) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return json.UnmarshalDecode(dec, (*string)(c))
	}
	var texts []string
	err := readList(dec, func() error {
		if len(texts) == MaxParts {
			return BadRequest(CodeInvalidValue, "", "A message may have at most %d content parts.", MaxParts)
		}
		var part struct {
			Type string  `json:"type"`
			Text *string `json:"text"`
		}
		if err := json.UnmarshalDecode(dec, &part); err != nil {
			return err
		}
		at := paramName(dec.StackPointer())
		switch {
		case part.Type == "":
			return BadRequest(CodeMissingParameter, at, "A content part needs a type.")
		case part.Type != "text":
			return BadRequest(CodeUnsupportedParameter, at, "Content parts of type %s are not supported; only text is.", quote(part.Type))
		case part.Text == nil:
			return BadRequest(CodeMissingParameter, at, "A content part of type text needs a text.")
		}
		texts = append(texts, *part.Text)
		return nil
	})
	*c = Content(strings.Join(texts, "\n"))
	return err
}

// readList calls one for each element of the array that dec stands before;
// null is the empty list.
func readList(dec *jsontext.Decoder, one func() error) error {
	switch k := dec.PeekKind(); k {
	case 'n':
		return dec.SkipValue()
	case '[':
	default:
		return &json.SemanticError{JSONKind: k, GoType: reflect.TypeFor[[]any]()}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		// A syntax error makes PeekKind return 0 for ever: one reports it.
		if err := one(); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// readObject calls one, with the name, before the value of each member of the
// object that dec stands before.
func readObject(dec *jsontext.Decoder, one func(name string) error) error {
	if k := dec.PeekKind(); k != '{' {
		return &json.SemanticError{JSONKind: k, GoType: reflect.TypeFor[struct{}]()}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		// The token is only valid until the next read.
		if err := one(name.String()); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// decodeError turns what the JSON package says into an *Error.
func decodeError(err error) *Error {
	var own *Error
	var sem *json.SemanticError
	var syn *jsontext.SyntacticError
	at := ""
	if errors.As(err, &sem) {
		at = paramName(sem.JSONPointer)
	}
	switch {
	case errors.As(err, &own):
		if own.Param == nil && at != "" {
			own.Param = &at
		}
		return own
	case errors.As(err, &syn):
		what := clip(strings.TrimPrefix(syn.Error(), "jsontext: "))
		return BadRequest(CodeInvalidJSON, paramName(syn.JSONPointer), "The request body is not valid JSON: %s.", what)
	case sem == nil:
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return BadRequest(CodeInvalidJSON, "", "The request body is not valid JSON: it ends too early.")
		}
		return BadRequest(CodeInvalidJSON, "", "The request body is not valid JSON.")
	}
	subject := "The request body"
	if at != "" {
		subject = "'" + at + "'"
	}
	want := wanted(sem.GoType)
	switch {
	case errors.Is(sem.Err, strconv.ErrRange):
		return BadRequest(CodeInvalidValue, at, "%s is out of range: %s is expected.", subject, want)
	case sem.Err != nil && sem.JSONKind == '0':
		return BadRequest(CodeInvalidType, at, "%s must be %s.", subject, want)
	}
	return BadRequest(CodeInvalidType, at, "%s must be %s, not %s.", subject, want, kindName(sem.JSONKind))
}

// wanted names the JSON values that a Go type takes.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '[':
		return "a list"
	case '{':
		return "an object"
	}
	return "what was given"
}

// paramName writes a JSON pointer as OpenAI names parameters: messages[0].content.
func paramName(p jsontext.Pointer) string {
	var b strings.Builder
	for tok := range p.Tokens() {
		if _, err := strconv.ParseUint(tok, 10, 32); err == nil && b.Len() > 0 {
			fmt.Fprintf(&b, "[%s]", tok)
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(clip(tok))
	}
	return clip(b.String())
}

// quote returns s in quotes, short enough for a message.
func quote(s string) string { return strconv.Quote(clip(s)) }

// clip keeps what a client sent from filling our answer.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
