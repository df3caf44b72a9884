package model

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/weights"
)

// Open opens the model at path, a GGUF file or a folder (weights.Open), with the
// tensors that graphs want: GGUF's names and layout. If quantize is Q8_0 or Q4_0,
// matrices of F32, F16 and BF16 become that; graph.Invalid leaves all as they
// are. Types and shapes are right when it returns; weights.File.Load makes the
// values, and comes before a backend reads them.
func Open(path string, quantize graph.DType) (*weights.File, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	if err := translate(f, quantize); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func translate(f *weights.File, quantize graph.DType) error {
	var all []weights.Recast
	switch {
	case f.Folder():
		s, err := openConfig(f)
		if err != nil {
			return err
		}
		if all, err = s.tensors(f); err != nil {
			return err
		}
	case quantize == graph.Invalid:
		return nil
	default:
		for _, t := range f.Tensors() {
			all = append(all, weights.Recast{Name: t.Name, From: t.Name})
		}
	}
	if quantize != graph.Invalid {
		if err := quantizeAll(f, all, quantize); err != nil {
			return err
		}
	}
	return f.Recast(all)
}

// quantizeAll sets the types of the matrices that can be quantised. The embedding
// and the head, which all of a token passes through, have no fewer than 8 bits.
// Rows that are not whole blocks stay as they are.
func quantizeAll(f *weights.File, all []weights.Recast, to graph.DType) error {
	if to != graph.Q8_0 && to != graph.Q4_0 {
		return fmt.Errorf("%w: weights quantised to %s; known: q8_0, q4_0", ErrUnsupported, to)
	}
	some := false
	for i := range all {
		t, _ := f.Tensor(all[i].From)
		float := t.Type == graph.F32 || t.Type == graph.F16 || t.Type == graph.BF16
		if !float || len(t.Shape) != 2 || t.Shape[1]%to.BlockElems() != 0 {
			continue
		}
		some = true
		if all[i].Type = to; all[i].Name == "token_embd.weight" || all[i].Name == "output.weight" {
			all[i].Type = graph.Q8_0
		}
	}
	if !some {
		return fmt.Errorf("model: %s: nothing to quantise: no matrix is F32, F16 or BF16 with rows of whole blocks; leave --quantize out", f.Path())
	}
	return nil
}

// hfNames are GGUF's names of a layer's tensors by transformers'.
var hfNames = map[string]string{
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}

// gemmaNames are those of families with a norm on either side of each part.
var gemmaNames = map[string]string{
	"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}

// phiNames are those of matrices that are several at once.
var phiNames = map[string]string{"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}

// hfOuter are the names of what belongs to no layer.
var hfOuter = map[string]string{
	"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
}

// tensors returns what graphs want of the tensors of f. A tensor that no family
// has is an error: leaving it out would give wrong answers.
func (s *folder) tensors(f *weights.File) ([]weights.Recast, error) {
	c, err := s.config()
	if err != nil {
		return nil, err
	}
	var all []weights.Recast
	for _, t := range f.Tensors() {
		if strings.HasSuffix(t.Name, ".rotary_emb.inv_freq") || t.Name == "lm_head.weight" && s.tied() {
			continue // older files have the frequencies; a copy of the embedding
		}
		name, ok := s.nameOf(t.Name, c.Layers)
		if !ok {
			return nil, fmt.Errorf("%w: %s: tensor %s: not one that a model of %d layers of model_type %s has",
				ErrUnsupported, f.PartOf(t.Name), strconv.Quote(t.Name), c.Layers, s.stringOr("model_type", ""))
		}
		all = append(all, s.recast(c, name, t.Name))
	}
	return all, nil
}

// nameOf returns GGUF's name of a tensor.
func (s *folder) nameOf(name string, layers int) (string, bool) {
	if outer, ok := hfOuter[name]; ok {
		return outer, true
	}
	rest, ok := strings.CutPrefix(name, "model.layers.")
	if !ok {
		return "", false
	}
	number, rest, _ := strings.Cut(rest, ".")
	layer, err := strconv.Atoi(number)
	if err != nil || layer < 0 || layer >= layers || strconv.Itoa(layer) != number {
		return "", false
	}
	at := strings.LastIndexByte(rest, '.')
	if at < 0 || rest[at:] != ".weight" && rest[at:] != ".bias" {
		return "", false
	}
	part, ok := s.kind.names[rest[:at]]
	if !ok {
		part, ok = hfNames[rest[:at]]
	}
	return fmt.Sprintf("blk.%d.%s%s", layer, part, rest[at:]), ok
}

// recast says how GGUF has a tensor.
func (s *folder) recast(c *Config, name, from string) weights.Recast {
	r := weights.Recast{Name: name, From: from}
	if families[c.Family].interleaved {
		switch {
		case strings.Contains(name, ".attn_q."):
			r.Interleave = c.Heads
		case strings.Contains(name, ".attn_k."):
			r.Interleave = c.KVHeads
		}
	}
	r.AddOne = s.kind.normsAddOne && strings.HasSuffix(name, "norm.weight")
	return r
}

// foreignName returns what transformers calls a tensor of the graph's, for errors.
func (s *folder) foreignName(name string) string {
	outer := func(name string) string {
		for theirs, ours := range hfOuter {
			if ours == name {
				return theirs
			}
		}
		return name
	}
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return outer(name)
	}
	layer, rest, _ := strings.Cut(rest, ".")
	part, kind, _ := strings.Cut(rest, ".")
	for _, names := range []map[string]string{s.kind.names, hfNames} {
		for theirs, ours := range names {
			if ours == part {
				return fmt.Sprintf("model.layers.%s.%s.%s", layer, theirs, kind)
			}
		}
	}
	return name
}

// checkUsed refuses a tensor of a folder that the graph does not read: the model
// has something that the family does not know.
func (c *Config) checkUsed(f *weights.File, g *graph.Graph) error {
	used := map[string]bool{}
	for _, t := range g.Tensors() {
		used[t.Name] = true
	}
	for _, t := range f.Tensors() {
		if !used[t.Name] {
			return fmt.Errorf("%w: %s: tensor %s: %s has no such tensor", ErrUnsupported, f.PartOf(t.Name), c.foreign(t.Name), c.Family)
		}
	}
	return nil
}

// checkTensor reports whether f holds t in the right shape and a type that
// carries numbers.
func (c *Config) checkTensor(f *weights.File, t graph.Tensor) error {
	name := t.Name
	if c.foreign != nil {
		name = c.foreign(name)
	}
	have, ok := f.Tensor(t.Name)
	if !ok {
		return fmt.Errorf("model: %s: tensor %s is missing", f.Path(), name)
	}
	if !slices.Equal(have.Shape, t.Shape) {
		return fmt.Errorf("model: %s: tensor %s has shape %v; the metadata asks for %v", f.PartOf(t.Name), name, have.Shape, t.Shape)
	}
	if have.Type == graph.I32 {
		return fmt.Errorf("model: %s: tensor %s has type %s; a weight cannot", f.PartOf(t.Name), name, have.Type)
	}
	return nil
}
