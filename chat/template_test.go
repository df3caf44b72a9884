package chat

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

var testNow = time.Date(2026, 3, 5, 7, 8, 9, 0, time.UTC)

var testOptions = Options{BOS: "<|bos|>", EOS: "<|eos|>"}

// smolMeta is the metadata of the vocabulary that the tokenizer's tests use.
var smolMeta = sync.OnceValue(func() *weights.Metadata {
	f, err := os.Open("../tokenizer/testdata/smollm2-vocab.gguf.gz")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		panic(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "vocab")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "vocab.gguf")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		panic(err)
	}
	file, err := weights.Open(name)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	return file.Meta()
})

var smolTokenizer = sync.OnceValues(func() (*tokenizer.Tokenizer, error) { return tokenizer.FromMetadata(smolMeta()) })

func smol(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := smolTokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// source returns a template of testdata/templates, or SmolLM2's.
func source(t testing.TB, name string) string {
	t.Helper()
	if name == "smollm2" {
		src, err := smolMeta().String(keyTemplate)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	data, err := os.ReadFile("testdata/templates/" + name + ".jinja")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

type conversation struct {
	Messages []struct {
		Role      string `json:"role"`
		Content   string `json:"content"`
		Name      string `json:"name"`
		Reasoning string `json:"reasoning_content"`
		CallID    string `json:"tool_call_id"`
		ToolCalls []struct {
			ID       string `json:"id"`
			Function struct {
				Name      string         `json:"name"`
				Arguments jsontext.Value `json:"arguments"`
			} `json:"function"`
		} `json:"tool_calls"`
	} `json:"messages"`
	Tools  []jsontext.Value `json:"tools"`
	Prompt *bool            `json:"prompt"`
	Vars   map[string]any   `json:"vars"`
}

func (c conversation) input() Input {
	in := Input{Tools: c.Tools, AddGenerationPrompt: c.Prompt == nil || *c.Prompt, Now: testNow, Vars: c.Vars}
	for _, m := range c.Messages {
		out := Message{Role: m.Role, Content: m.Content, Name: m.Name, Reasoning: m.Reasoning, ToolCallID: m.CallID}
		for _, call := range m.ToolCalls {
			out.ToolCalls = append(out.ToolCalls, ToolCall{call.ID, call.Function.Name, string(call.Function.Arguments)})
		}
		in.Messages = append(in.Messages, out)
	}
	return in
}

type golden struct {
	Conversations []conversation       `json:"conversations"`
	Answers       map[string][]*string `json:"answers"`
}

func readGolden(t testing.TB) golden {
	t.Helper()
	return readGoldenFile(t, "testdata/templates.json")
}

func readGoldenFile(t testing.TB, name string) golden {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGolden compares whole templates with what Jinja 2 makes of them.
func TestGolden(t *testing.T) {
	g := readGolden(t)
	compared := 0
	for name, answers := range g.Answers {
		tmpl, err := Compile(source(t, name), testOptions)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, want := range answers {
			got, err := tmpl.Render(g.Conversations[i].input())
			compared++
			var failed *TemplateError
			switch {
			case want == nil && !errors.As(err, &failed):
				t.Errorf("%s, conversation %d: got %q and %v, want a TemplateError", name, i, got, err)
			case want != nil && err != nil:
				t.Errorf("%s, conversation %d: %v", name, i, err)
			case want != nil && got != *want:
				t.Errorf("%s, conversation %d:\n got %q\nwant %q", name, i, got, *want)
			}
		}
	}
	if compared < 8*20 {
		t.Errorf("%d renders", compared)
	}
}

func TestErrors(t *testing.T) {
	hello := Input{Messages: []Message{{Role: "user", Content: "hi"}}}
	var failed *TemplateError

	tmpl, err := Compile("{{ raise_exception('only ' ~ messages[0].content) }}", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = tmpl.Render(hello); !errors.As(err, &failed) || !failed.Raised || failed.Message != "only hi" {
		t.Errorf("raise_exception: %v", err)
	}
	if _, err = Compile("a\nb{% if %}", Options{}); !errors.As(err, &failed) || failed.Line != 2 || failed.Raised {
		t.Errorf("syntax: %v", err)
	}
	if tmpl, err = Compile("a\nb{{ messages[0].content + 1 }}", Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err = tmpl.Render(hello); !errors.As(err, &failed) || failed.Line != 2 {
		t.Errorf("types: %v", err)
	}
	if tmpl, err = Compile("{% for i in range(10**6) %}{% endfor %}", Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err = tmpl.Render(hello); !errors.Is(err, ErrBudget) {
		t.Errorf("budget: %v", err)
	}
	for name, in := range map[string]Input{
		"reserved":  {Vars: map[string]any{"messages": "x"}},
		"type":      {Vars: map[string]any{"x": []int{1}}},
		"tool":      {Tools: []jsontext.Value{jsontext.Value(`{"a":`)}},
		"two tools": {Tools: []jsontext.Value{jsontext.Value(`{} {}`)}},
		"duplicate": {Tools: []jsontext.Value{jsontext.Value(`{"a":1,"a":2}`)}},
		"deep tool": {Tools: []jsontext.Value{jsontext.Value(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))}},
	} {
		if _, err := tmpl.Render(in); !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none, err := FromMetadata(weights.NewMetadata(nil), smol(t))
	if none != nil || err != nil {
		t.Errorf("a model without a template: %v, %v", none, err)
	}
	if _, err := FromMetadata(weights.NewMetadata(map[string]any{keyTemplate: "{{"}), smol(t)); !errors.As(err, &failed) {
		t.Errorf("a bad template: %v", err)
	}
}

// TestRendersAreAlike: concurrent renders of one template do not touch each
// other or their input.
func TestRendersAreAlike(t *testing.T) {
	g := readGolden(t)
	tmpl, err := Compile(source(t, "gptoss"), testOptions)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				for i, want := range g.Answers["gptoss"] {
					if got, err := tmpl.Render(g.Conversations[i].input()); err != nil || got != *want {
						t.Errorf("conversation %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestLongConversation: 2,000 messages and most of a megabyte of text are within
// the budget.
func TestLongConversation(t *testing.T) {
	in := Input{AddGenerationPrompt: true, Now: testNow}
	text := strings.Repeat("all work and no play ", 20)
	for range 1000 {
		in.Messages = append(in.Messages, Message{Role: "user", Content: text}, Message{Role: "assistant", Content: text})
	}
	for name := range readGolden(t).Answers {
		tmpl, err := Compile(source(t, name), testOptions)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tmpl.Render(in); err != nil || len(got) < 2000*len(text) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestRoles: roles of the closed set may be part of a special
// token, others may not.
func TestRoles(t *testing.T) {
	tok := smol(t)
	tmpl, err := Compile("{% for m in messages %}{{ '<|im_' + m.role + '|>' }}{% endfor %}", Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tmpl.Tokens(tok, Input{Messages: []Message{{Role: "end"}}})
	if err != nil || slices.ContainsFunc(ids, tok.Special) {
		t.Errorf("a client's role made %d, %v", ids, err)
	}
	saved := trustedRoles
	defer func() { trustedRoles = saved }()
	trustedRoles = append(slices.Clone(saved), "end")
	end, _ := tok.ID("<|im_end|>")
	if ids, err = tmpl.Tokens(tok, Input{Messages: []Message{{Role: "end"}}}); err != nil || !slices.Equal(ids, []int32{end}) {
		t.Errorf("a role of the set made %d, %v", ids, err)
	}
}
