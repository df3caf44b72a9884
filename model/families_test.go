package model_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
)

// of returns a valid model of a family: 2 heads of 4 over 1 KV head, 7 layers.
func of(family string) *file {
	const layers = 7
	f := &file{
		meta: map[string]any{"general.architecture": family},
		tensors: map[string][]int{
			"token_embd.weight": {5, 8}, "output_norm.weight": {8},
		},
	}
	for key, n := range map[string]uint32{
		"block_count": layers, "context_length": 64, "embedding_length": 8, "feed_forward_length": 16,
		"attention.head_count": 2, "attention.head_count_kv": 1,
	} {
		f.meta[family+"."+key] = n
	}
	parts := map[string][]int{
		"attn_norm.weight": {8}, "attn_q.weight": {8, 8}, "attn_k.weight": {4, 8}, "attn_v.weight": {4, 8}, "attn_output.weight": {8, 8},
		"ffn_norm.weight": {8}, "ffn_gate.weight": {16, 8}, "ffn_up.weight": {16, 8}, "ffn_down.weight": {8, 16},
	}
	switch family {
	case "qwen2":
		maps.Copy(parts, map[string][]int{"attn_q.bias": {8}, "attn_k.bias": {4}, "attn_v.bias": {4}})
	case "qwen3", "gemma3":
		maps.Copy(parts, map[string][]int{"attn_q_norm.weight": {4}, "attn_k_norm.weight": {4}})
	case "phi3":
		for _, p := range []string{"attn_q", "attn_k", "attn_v", "ffn_gate"} {
			delete(parts, p+".weight")
		}
		maps.Copy(parts, map[string][]int{"attn_qkv.weight": {16, 8}, "ffn_up.weight": {32, 8}})
	}
	if strings.HasPrefix(family, "gemma") {
		maps.Copy(parts, map[string][]int{"post_attention_norm.weight": {8}, "post_ffw_norm.weight": {8}})
		f.meta[family+".attention.sliding_window"] = uint32(16)
	}
	for i := range layers {
		for part, shape := range parts {
			f.tensors[fmt.Sprintf("blk.%d.%s", i, part)] = shape
		}
	}
	return f
}

var families = []string{"gemma2", "gemma3", "granite", "llama", "phi3", "qwen2", "qwen3"}

// TestFamilies: a family reads all its tensors, and each of one layer that is
// missing, or of another shape, is named.
func TestFamilies(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			g, err := of(family).build(t)
			if err != nil {
				t.Fatal(err)
			}
			f := of(family)
			if n := len(g.Tensors()); n != len(f.tensors) || g.Vocab != 5 || len(g.KV) != 7 {
				t.Errorf("the graph reads %d tensors of %d, has %d logits and %d layers", n, len(f.tensors), g.Vocab, len(g.KV))
			}
			for name, shape := range f.tensors {
				if strings.HasPrefix(name, "blk.") && !strings.HasPrefix(name, "blk.3.") {
					continue
				}
				f := of(family)
				delete(f.tensors, name)
				if _, err := f.build(t); err == nil || !strings.Contains(err.Error(), "tensor "+name+" is missing") {
					t.Errorf("without %s: %v", name, err)
				}
				f = of(family)
				f.tensors[name] = append(slices.Clone(shape[:len(shape)-1]), shape[len(shape)-1]+1)
				if _, err := f.build(t); err == nil || !strings.Contains(err.Error(), "tensor "+name+" has shape") {
					t.Errorf("%s of another shape: %v", name, err)
				}
			}
		})
	}
}

// windows returns the windows of g's layers.
func windows(g *graph.Graph) []int {
	var list []int
	for _, l := range g.KV {
		list = append(list, l.Window)
	}
	return list
}

// TestWindows: which layers of a family have a window, as files say it.
func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name, family string
		change       func(*file)
		want         []int
	}{
		{"none", "llama", func(*file) {}, []int{0, 0, 0, 0, 0, 0, 0}},
		{"all", "llama", func(f *file) { f.meta["llama.attention.sliding_window"] = uint32(9) }, []int{9, 9, 9, 9, 9, 9, 9}},
		{"zero", "phi3", func(f *file) { f.meta["phi3.attention.sliding_window"] = uint32(0) }, []int{0, 0, 0, 0, 0, 0, 0}},
		{"the context", "phi3", func(f *file) { f.meta["phi3.attention.sliding_window"] = uint32(64) }, []int{0, 0, 0, 0, 0, 0, 0}},
		{"gemma2", "gemma2", func(*file) {}, []int{16, 0, 16, 0, 16, 0, 16}},
		{"gemma2's own", "gemma2", func(f *file) {
			delete(f.meta, "gemma2.attention.sliding_window")
			f.meta["gemma2.context_length"] = uint32(8192)
		}, []int{4096, 0, 4096, 0, 4096, 0, 4096}},
		{"gemma3", "gemma3", func(*file) {}, []int{16, 16, 16, 16, 16, 0, 16}},
		{"a pattern's length", "gemma3", func(f *file) { f.meta["gemma3.attention.sliding_window_pattern"] = uint32(3) }, []int{16, 16, 0, 16, 16, 0, 16}},
		{"a pattern", "gemma3", func(f *file) {
			f.meta["gemma3.attention.sliding_window_pattern"] = []bool{false, true, true, false, true, false, false}
		}, []int{0, 16, 16, 0, 16, 0, 0}},
	} {
		f := of(c.family)
		c.change(f)
		g, err := f.build(t)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := windows(g); !slices.Equal(got, c.want) {
			t.Errorf("%s: windows %v, want %v", c.name, got, c.want)
		}
	}
}

// TestFamilyKeys: what a family's own keys, and their absence, make of the graph.
func TestFamilyKeys(t *testing.T) {
	build := func(family string, change func(*file)) (attention []graph.Attention, ropes []graph.RoPE, caps []float64) {
		t.Helper()
		f := of(family)
		if change != nil {
			change(f)
		}
		g, err := f.build(t)
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		for _, n := range g.Nodes {
			switch op := n.Op.(type) {
			case graph.Attention:
				attention = append(attention, op)
			case graph.RoPE:
				ropes = append(ropes, op)
			case graph.SoftCap:
				caps = append(caps, op.Cap)
			}
		}
		return attention, ropes, caps
	}
	second := func(r graph.RoPE) string { return fmt.Sprintf("%.4g", 1/r.Freqs[1]) } // √base

	a, _, caps := build("gemma2", nil)
	if a[0].Cap != 50 || a[0].Scale != 0.5 || !slices.Equal(caps, []float64{30}) {
		t.Errorf("gemma2: %+v, logits capped at %v", a[0], caps)
	}
	a, _, caps = build("gemma2", func(f *file) {
		f.meta["gemma2.attn_logit_softcapping"], f.meta["gemma2.final_logit_softcapping"] = float32(7), float32(0)
		f.meta["gemma2.attention.scale"] = float32(0.25)
	})
	if a[0].Cap != 7 || a[0].Scale != 0.25 || len(caps) != 0 {
		t.Errorf("gemma2: %+v, logits capped at %v", a[0], caps)
	}
	granite := func(change func(*file)) (scales, epsilons []float32) {
		f := of("granite")
		f.meta["granite.attention.layer_norm_rms_epsilon"] = float32(0.5)
		change(f)
		g, err := f.build(t)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range g.Nodes {
			switch op := n.Op.(type) {
			case graph.Scale:
				scales = append(scales, op.By)
			case graph.Norm:
				epsilons = append(epsilons, op.Eps)
			}
		}
		return scales, slices.Compact(epsilons)
	}
	if s, eps := granite(func(f *file) { f.meta["granite.logit_scale"] = float32(8) }); !slices.Equal(s, []float32{1, 0.125}) || !slices.Equal(eps, []float32{0.5}) {
		t.Errorf("granite with a logit scale alone: %v, epsilon %v", s, eps)
	}
	if s, eps := granite(func(f *file) {
		f.meta["granite.embedding_scale"], f.meta["granite.residual_scale"] = float32(12), float32(0.25)
	}); !slices.Equal(s, []float32{48, 1}) || !slices.Equal(eps, []float32{8}) {
		t.Errorf("granite: %v, epsilon %v", s, eps)
	}
	a, r, caps := build("gemma3", func(f *file) {
		f.meta["gemma3.rope.freq_base"] = float32(1e6)
		f.meta["gemma3.rope.scaling.type"], f.meta["gemma3.rope.scaling.factor"] = "linear", float32(8)
	})
	if a[0].Cap != 0 || len(caps) != 0 || second(r[0]) != "100" || second(r[10]) != "8000" || second(r[12]) != "100" {
		t.Errorf("gemma3: %+v, caps %v, periods %s, %s, %s", a[0], caps, second(r[0]), second(r[10]), second(r[12]))
	}
	wide := map[string][]int{ // heads of 8
		"attn_q.weight": {16, 8}, "attn_k.weight": {8, 8}, "attn_v.weight": {8, 8}, "attn_output.weight": {8, 16},
		"attn_q_norm.weight": {8}, "attn_k_norm.weight": {8},
	}
	for family, layers := range map[string]int{"gemma2": 46, "gemma3": 62} { // the 27B
		a, _, _ := build(family, func(f *file) {
			for name, shape := range of(family).tensors {
				part, ok := strings.CutPrefix(name, "blk.0.")
				if other := wide[part]; other != nil {
					shape = other
				}
				for i := 0; ok && i < layers; i++ {
					f.tensors[fmt.Sprintf("blk.%d.%s", i, part)] = shape
				}
			}
			f.meta[family+".block_count"] = uint32(layers)
			f.meta[family+".attention.key_length"] = uint32(8)
		})
		if want := 1 / math.Sqrt(8.0/2); a[0].Scale != want {
			t.Errorf("%s of %d layers: scale %g, want %g", family, layers, a[0].Scale, want)
		}
	}
	_, r, _ = build("qwen2", func(f *file) {
		f.meta["qwen2.rope.scaling.type"], f.meta["qwen2.rope.scaling.factor"] = "yarn", float32(4)
		f.meta["qwen2.rope.scaling.original_context_length"] = uint32(16)
	})
	if r[0].Interleaved || !(math.Abs(r[0].Magnitude-(1+math.Log(4)/10)) < 1e-12) {
		t.Errorf("qwen2: %+v", r[0])
	}
}

// TestFamilyRefusals: what a family's file gets wrong is named, in one line.
func TestFamilyRefusals(t *testing.T) {
	for _, c := range []struct {
		name, family string
		spoil        func(*file)
		want         string
	}{
		{"an infinite residual", "granite", func(f *file) { f.meta["granite.residual_scale"] = float32(math.Inf(1)) }, "residual scale of +Inf"},
		{"embeddings below zero", "granite", func(f *file) { f.meta["granite.embedding_scale"] = float32(-1) }, "embedding scale of -1"},
		{"no RoPE", "granite", func(f *file) { f.meta["granite.rope.scaling.finetuned"] = false }, "granite.rope.scaling.finetuned"},
		{"experts", "granite", func(f *file) { f.tensors["blk.0.ffn_gate_inp.weight"] = []int{2, 8} }, "mixture of experts"},
		{"longrope", "phi3", func(f *file) { f.tensors["rope_factors_long.weight"] = []int{2} }, "longrope (tensor rope_factors_long.weight)"},
		{"yarn of no context", "qwen2", func(f *file) { f.meta["qwen2.rope.scaling.type"] = "yarn" }, "original_context_length"},
		{"yarn's other factors", "qwen2", func(f *file) {
			f.meta["qwen2.rope.scaling.type"] = "yarn"
			f.meta["qwen2.rope.scaling.original_context_length"] = uint32(16)
			f.meta["qwen2.rope.scaling.yarn_ext_factor"] = float32(0.5)
		}, "yarn_ext_factor"},
		{"a pattern of other layers", "gemma3", func(f *file) { f.meta["gemma3.attention.sliding_window_pattern"] = []bool{true, false} }, "marked for 2 of 7 layers"},
		{"a pattern of no layers", "gemma3", func(f *file) { f.meta["gemma3.attention.sliding_window_pattern"] = uint32(0) }, "sliding_window_pattern is 0"},
		{"a pattern of words", "gemma3", func(f *file) { f.meta["gemma3.attention.sliding_window_pattern"] = []string{"full"} }, "sliding_window_pattern"},
		{"a soft cap below zero", "gemma2", func(f *file) { f.meta["gemma2.attn_logit_softcapping"] = float32(-1) }, "attention soft cap of -1"},
		{"a soft cap that is no number", "gemma2", func(f *file) { f.meta["gemma2.final_logit_softcapping"] = float32(math.NaN()) }, "logit soft cap of NaN"},
		{"a scale of infinity", "gemma3", func(f *file) { f.meta["gemma3.attention.scale"] = float32(math.Inf(1)) }, "attention scale of +Inf"},
		{"a base of zero", "gemma3", func(f *file) { f.meta["gemma3.rope.freq_base_swa"] = float32(0) }, "base 0"},
		{"an epsilon below zero", "qwen3", func(f *file) { f.meta["qwen3.attention.layer_norm_rms_epsilon"] = float32(-1) }, "norm epsilon of -1"},
		{"odd heads", "qwen3", func(f *file) { f.meta["qwen3.attention.key_length"] = uint32(5) }, "heads of 5"},
		{"heads in a list", "qwen3", func(f *file) { f.meta["qwen3.attention.head_count_kv"] = []uint32{1, 1} }, "head_count_kv"},
	} {
		f := of(c.family)
		c.spoil(f)
		if _, err := f.build(t); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
