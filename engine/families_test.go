package engine

import (
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/weights"
)

// TestSchedulesDoNotMatterFamilies is the same for the tiny models of the other
// families, whose logits device/cpu compares with transformers: prompts of more
// than three windows, where there is one, in chunks, behind prefixes, preempted.
func TestSchedulesDoNotMatterFamilies(t *testing.T) {
	for _, name := range []string{"qwen2", "qwen2-yarn", "qwen3", "gemma2", "phi3", "granite"} {
		t.Run(name, func(t *testing.T) {
			path, vocab := withVocabulary(t, golden.TinyCase(t, name).Path)
			start := func(cfg Config, adjust func(*loaded)) *Engine { return openPath(t, path, cfg, adjust) }
			metamorphic(t, 16, vocab, 220, start)
		})
	}
}

// withVocabulary returns a copy of a GGUF file that has no vocabulary with one: a
// rune for each token. It returns their number too.
func withVocabulary(t *testing.T, path string) (string, int) {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var keys []ggufwrite.KV
	for _, key := range f.Meta().Keys() {
		if strings.HasPrefix(key, "tokenizer.") {
			continue
		}
		var value any
		if s, err := f.Meta().String(key); err == nil {
			value = s
		} else if n, err := f.Meta().Uint(key); err == nil {
			value = uint32(n)
		} else if x, err := f.Meta().Float(key); err == nil {
			value = float32(x)
		} else {
			t.Fatalf("%s is neither text nor number", key)
		}
		keys = append(keys, ggufwrite.KV{Key: key, Value: value})
	}
	table, ok := f.Tensor("token_embd.weight")
	if !ok {
		t.Fatalf("%s has no embedding", path)
	}
	vocab := table.Shape[0]
	tokens, types, scores := []string{"<unk>", "<s>", "</s>"}, []int32{2, 3, 3}, make([]float32, vocab)
	for id := len(tokens); id < vocab; id++ {
		tokens, types = append(tokens, string(rune(0x100+id))), append(types, 1)
	}
	keys = append(keys, ggufwrite.KV{Key: "tokenizer.ggml.model", Value: "llama"}, ggufwrite.KV{Key: "tokenizer.ggml.tokens", Value: tokens},
		ggufwrite.KV{Key: "tokenizer.ggml.token_type", Value: types}, ggufwrite.KV{Key: "tokenizer.ggml.scores", Value: scores},
		ggufwrite.KV{Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)}, ggufwrite.KV{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)})
	var tensors []ggufwrite.TensorSpec
	for _, x := range f.Tensors() {
		tensors = append(tensors, ggufwrite.TensorSpec{Name: x.Name, Type: x.Type, Shape: x.Shape, Data: x.Data})
	}
	return ggufwrite.WriteFile(t, ggufwrite.Build(keys, tensors)), vocab
}
