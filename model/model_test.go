package model_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/model"
	"github.com/holdfast-run/holdfast/weights"
)

// file is a model file under construction.
type file struct {
	meta    map[string]any
	tensors map[string][]int
}

// llama returns a valid one-layer model: 2 heads of 4 over 1 KV head.
func llama() *file {
	f := &file{
		meta: map[string]any{
			"general.architecture":                   "llama",
			"llama.block_count":                      uint32(1),
			"llama.context_length":                   uint32(64),
			"llama.embedding_length":                 uint32(8),
			"llama.feed_forward_length":              uint32(16),
			"llama.attention.head_count":             uint32(2),
			"llama.attention.head_count_kv":          uint32(1),
			"llama.attention.layer_norm_rms_epsilon": float32(1e-5),
		},
		tensors: map[string][]int{
			"token_embd.weight": {5, 8}, "output_norm.weight": {8},
			"blk.0.attn_norm.weight": {8}, "blk.0.ffn_norm.weight": {8},
			"blk.0.attn_q.weight": {8, 8}, "blk.0.attn_k.weight": {4, 8}, "blk.0.attn_v.weight": {4, 8},
			"blk.0.attn_output.weight": {8, 8},
			"blk.0.ffn_gate.weight":    {16, 8}, "blk.0.ffn_up.weight": {16, 8}, "blk.0.ffn_down.weight": {8, 16},
		},
	}
	return f
}

func (f *file) build(t *testing.T) (*graph.Graph, error) {
	t.Helper()
	var meta []ggufwrite.KV
	for k, v := range f.meta {
		meta = append(meta, ggufwrite.KV{Key: k, Value: v})
	}
	var tensors []ggufwrite.TensorSpec
	for name, shape := range f.tensors {
		n := 4
		for _, d := range shape {
			n *= d
		}
		tensors = append(tensors, ggufwrite.TensorSpec{Name: name, Type: graph.F32, Shape: shape, Data: make([]byte, n)})
	}
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, ggufwrite.Build(meta, tensors), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return model.Build(w)
}

func TestLlamaGraph(t *testing.T) {
	g, err := llama().build(t)
	if err != nil {
		t.Fatal(err)
	}
	if g.Vocab != 5 || g.ContextLength != 64 || len(g.KV) != 1 || g.KV[0] != (graph.KVLayer{Heads: 1, HeadDim: 4}) {
		t.Errorf("vocab %d, context %d, KV %v", g.Vocab, g.ContextLength, g.KV)
	}
	if n := len(g.Tensors()); n != len(llama().tensors) {
		t.Errorf("the graph reads %d tensors of %d", n, len(llama().tensors))
	}
	f := llama()
	f.tensors["output.weight"] = []int{5, 8}
	f.tensors["blk.0.attn_q.bias"] = []int{8}
	if g, err = f.build(t); err != nil || len(g.Tensors()) != len(f.tensors) {
		t.Errorf("own head and a bias: %v", err)
	}
}

// TestRefusals: what a file gets wrong is named.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*file)
		want  string
	}{
		{"no architecture", func(f *file) { delete(f.meta, "general.architecture") }, "general.architecture"},
		{"unknown family", func(f *file) { f.meta["general.architecture"] = "mamba" }, `"mamba"`},
		{"missing key", func(f *file) { delete(f.meta, "llama.block_count") }, "llama.block_count"},
		{"key of a wrong kind", func(f *file) { f.meta["llama.block_count"] = "two" }, "llama.block_count"},
		{"no layers", func(f *file) { f.meta["llama.block_count"] = uint32(0) }, "llama.block_count"},
		{"too many layers", func(f *file) { f.meta["llama.block_count"] = uint64(1 << 40) }, "llama.block_count"},
		{"more heads than width", func(f *file) { f.meta["llama.attention.head_count"] = uint32(16) }, "0 elements of a head"},
		{"more KV heads than heads", func(f *file) { f.meta["llama.attention.head_count_kv"] = uint32(3) }, "2 heads of 4 over 3 KV heads"},
		{"values of another width", func(f *file) { f.meta["llama.attention.value_length"] = uint32(8) }, "keys of 4 and values of 8"},
		{"layer too few", func(f *file) { f.meta["llama.block_count"] = uint32(2) }, "blk.1.attn_norm.weight is missing"},
		{"missing tensor", func(f *file) { delete(f.tensors, "blk.0.ffn_down.weight") }, "blk.0.ffn_down.weight is missing"},
		{"missing embedding", func(f *file) { delete(f.tensors, "token_embd.weight") }, "token_embd.weight"},
		{"wrong shape", func(f *file) { f.tensors["blk.0.attn_k.weight"] = []int{8, 8} }, "blk.0.attn_k.weight has shape [8 8]"},
		{"wrong bias", func(f *file) { f.tensors["blk.0.attn_k.bias"] = []int{3} }, "blk.0.attn_k.bias has shape [3]"},
		{"experts", func(f *file) { f.tensors["blk.0.ffn_gate_inp.weight"] = []int{4, 8} }, "mixture of experts"},
		{"scaling", func(f *file) { f.meta["llama.rope.scaling.type"] = "longrope" }, `"longrope"`},
		{"odd rotation", func(f *file) { f.meta["llama.rope.dimension_count"] = uint32(3) }, "RoPE over 3"},
		{"base", func(f *file) { f.meta["llama.rope.freq_base"] = float32(math.NaN()) }, "base NaN"},
		{"divisors of another length", func(f *file) { f.tensors["rope_freqs.weight"] = []int{3} }, "rope_freqs.weight has 3 divisors for RoPE's 2 pairs"},
		{"divisors of zero", func(f *file) { f.tensors["rope_freqs.weight"] = []int{2} }, "rope_freqs.weight holds 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := llama()
			c.spoil(f)
			_, err := f.build(t)
			if err == nil {
				t.Fatal("accepted")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("%q does not say %q in one line", text, c.want)
			}
		})
	}
	f := llama()
	f.meta["general.architecture"] = "mamba"
	if _, err := f.build(t); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}
}

// TestFrequencies: linear scaling divides all frequencies; the base is the model's.
func TestFrequencies(t *testing.T) {
	f := llama()
	f.meta["llama.rope.freq_base"] = float32(100)
	f.meta["llama.rope.scaling.type"] = "linear"
	f.meta["llama.rope.scaling.factor"] = float32(4)
	g, err := f.build(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range g.Nodes {
		if op, ok := n.Op.(graph.RoPE); ok {
			if got := fmt.Sprintf("%.6g", op.Freqs); got != "[0.25 0.025]" {
				t.Errorf("frequencies %s", got)
			}
			return
		}
	}
	t.Error("no RoPE")
}

func TestTinyModelsBuild(t *testing.T) {
	for _, c := range golden.Tiny(t) {
		w, err := weights.Open(c.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if g, err := model.Build(w); err != nil || g.Vocab != c.Vocab {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}
