package chat

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/holdfast-run/holdfast/chat/internal/jinja"
	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

// The budget of one render: about 50 ms and 32 MB at most for a small input.
const (
	// MaxSteps is the most steps: nodes evaluated, elements handled, blocks of
	// bytes looked at.
	MaxSteps = 1 << 19
	// StepsPerMessage and StepsPerByte are what the input adds to MaxSteps.
	StepsPerMessage = 1 << 10
	StepsPerByte    = 1
	// MaxBytes is the most bytes of text and elements made in all.
	MaxBytes = 8 << 20
	// BytesPerByte is what each byte of the input adds to MaxBytes: templates copy
	// a text a few times on its way into the prompt.
	BytesPerByte = 8
	// MaxDepth is the most macro calls and lists within each other.
	MaxDepth = 64
)

// ErrBudget is matched by the errors of renders that exceed the budget.
var ErrBudget = jinja.ErrBudget

// TemplateError is a fault of the template or of what it was given: a client's
// error once a template has compiled. With Raised set, the template itself
// refused the conversation, by raise_exception, and Message is what it said.
type TemplateError = jinja.Error

// Options are the settings of a template.
type Options struct {
	// BOS and EOS are what bos_token and eos_token stand for. The default is that
	// the template does not have them.
	BOS, EOS string
}

// Template is a compiled chat template. It is immutable and safe for use by any
// number of goroutines.
type Template struct {
	code     *jinja.Template
	bos, eos string
}

// Compile parses the source of a template. The error is a *TemplateError.
func Compile(src string, o Options) (*Template, error) {
	code, err := jinja.Parse(src)
	if err != nil {
		return nil, err
	}
	return &Template{code, o.BOS, o.EOS}, nil
}

// keyTemplate is the GGUF key of the chat template.
const keyTemplate = "tokenizer.chat_template"

// FromMetadata compiles the template of a model file. tok says what BOS and EOS
// are. A model without a template gives nil and no error.
func FromMetadata(m *weights.Metadata, tok *tokenizer.Tokenizer) (*Template, error) {
	if !m.Has(keyTemplate) {
		return nil, nil
	}
	src, err := m.String(keyTemplate)
	if err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	var o Options
	if id, ok := tok.BOS(); ok {
		o.BOS = tok.Piece(id)
	}
	if id, ok := tok.EOS(); ok {
		o.EOS = tok.Piece(id)
	}
	t, err := Compile(src, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyTemplate, err)
	}
	return t, nil
}

func (t *Template) render(in Input) (jinja.Text, error) {
	vars, sizeBytes, err := t.values(in)
	if err != nil {
		return jinja.Text{}, err
	}
	text, err := t.code.Render(vars, jinja.Options{
		Limits: jinja.Limits{
			Steps: MaxSteps + StepsPerMessage*len(in.Messages) + StepsPerByte*sizeBytes,
			Bytes: MaxBytes + BytesPerByte*sizeBytes,
			Depth: MaxDepth,
		},
		Now: in.Now,
	})
	if err == nil && in.ContinueFinal {
		return cutAfterFinal(text, in.Messages)
	}
	return text, err
}

// continueTag is put behind the last message's content to find where that ends in
// the rendered text, as huggingface/transformers does (apply_chat_template). Its
// space tells whether the template trims contents.
const continueTag = "CONTINUE_FINAL_MESSAGE_TAG "

// cutAfterFinal returns what stands before the tag.
func cutAfterFinal(text jinja.Text, messages []Message) (jinja.Text, error) {
	if len(messages) == 0 {
		return jinja.Text{}, &TemplateError{Message: "there is no message to be continued"}
	}
	whole := text.String()
	at := strings.LastIndex(whole, strings.TrimSpace(continueTag))
	if at < 0 || !strings.Contains(whole[:at], strings.TrimSpace(messages[len(messages)-1].Content)) {
		return jinja.Text{}, &TemplateError{Message: "the template does not show the last message's content, so it cannot be continued"}
	}
	if !strings.HasPrefix(whole[at:], continueTag) {
		at = len(strings.TrimRightFunc(whole[:at], unicode.IsSpace))
	}
	return text.Before(at), nil
}

// TooLongError is returned by Tokens for a prompt of more than Input.MaxTokens.
type TooLongError struct {
	Least int // tokens that it has at least
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("chat: the prompt has at least %d tokens", e.Least)
}

// Render returns the prompt as text. The error is a *TemplateError or matches
// ErrBudget.
func (t *Template) Render(in Input) (string, error) {
	text, err := t.render(in)
	return text.String(), err
}

// Tokens returns the prompt as token IDs, with BOS before it if the model wants
// that and the template has not written it. Special tokens come of the
// template's own text only. Errors are Render's, and TooLongError.
func (t *Template) Tokens(tok *tokenizer.Tokenizer, in Input) ([]int32, error) {
	text, err := t.render(in)
	if err != nil {
		return nil, err
	}
	if in.MaxTokens > 0 && tooLong(tok, text, in.MaxTokens) {
		return nil, &TooLongError{in.MaxTokens + 1}
	}
	bos, _ := tok.BOS()
	ids := make([]int32, 0, len(text.String())/3+16)
	if tok.AddBOS() {
		ids = append(ids, bos)
	}
	begin := len(ids)
	ids = tok.EncodeSpans(ids, spansOf(text))
	if begin > 0 && len(ids) > begin && ids[begin] == bos {
		return ids[begin:], nil
	}
	return ids, nil
}

// tooLong reports whether a text is far longer than so many tokens, by the tokens of
// its beginning: a cut changes those beside it, not half of them. It leaves what is
// not much longer to be counted.
func tooLong(tok *tokenizer.Tokenizer, text jinja.Text, most int) bool {
	const long, probe = 32, 16 // bytes for each token
	if len(text.String())/long <= most {
		return false
	}
	return len(tok.EncodeSpans(nil, spansOf(text.Before(probe*most)))) > 2*most
}

func spansOf(text jinja.Text) []tokenizer.Span {
	pieces := text.Spans()
	spans := make([]tokenizer.Span, len(pieces))
	for i, p := range pieces {
		spans[i] = tokenizer.Span{Text: p.Text, Plain: p.Client}
	}
	return spans
}
