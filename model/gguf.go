package model

import (
	"fmt"

	"github.com/holdfast-run/holdfast/weights"
)

// FromGGUF returns the hyperparameters that the metadata of f state.
func FromGGUF(f *weights.File) (*Config, error) {
	arch, err := f.Meta().String("general.architecture")
	if err != nil {
		return nil, err
	}
	c := &Config{Family: arch, Source: f.Path()}
	family, ok := families[arch]
	if !ok {
		return c, nil // Build refuses it, and says what there is
	}
	s := &source{f: f, arch: arch}
	c.Layers = s.int("block_count", maxLayers)
	c.Context = s.int("context_length", maxContext)
	c.Width = s.int("embedding_length", maxWidth)
	c.FFN = s.int("feed_forward_length", maxWidth)
	c.Heads = s.int("attention.head_count", maxWidth)
	c.KVHeads = s.intOr("attention.head_count_kv", c.Heads, maxWidth)
	c.HeadDim = s.intOr("attention.key_length", c.Width/c.Heads, maxHeadDim)
	c.NormEps = s.floatOr("attention.layer_norm_rms_epsilon", 1e-5)
	c.AttentionScale = s.floatOr("attention.scale", 0)
	c.Vocab = s.rows("token_embd.weight")
	c.Window = s.window()
	c.RoPE = s.rope()
	if v := s.intOr("attention.value_length", c.HeadDim, maxHeadDim); v != c.HeadDim {
		s.fail(fmt.Errorf("%w: %s: keys of %d and values of %d elements", ErrUnsupported, f.Path(), c.HeadDim, v))
	}
	if family.gguf != nil {
		family.gguf(s, c)
	}
	return c, s.err
}

// source reads hyperparameters under the family's prefix. The first error
// sticks.
type source struct {
	f    *weights.File
	arch string
	err  error
}

func (s *source) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *source) has(name string) bool { return s.f.Meta().Has(s.arch + "." + name) }

// int returns the key arch.name, which must lie in [1, most].
func (s *source) int(name string, most int) int {
	key := s.arch + "." + name
	n, err := s.f.Meta().Uint(key)
	if err != nil {
		s.fail(err)
		return 1
	}
	if n == 0 || n > uint64(most) {
		s.fail(fmt.Errorf("model: %s: %s is %d; it must be in [1, %d]", s.f.Path(), key, n, most))
		return 1
	}
	return int(n)
}

// intOr is int with a default for an absent key.
func (s *source) intOr(name string, def, most int) int {
	if !s.has(name) {
		return def
	}
	return s.int(name, most)
}

// floatOr returns the key arch.name, or def if it is absent.
func (s *source) floatOr(name string, def float64) float64 {
	x, err := s.f.Meta().FloatOr(s.arch+"."+name, def)
	if err != nil {
		s.fail(err)
	}
	return x
}

// window returns how many positions a token sees; 0 means all.
func (s *source) window() int {
	if n, err := s.f.Meta().Uint(s.arch + ".attention.sliding_window"); err == nil && n == 0 {
		return 0
	}
	return s.intOr("attention.sliding_window", 0, maxContext)
}

// windowed returns which layers have a window: as the file says, by a pattern's
// length or layer by layer, else all but each n-th.
func (s *source) windowed(layers, n int) []bool {
	const name = "attention.sliding_window_pattern"
	if s.f.Meta().IsArray(s.arch + "." + name) {
		list, err := s.f.Meta().Bools(s.arch + "." + name)
		if err != nil {
			s.fail(err)
		}
		return list
	}
	return everyNthFull(layers, s.intOr(name, n, maxLayers))
}

// rope returns the rotation of the layers that see everything.
func (s *source) rope() RoPE {
	r := RoPE{
		Base: s.floatOr("rope.freq_base", 10000),
		Dim:  s.intOr("rope.dimension_count", 0, maxHeadDim),
	}
	r.Divisors = s.vector("rope_freqs.weight")
	if _, ok := s.f.Tensor("rope_factors_long.weight"); ok {
		s.fail(fmt.Errorf("%w: %s: RoPE scaling longrope (tensor rope_factors_long.weight); take a model without it, such as one with 4k of context", ErrUnsupported, s.f.Path()))
	}
	if !s.has("rope.scaling.type") {
		return r
	}
	var err error
	if r.Scaling, err = s.f.Meta().String(s.arch + ".rope.scaling.type"); err != nil {
		s.fail(err)
	}
	r.Factor = s.floatOr("rope.scaling.factor", 1)
	if r.Scaling == "yarn" {
		s.yarn(&r)
	}
	return r
}

// yarn reads what that scaling needs. Its bounds and magnitude are mostly left
// out, for the usual ones.
func (s *source) yarn(r *RoPE) {
	r.Original = s.int("rope.scaling.original_context_length", maxContext)
	r.BetaFast = s.floatOr("rope.scaling.yarn_beta_fast", 0)
	r.BetaSlow = s.floatOr("rope.scaling.yarn_beta_slow", 0)
	for _, name := range []string{"attn_factor", "yarn_ext_factor", "yarn_attn_factor", "yarn_log_multiplier"} {
		if s.has("rope.scaling." + name) {
			s.fail(fmt.Errorf("%w: %s: %s.rope.scaling.%s", ErrUnsupported, s.f.Path(), s.arch, name))
		}
	}
}

// vector returns an optional tensor of one dimension, or nil if it is absent.
func (s *source) vector(name string) []float32 {
	t, ok := s.f.Tensor(name)
	if !ok {
		return nil
	}
	if len(t.Shape) != 1 || t.Shape[0] > maxHeadDim {
		s.fail(fmt.Errorf("model: %s: tensor %s has shape %v; it must be a vector", s.f.Path(), name, t.Shape))
		return nil
	}
	x := make([]float32, t.Shape[0])
	if err := weights.Dequantize(t.Type, x, t.Data); err != nil {
		s.fail(fmt.Errorf("model: %s: tensor %s: %w", s.f.Path(), name, err))
	}
	return x
}

// rows returns the first dimension of a matrix.
func (s *source) rows(name string) int {
	t, ok := s.f.Tensor(name)
	if !ok || len(t.Shape) != 2 || t.Shape[0] > maxVocab {
		s.fail(fmt.Errorf("model: %s: tensor %s is missing or not a matrix", s.f.Path(), name))
		return 1
	}
	return t.Shape[0]
}
