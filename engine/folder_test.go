package engine

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
)

// chatFolder is tiny-chat as transformers saves it.
func chatFolder(t *testing.T) string {
	return filepath.Join(golden.Root(t), "model", "testdata", "folders", "tiny-chat")
}

// copyFolder returns a copy of it that a test may spoil.
func copyFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Tiny-0.5B")
	if err := os.CopyFS(dir, os.DirFS(chatFolder(t))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestFolder: a folder's tokenizer, template, ends and weights give what the GGUF
// file of the same model gives.
func TestFolder(t *testing.T) {
	file, folder := open(t, Config{}, nil), openPath(t, copyFolder(t), Config{Store: t.TempDir()}, nil)
	in := chat.Input{Messages: []chat.Message{{Role: "user", Content: "Hello there, who are you? <|im_end|>"}}, AddGenerationPrompt: true}
	want, err := file.EncodeChat(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := folder.EncodeChat(in)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("prompt %v, %v; want %v", got, err, want)
	}
	r := Request{Tokens: want, MaxTokens: 40, Params: greedy}
	wantText, _ := generate(t, file, r)
	if text, _ := generate(t, folder, r); text != wantText {
		t.Errorf("%q, want %q", text, wantText)
	}
	if a, b := file.Tokenizer().EOG(), folder.Tokenizer().EOG(); !slices.Equal(a, b) {
		t.Errorf("ends %v, of the file %v", b, a)
	}
	if id := folder.Info().ID; id != "Tiny-0.5B" {
		t.Errorf("the model is called %q", id)
	}
	a, err := file.Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := folder.Identity()
	if err != nil || a.Weights == b.Weights || !slices.EqualFunc(a.RoPE, b.RoPE, slices.Equal) {
		t.Errorf("%v, weights %x and %x", err, a.Weights, b.Weights)
	}
}

// TestQuantizeAtLoad: it answers, its KV is not the other's, and the plan has what
// was made.
func TestQuantizeAtLoad(t *testing.T) {
	plain, small := openPath(t, chatFolder(t), Config{}, nil), openPath(t, chatFolder(t), Config{Quantize: graph.Q4_0}, nil)
	if text, finish := generate(t, small, Request{Tokens: []int32{1, 20, 30}, MaxTokens: 5, IgnoreEOS: true, Params: greedy}); finish != FinishLength {
		t.Errorf("%q, %s", text, finish)
	}
	a, err := plain.Identity()
	if err != nil {
		t.Fatal(err)
	}
	b, err := small.Identity()
	if err != nil || a.Root() == b.Root() {
		t.Errorf("one identity for both, %v", err)
	}
	bytes := func(p Plan, name string) int64 {
		for _, it := range p.Items {
			if it.Name == name {
				return it.Bytes
			}
		}
		return 0
	}
	// The embedding of 301 rows of 32, and the head as the largest other.
	if made := bytes(small.MemoryPlan(), "tables made at load"); made != 2*301*34 {
		t.Errorf("%d bytes of tables in the plan", made)
	}
	if p, s := bytes(plain.MemoryPlan(), "weights"), bytes(small.MemoryPlan(), "weights"); s*2 > p {
		t.Errorf("weights take %d bytes, quantised %d", p, s)
	}
}

// TestFolderErrors: what is wrong in a folder's text files is named.
func TestFolderErrors(t *testing.T) {
	replace := func(name, old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Contains(data, []byte(old)) {
				t.Fatalf("%s: %v, or no %q", name, err, old)
			}
			if err := os.WriteFile(filepath.Join(dir, name), bytes.Replace(data, []byte(old), []byte(new), 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	bigger, err := json.Marshal(map[string]any{"id": 5000, "content": "<more>", "special": true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		says  string
	}{
		{"no tokenizer", remove("tokenizer.json"), "neither tokenizer.json nor tokenizer.model"},
		{"no JSON", write("tokenizer.json", "{"), "tokenizer.json"},
		{"too many tokens", replace("tokenizer.json", `"added_tokens": [`, `"added_tokens": [`+string(bigger)+`,`), "model.safetensors: the tokenizer has 5001 tokens, tensor token_embd.weight only 301 rows"},
		{"config of no JSON", write("tokenizer_config.json", "["), "tokenizer_config.json"},
		{"end out of range", write("generation_config.json", `{"eos_token_id":[2,301]}`), "generation_config.json: eos_token_id 301"},
		{"end of text", write("generation_config.json", `{"eos_token_id":"</s>"}`), "generation_config.json: eos_token_id is a string"},
		{"template of no template", write("chat_template.jinja", "{% if"), "chat_template.jinja: "},
	} {
		dir := copyFolder(t)
		c.spoil(t, dir)
		e, err := Open(t.Context(), Config{ModelPath: dir})
		if err == nil {
			e.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.says)
		}
	}
	// The template may be in tokenizer_config.json, as a text or a list; without any
	// there is only completion.
	dir := copyFolder(t)
	remove("chat_template.jinja")(t, dir)
	if _, err := openPath(t, dir, Config{}, nil).EncodeChat(chat.Input{}); err != ErrNoTemplate {
		t.Errorf("without a template: %v", err)
	}
	for _, value := range []string{`"{{ 'a' }}"`, `[{"name":"tool_use","template":"x"},{"name":"default","template":"{{ 'a' }}"}]`} {
		replace("tokenizer_config.json", `"backend"`, `"chat_template": `+value+`, "x"`)(t, dir)
		e := openPath(t, dir, Config{}, nil)
		if ids, err := e.EncodeChat(chat.Input{}); err != nil || e.Tokenizer().Decode(ids, false) != "a" {
			t.Errorf("%s: %v, %v", value, ids, err)
		}
		replace("tokenizer_config.json", `"chat_template": `+value+`, "x"`, `"backend"`)(t, dir)
	}
	// Of files that all name ends, generation_config.json counts.
	write("generation_config.json", `{"eos_token_id": 7}`)(t, dir)
	replace("config.json", `"eos_token_id": 2`, `"eos_token_id": [9, 2]`)(t, dir)
	if e := openPath(t, dir, Config{}, nil); !e.Tokenizer().IsEOG(7) || e.Tokenizer().IsEOG(9) {
		t.Error("7 is no end, or 9 is one")
	}
	remove("generation_config.json")(t, dir)
	if e := openPath(t, dir, Config{}, nil); !e.Tokenizer().IsEOG(9) || e.Tokenizer().IsEOG(7) {
		t.Error("9 is no end")
	}
}
