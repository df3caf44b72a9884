package model

import (
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/internal/num"
)

// RoPE is a model's rotary position embedding. The zero value of a field that a
// scaling does not use is right.
type RoPE struct {
	Base float64 // the greatest wavelength is about 2π·Base positions
	Dim  int     // elements of a head that turn; 0 means all

	// Scaling is none (or empty), linear, yarn or llama3; Factor is by how much it
	// stretches the context, at least 1.
	Scaling string
	Factor  float64
	// Original is the context before it was stretched, for yarn and llama3.
	Original int
	// BetaFast and BetaSlow are, for yarn, the turns over the original context
	// from which a pair is kept, and up to which it is stretched; 0 means 32 and 1.
	BetaFast, BetaSlow float64
	// Magnitude is, for yarn, what multiplies the turned elements; 0 means
	// 1 + ln(Factor)/10.
	Magnitude float64
	// LowFreq and HighFreq are, for llama3, the turns over the original context up
	// to which a pair is stretched, and from which it is kept.
	LowFreq, HighFreq float64

	// Divisors are what each pair's frequency is divided by beside all that: GGUF's
	// rope_freqs.weight, where it keeps Llama 3's scaling. Nil for none.
	Divisors []float32
}

// freqs returns the frequencies of the pairs of a head, in radians per position,
// and what multiplies the turned elements.
func (r *RoPE) freqs(source string, headDim int) ([]float64, float64, error) {
	dim := r.Dim
	if dim == 0 {
		dim = headDim
	}
	if err := r.check(source, dim, headDim); err != nil {
		return nil, 0, err
	}
	freqs := make([]float64, dim/2)
	for i := range freqs {
		freqs[i] = num.Pow(r.Base, -float64(2*i)/float64(dim))
	}
	magnitude := 1.0
	switch r.Scaling {
	case "linear":
		for i := range freqs {
			freqs[i] /= r.Factor
		}
	case "yarn":
		r.yarn(freqs)
		if magnitude = r.Magnitude; magnitude == 0 {
			magnitude = float64(0.1*num.Log(r.Factor)) + 1
		}
	case "llama3":
		r.llama3(freqs)
	}
	for i, d := range r.Divisors {
		freqs[i] /= float64(d)
	}
	return freqs, magnitude, nil
}

// check reports what is wrong with r for dim of a head's elements.
func (r *RoPE) check(source string, dim, headDim int) error {
	ok := dim >= 2 && dim%2 == 0 && dim <= headDim && r.Base > 1 && !math.IsInf(r.Base, 1)
	switch r.Scaling {
	case "", "none":
	case "linear":
		ok = ok && r.Factor > 0 && !math.IsInf(r.Factor, 1)
	case "yarn":
		fast, slow := r.betas()
		ok = ok && r.Factor >= 1 && !math.IsInf(r.Factor, 1) && r.Original > 0 && slow > 0 && fast >= slow && !math.IsInf(fast, 1) && r.Magnitude >= 0 && !math.IsInf(r.Magnitude, 1)
	case "llama3":
		ok = ok && r.Factor >= 1 && !math.IsInf(r.Factor, 1) && r.Original > 0 && r.LowFreq > 0 && r.HighFreq > r.LowFreq && !math.IsInf(r.HighFreq, 1)
	default:
		return fmt.Errorf("%w: %s: RoPE scaling %q; carried: linear, yarn, llama3", ErrUnsupported, source, r.Scaling)
	}
	if !ok {
		return fmt.Errorf("model: %s: RoPE over %d of %d elements, base %g, scaling %q by %g of %d positions", source, dim, headDim, r.Base, r.Scaling, r.Factor, r.Original)
	}
	if r.Divisors != nil && len(r.Divisors) != dim/2 {
		return fmt.Errorf("model: %s: tensor rope_freqs.weight has %d divisors for RoPE's %d pairs", source, len(r.Divisors), dim/2)
	}
	for _, d := range r.Divisors {
		if !(d > 0) || math.IsInf(float64(d), 1) {
			return fmt.Errorf("model: %s: tensor rope_freqs.weight holds %g; a divisor must be positive", source, d)
		}
	}
	return nil
}

func (r *RoPE) betas() (fast, slow float64) {
	if fast, slow = r.BetaFast, r.BetaSlow; fast == 0 {
		fast = 32
	}
	if slow == 0 {
		slow = 1
	}
	return fast, slow
}

// yarn stretches the pairs that turn less than BetaSlow times over the original
// context, keeps those that turn more than BetaFast times, and mixes in between
// (arXiv 2309.00071; the bounds are whole pairs, as in its authors' code).
func (r *RoPE) yarn(freqs []float64) {
	pairs := float64(len(freqs))
	bound := func(turns float64) float64 { // the pair that turns so many times
		return pairs * num.Log(float64(r.Original)/float64(turns*2*math.Pi)) / num.Log(r.Base)
	}
	fast, slow := r.betas()
	low, high := max(math.Floor(bound(fast)), 0), min(math.Ceil(bound(slow)), 2*pairs-1)
	if low == high {
		high += 0.001
	}
	for i, f := range freqs {
		stretched := min(max((float64(i)-low)/(high-low), 0), 1)
		freqs[i] = float64(f/r.Factor*stretched) + float64(f*(1-stretched))
	}
}

// llama3 stretches the pairs that turn less than LowFreq times over the original
// context, keeps those that turn more than HighFreq times, and mixes in between.
func (r *RoPE) llama3(freqs []float64) {
	for i, f := range freqs {
		turns := float64(float64(r.Original)*f) / (2 * math.Pi)
		kept := min(max((turns-r.LowFreq)/(r.HighFreq-r.LowFreq), 0), 1)
		freqs[i] = float64(f/r.Factor*(1-kept)) + float64(f*kept)
	}
}
