package model_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/mutate"
	sw "github.com/holdfast-run/holdfast/internal/testkit/safewrite"
	"github.com/holdfast-run/holdfast/model"
	"github.com/holdfast-run/holdfast/weights"
)

// llamaFolder is the config.json of a one-layer model: 2 heads of 4 over 1 KV head.
func llamaFolder() map[string]any {
	return map[string]any{
		"model_type": "llama", "num_hidden_layers": 1, "max_position_embeddings": 64, "hidden_size": 8, "intermediate_size": 16,
		"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 5, "rms_norm_eps": 1e-5, "hidden_act": "silu",
		"tie_word_embeddings": true, "torch_dtype": "float32",
	}
}

// folderTensors has the shapes of its tensors.
func folderTensors() map[string][]int {
	return map[string][]int{
		"model.embed_tokens.weight": {5, 8}, "model.norm.weight": {8},
		"model.layers.0.input_layernorm.weight": {8}, "model.layers.0.post_attention_layernorm.weight": {8},
		"model.layers.0.self_attn.q_proj.weight": {8, 8}, "model.layers.0.self_attn.k_proj.weight": {4, 8},
		"model.layers.0.self_attn.v_proj.weight": {4, 8}, "model.layers.0.self_attn.o_proj.weight": {8, 8},
		"model.layers.0.mlp.gate_proj.weight": {16, 8}, "model.layers.0.mlp.up_proj.weight": {16, 8}, "model.layers.0.mlp.down_proj.weight": {8, 16},
	}
}

// openFolder writes and opens a folder; the error is Open's or Build's.
func openFolder(t *testing.T, config map[string]any, shapes map[string][]int, quantize graph.DType) (*weights.File, *graph.Graph, error) {
	t.Helper()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var tensors []sw.Tensor
	for name, shape := range shapes {
		n := 4
		for _, d := range shape {
			n *= d
		}
		tensors = append(tensors, sw.Tensor{Name: name, DType: "F32", Shape: shape, Data: make([]byte, n)})
	}
	f, err := model.Open(sw.Folder(t, map[string][]byte{"config.json": data, "model.safetensors": sw.Build(tensors...)}), quantize)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { f.Close() })
	g, err := model.Build(f)
	return f, g, err
}

func TestFolderGraph(t *testing.T) {
	f, g, err := openFolder(t, llamaFolder(), folderTensors(), graph.Invalid)
	if err != nil {
		t.Fatal(err)
	}
	if g.Vocab != 5 || g.ContextLength != 64 || !slices.Equal(g.KV, []graph.KVLayer{{Heads: 1, HeadDim: 4}}) || len(g.Tensors()) != len(folderTensors()) {
		t.Errorf("vocab %d, context %d, KV %v, %d tensors", g.Vocab, g.ContextLength, g.KV, len(g.Tensors()))
	}
	for name, made := range map[string]bool{"blk.0.attn_q.weight": true, "blk.0.attn_k.weight": true, "blk.0.attn_v.weight": false, "token_embd.weight": false} {
		if f.Made(name) != made {
			t.Errorf("%s is made: %t", name, !made)
		}
	}
	// A copy of the embedding and old files' frequencies are left out; an own head is not.
	shapes := folderTensors()
	shapes["lm_head.weight"], shapes["model.layers.0.self_attn.rotary_emb.inv_freq"] = []int{5, 8}, []int{2}
	if _, g, err := openFolder(t, llamaFolder(), shapes, graph.Invalid); err != nil || len(g.Tensors()) != len(folderTensors()) {
		t.Errorf("tied: %v", err)
	}
	config := llamaFolder()
	delete(config, "tie_word_embeddings")
	if _, g, err := openFolder(t, config, shapes, graph.Invalid); err != nil || len(g.Tensors()) != len(folderTensors())+1 {
		t.Errorf("own head: %v", err)
	}
}

// TestFolderRefusals: what a folder gets wrong is named as the folder names it.
func TestFolderRefusals(t *testing.T) {
	type config = map[string]any
	type shapes = map[string][]int
	const layer = "model.layers.0."
	for _, c := range []struct {
		name  string
		spoil func(config, shapes)
		want  string
	}{
		{"no type", func(c config, _ shapes) { delete(c, "model_type") }, `model_type ""`},
		{"unknown type", func(c config, _ shapes) { c["model_type"] = "mamba" }, `config.json: model_type "mamba"`},
		{"type of another kind", func(c config, _ shapes) { c["model_type"] = 7 }, "model_type is 7; want a text"},
		{"more than text", func(c config, _ shapes) { c["model_type"], c["text_config"] = "gemma3", config{} }, "text_config true"},
		{"quantised", func(c config, _ shapes) { c["quantization_config"] = config{"quant_method": "gptq"} }, "quantization_config"},
		{"missing key", func(c config, _ shapes) { delete(c, "num_hidden_layers") }, "num_hidden_layers is missing"},
		{"null", func(c config, _ shapes) { c["num_hidden_layers"] = nil }, "num_hidden_layers is missing"},
		{"text", func(c config, _ shapes) { c["hidden_size"] = "8" }, "hidden_size is \"8\"; want a whole number"},
		{"fraction", func(c config, _ shapes) { c["hidden_size"] = 8.5 }, "hidden_size is 8.5"},
		{"negative", func(c config, _ shapes) { c["hidden_size"] = -8 }, "hidden_size is -8"},
		{"none", func(c config, _ shapes) { c["num_attention_heads"] = 0 }, "num_attention_heads is 0"},
		{"too many layers", func(c config, _ shapes) { c["num_hidden_layers"] = 1 << 30 }, "num_hidden_layers is 1073741824"},
		{"epsilon", func(c config, _ shapes) { c["rms_norm_eps"] = -1 }, "norm epsilon"},
		{"activation", func(c config, _ shapes) { c["hidden_act"] = "gelu" }, `hidden_act "gelu"`},
		{"scaling", func(c config, _ shapes) { c["rope_scaling"] = config{"type": "longrope", "factor": 2} }, `"longrope"`},
		{"scaling of Phi-3", func(c config, _ shapes) {
			c["model_type"], c["rope_scaling"] = "phi3", config{"type": "yarn", "long_factor": []int{1, 1}, "short_factor": []int{1, 1}}
		}, `config.json: RoPE scaling "yarn", which is longrope here`},
		{"factor of zero", func(c config, _ shapes) { c["model_type"], c["logits_scaling"] = "granite", 0 }, "logits_scaling is 0"},
		{"scaling of no object", func(c config, _ shapes) { c["rope_scaling"] = "linear" }, "rope_scaling is not an object"},
		{"factor of no number", func(c config, _ shapes) { c["rope_scaling"] = config{"type": "linear", "factor": "2"} }, `factor is "2"`},
		{"yarn of DeepSeek", func(c config, _ shapes) {
			c["rope_scaling"] = config{"type": "yarn", "factor": 2, "mscale": 1}
		}, "mscale"},
		{"part of a head", func(c config, _ shapes) { c["partial_rotary_factor"] = 2 }, "partial_rotary_factor is 2"},
		{"missing tensor", func(_ config, s shapes) { delete(s, layer+"self_attn.q_proj.weight") }, "tensor model.layers.0.self_attn.q_proj.weight is missing"},
		{"missing embedding", func(_ config, s shapes) { delete(s, "model.embed_tokens.weight") }, "tensor model.embed_tokens.weight is missing"},
		{"layer too few", func(c config, _ shapes) { c["num_hidden_layers"] = 2 }, "tensor model.layers.1."},
		{"layer too many", func(_ config, s shapes) { s["model.layers.1.mlp.up_proj.weight"] = []int{1} }, `model.safetensors: tensor "model.layers.1.mlp.up_proj.weight": not one`},
		{"wrong shape", func(_ config, s shapes) { s[layer+"mlp.up_proj.weight"] = []int{8, 16} }, "model.safetensors: tensor model.layers.0.mlp.up_proj.weight has shape [8 16]"},
		{"heads that do not divide", func(_ config, s shapes) { s[layer+"self_attn.q_proj.weight"] = []int{7, 8} }, "model.safetensors: tensor model.layers.0.self_attn.q_proj.weight: has 7 rows"},
		{"other vocabulary", func(c config, _ shapes) { c["vocab_size"] = 6 }, "model.embed_tokens.weight has shape [5 8]"},
		{"unknown tensor", func(_ config, s shapes) { s["model.vision.weight"] = []int{1} }, `tensor "model.vision.weight": not one`},
		{"number with a zero", func(_ config, s shapes) { s["model.layers.00.mlp.up_proj.bias"] = []int{16} }, "not one"},
		{"tensor of another family", func(_ config, s shapes) { s[layer+"self_attn.q_norm.weight"] = []int{4} }, "tensor model.layers.0.self_attn.q_norm.weight: llama has no such tensor"},
		{"buffer", func(_ config, s shapes) { s[layer+"self_attn.q_proj.scale"] = []int{4} }, "not one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, shapes := llamaFolder(), folderTensors()
			c.spoil(config, shapes)
			_, _, err := openFolder(t, config, shapes, graph.Invalid)
			if err == nil {
				t.Fatal("accepted")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("%q does not say %q in one line", text, c.want)
			}
		})
	}
	if _, _, err := openFolder(t, map[string]any{"model_type": "mamba"}, folderTensors(), graph.Invalid); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}
}

// TestFolderConfig: keys of all families, in the forms that files have had.
func TestFolderConfig(t *testing.T) {
	type config = map[string]any
	base := func(kind string, more config) config {
		c := llamaFolder()
		delete(c, "hidden_act")
		c["model_type"], c["num_hidden_layers"], c["head_dim"] = kind, 6, 4
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	show := func(c *model.Config) string {
		s := fmt.Sprintf("%s w%d%v rope%v", c.Family, c.Window, c.Windowed, c.RoPE)
		if c.WindowRoPE != nil {
			s += fmt.Sprint(" local", *c.WindowRoPE)
		}
		s += fmt.Sprintf(" scale%.3g caps%g,%g", c.AttentionScale, c.AttentionCap, c.LogitCap)
		if c.LogitScale != 0 {
			s += fmt.Sprintf(" factors%g,%g,%g", c.EmbeddingScale, c.ResidualScale, c.LogitScale)
		}
		return s
	}
	plain := func(base float64) string { return fmt.Sprint(model.RoPE{Base: base}) }
	for _, c := range []struct {
		name   string
		config config
		want   string
	}{
		{"llama", base("llama", nil), "llama w0[] rope" + plain(1e4) + " scale0 caps0,0"},
		{"llama 3", base("llama", config{"rope_theta": 5e5, "rope_scaling": config{
			"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}}),
			"llama w0[] rope" + fmt.Sprint(model.RoPE{Base: 5e5, Scaling: "llama3", Factor: 8, Original: 8192, LowFreq: 1, HighFreq: 4}) + " scale0 caps0,0"},
		{"mistral", base("mistral", config{"sliding_window": 32}), "llama w32[] rope" + plain(1e4) + " scale0 caps0,0"},
		{"mistral without a window", base("mistral", config{"sliding_window": nil}), "llama w0[] rope" + plain(1e4) + " scale0 caps0,0"},
		{"qwen2", base("qwen2", config{"sliding_window": 32, "use_sliding_window": false, "rope_theta": 1e6}), "qwen2 w0[] rope" + plain(1e6) + " scale0 caps0,0"},
		{"qwen2 with windows", base("qwen2", config{"sliding_window": 32, "use_sliding_window": true, "max_window_layers": 4}),
			"qwen2 w32[false false false false true true] rope" + plain(1e4) + " scale0 caps0,0"},
		{"qwen2.5 stretched", base("qwen2", config{"rope_scaling": config{"factor": 4.0, "original_max_position_embeddings": 32, "type": "yarn"}}),
			"qwen2 w0[] rope" + fmt.Sprint(model.RoPE{Base: 1e4, Scaling: "yarn", Factor: 4, Original: 32}) + " scale0 caps0,0"},
		{"phi3", base("phi3", config{"sliding_window": 16, "partial_rotary_factor": 0.5, "rope_scaling": nil}),
			"phi3 w16[] rope" + fmt.Sprint(model.RoPE{Base: 1e4, Dim: 2}) + " scale0 caps0,0"},
		{"granite", base("granite", config{"attention_multiplier": 0.5, "logits_scaling": 8, "residual_multiplier": 0.25}),
			"granite w0[] rope" + plain(1e4) + " scale0.5 caps0,0 factors1,0.25,0.125"},
		{"granite's own", base("granite", nil), "granite w0[] rope" + plain(1e4) + " scale1 caps0,0 factors1,1,1"},
		{"gemma2", base("gemma2", config{"sliding_window": 16, "query_pre_attn_scalar": 16, "hidden_activation": "gelu_pytorch_tanh"}),
			"gemma2 w16[true false true false true false] rope" + plain(1e4) + " scale0.25 caps50,30"},
		{"gemma2 without caps", base("gemma2", config{"attn_logit_softcapping": nil, "final_logit_softcapping": nil, "layer_types": []string{
			"full_attention", "full_attention", "full_attention", "full_attention", "full_attention", "sliding_attention"}}),
			"gemma2 w4096[false false false false false true] rope" + plain(1e4) + " scale0.0625 caps0,0"},
		{"gemma3, first form", base("gemma3_text", config{"sliding_window": 16, "sliding_window_pattern": 3, "rope_local_base_freq": 9e3, "rope_theta": 1e6,
			"rope_scaling": config{"rope_type": "linear", "factor": 8.0}}),
			"gemma3 w16[true true false true true false] rope" + fmt.Sprint(model.RoPE{Base: 1e6, Scaling: "linear", Factor: 8, Original: 64}) + " local" + plain(9e3) + " scale0.0625 caps0,0"},
		{"gemma3, later form", base("gemma3_text", config{"sliding_window": 16, "rope_parameters": config{
			"full_attention": config{"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": config{"rope_type": "default", "rope_theta": 8e3}}}),
			"gemma3 w16[true true true true true false] rope" + plain(1e6) + " local" + plain(8e3) + " scale0.0625 caps0,0"},
	} {
		data, err := json.Marshal(c.config)
		if err != nil {
			t.Fatal(err)
		}
		f, err := weights.Open(sw.Folder(t, map[string][]byte{"config.json": data, "model.safetensors": sw.Build()}))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := model.FromFolder(f)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s := show(got); s != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, s, c.want)
		}
	}
}

// TestQuantize: a folder quantised at load has the tensors of a GGUF file
// quantised at load; the embedding keeps 8 bits.
func TestQuantize(t *testing.T) {
	for _, dtype := range []graph.DType{graph.Q8_0, graph.Q4_0} {
		open := func(path string) *weights.File {
			f, err := model.Open(path, dtype)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			if err := f.Load(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			return f
		}
		a, b := open(filepath.Join("testdata", "folders", "tiny-chat")), open(filepath.Join("testdata", "tiny", "tiny-chat.gguf"))
		for _, want := range b.Tensors() {
			got, ok := a.Tensor(want.Name)
			if !ok || got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) || !slices.Equal(got.Data, want.Data) {
				t.Errorf("%s: %s is %v of %s", dtype, want.Name, got.Shape, got.Type)
			}
		}
		for name, want := range map[string]graph.DType{
			"token_embd.weight": graph.Q8_0, "output.weight": graph.Q8_0, "blk.1.ffn_up.weight": dtype, "blk.1.attn_q.weight": dtype, "output_norm.weight": graph.F32,
		} {
			if x, _ := a.Tensor(name); x.Type != want {
				t.Errorf("%s: %s is %s, want %s", dtype, name, x.Type, want)
			}
		}
		if x, _ := b.Digest(); func() bool { y, _ := a.Digest(); return x == y }() {
			t.Error("file and folder have one digest")
		}
	}
	if _, err := model.Open(filepath.Join("testdata", "tiny", "q4_1.gguf"), graph.Q8_0); err == nil || !strings.Contains(err.Error(), "nothing to quantise") {
		t.Errorf("a quantised file: %v", err)
	}
	if _, err := model.Open(filepath.Join("testdata", "tiny", "f16.gguf"), graph.Q4_K); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("to Q4_K: %v", err)
	}
	shapes := folderTensors() // rows of 8 and 16
	if _, _, err := openFolder(t, llamaFolder(), shapes, graph.Q8_0); err == nil || !strings.Contains(err.Error(), "rows of whole blocks") {
		t.Errorf("short rows: %v", err)
	}
}

// FuzzFolderConfig: any config.json is refused, or gives a graph of bounded size.
func FuzzFolderConfig(f *testing.F) {
	mutate.Add(f, configSeeds())
	w := noWeights(f)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzConfig(t, w, data) })
}

func TestMutantsConfig(t *testing.T) {
	w := noWeights(t)
	mutate.Fuzz(t, "FuzzFolderConfig", configSeeds(), func(in mutate.Input) error { return fuzzConfig(t, w, in[0].([]byte)) })
}

func configSeeds() (seeds []mutate.Input) {
	for _, kind := range []string{"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text", "granite"} {
		c := llamaFolder()
		c["model_type"], c["hidden_act"], c["rope_parameters"] = kind, nil, map[string]any{"rope_type": "yarn", "rope_theta": 1e4, "factor": 2}
		data, _ := json.Marshal(c)
		seeds = append(seeds, mutate.Input{data})
	}
	return append(seeds, mutate.Input{[]byte(`{"model_type":"gemma3","rope_parameters":{"full_attention":{"rope_theta":1e999}},"layer_types":["x"]}`)})
}

// noWeights opens a folder without a tensor.
func noWeights(t testing.TB) *weights.File {
	w, err := weights.Open(sw.Folder(t, map[string][]byte{"config.json": []byte("{}"), "model.safetensors": sw.Build()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func fuzzConfig(t *testing.T, w *weights.File, data []byte) error {
	c, err := model.FromJSON("folder", data)
	if err != nil {
		return err
	}
	for _, x := range []float64{c.NormEps, c.AttentionScale, c.RoPE.Base} {
		if math.IsNaN(x) {
			t.Fatalf("%+v", c)
		}
	}
	if _, err = c.Build(w); err == nil {
		t.Fatal("a graph without tensors")
	}
	return err
}
