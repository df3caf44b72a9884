package model

import (
	"fmt"

	"github.com/holdfast-run/holdfast/internal/num"
	"github.com/holdfast-run/holdfast/weights"
)

// ropeFreqs returns the rotary frequencies, in radians per position, with the
// model's scaling applied: linear (the position divided by a factor), or one
// divisor per pair (rope_freqs.weight, as Llama 3's converter writes it).
func (s *source) ropeFreqs(headDim int) []float64 {
	rot := s.intOr("rope.dimension_count", headDim, maxHeadDim)
	base := s.floatOr("rope.freq_base", 10000)
	factor := 1.0
	switch kind := s.stringOr("rope.scaling.type", "none"); kind {
	case "none":
	case "linear":
		factor = s.floatOr("rope.scaling.factor", 1)
	default:
		s.fail(fmt.Errorf("%w: %s: %s.rope.scaling.type %q", ErrUnsupported, s.f.Path(), s.arch, kind))
	}
	if rot%2 != 0 || rot > headDim || !(base > 0) || !(factor > 0) {
		s.fail(fmt.Errorf("model: %s: RoPE over %d of %d dimensions, base %g, factor %g", s.f.Path(), rot, headDim, base, factor))
	}
	if s.err != nil {
		return nil
	}
	divisors := s.vector("rope_freqs.weight", rot/2)
	freqs := make([]float64, rot/2)
	for i := range freqs {
		freqs[i] = num.Pow(base, -float64(2*i)/float64(rot)) / factor
		if divisors != nil {
			freqs[i] /= float64(divisors[i])
		}
	}
	return freqs
}

// vector returns an optional tensor of n elements, or nil if it is absent.
func (s *source) vector(name string, n int) []float32 {
	t, ok := s.f.Tensor(name)
	if !ok {
		return nil
	}
	if len(t.Shape) != 1 || t.Shape[0] != n {
		s.fail(fmt.Errorf("model: %s: tensor %s has shape %v; the metadata asks for [%d]", s.f.Path(), name, t.Shape, n))
		return nil
	}
	x := make([]float32, n)
	if err := weights.Dequantize(t.Type, x, t.Data); err != nil {
		s.fail(fmt.Errorf("model: %s: tensor %s: %w", s.f.Path(), name, err))
		return nil
	}
	for _, v := range x {
		if !(v > 0) {
			s.fail(fmt.Errorf("model: %s: tensor %s holds %g; a divisor must be positive", s.f.Path(), name, v))
			return nil
		}
	}
	return x
}
