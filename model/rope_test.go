package model

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// TestRoPEScalings compares frequencies with those of transformers, whose are float32.
func TestRoPEScalings(t *testing.T) {
	data, err := os.ReadFile("testdata/rope.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Type      string    `json:"rope_type"`
			Base      float64   `json:"rope_theta"`
			Factor    float64   `json:"factor"`
			Original  int       `json:"original_max_position_embeddings"`
			Low       float64   `json:"low_freq_factor"`
			High      float64   `json:"high_freq_factor"`
			BetaFast  float64   `json:"beta_fast"`
			BetaSlow  float64   `json:"beta_slow"`
			Attention float64   `json:"attention_factor"`
			Dim       int       `json:"dim"`
			Freqs     []float64 `json:"freqs"`
			Magnitude float64   `json:"magnitude"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) != 18 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		r := RoPE{
			Base: c.Base, Scaling: c.Type, Factor: c.Factor, Original: c.Original, LowFreq: c.Low, HighFreq: c.High,
			BetaFast: c.BetaFast, BetaSlow: c.BetaSlow, Magnitude: c.Attention,
		}
		freqs, magnitude, err := r.freqs("test", c.Dim)
		if err != nil || len(freqs) != len(c.Freqs) || !(math.Abs(magnitude-c.Magnitude) < 1e-12) {
			t.Errorf("%+v: %d frequencies of magnitude %g, want %g: %v", r, len(freqs), magnitude, c.Magnitude, err)
			continue
		}
		for i, want := range c.Freqs {
			if !(math.Abs(freqs[i]/want-1) < 2e-6) {
				t.Errorf("%+v of %d: frequency %d is %g, want %g", r, c.Dim, i, freqs[i], want)
			}
		}
	}
}

// TestRoPERefusals: no parameter that a file can hold makes a frequency that is
// no positive number.
func TestRoPERefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		r    RoPE
		want string
	}{
		{"longrope", RoPE{Base: 10000, Scaling: "longrope"}, `"longrope"; carried: linear, yarn, llama3`},
		{"dynamic", RoPE{Base: 10000, Scaling: "dynamic", Factor: 2}, `"dynamic"`},
		{"no base", RoPE{}, "base 0"},
		{"base of infinity", RoPE{Base: math.Inf(1)}, "base +Inf"},
		{"odd", RoPE{Base: 10000, Dim: 7}, "7 of 16"},
		{"too wide", RoPE{Base: 10000, Dim: 18}, "18 of 16"},
		{"linear by nothing", RoPE{Base: 10000, Scaling: "linear"}, `"linear" by 0`},
		{"linear by NaN", RoPE{Base: 10000, Scaling: "linear", Factor: math.NaN()}, "by NaN"},
		{"yarn of no context", RoPE{Base: 10000, Scaling: "yarn", Factor: 4}, "of 0 positions"},
		{"yarn by less than 1", RoPE{Base: 10000, Scaling: "yarn", Factor: 0.5, Original: 64}, "by 0.5"},
		{"yarn with betas in the wrong order", RoPE{Base: 10000, Scaling: "yarn", Factor: 2, Original: 64, BetaFast: 1, BetaSlow: 4}, `"yarn"`},
		{"yarn of infinite magnitude", RoPE{Base: 10000, Scaling: "yarn", Factor: 2, Original: 64, Magnitude: math.Inf(1)}, `"yarn"`},
		{"llama3 without bounds", RoPE{Base: 10000, Scaling: "llama3", Factor: 8, Original: 64}, `"llama3"`},
		{"llama3 with equal bounds", RoPE{Base: 10000, Scaling: "llama3", Factor: 8, Original: 64, LowFreq: 4, HighFreq: 4}, `"llama3"`},
		{"divisors of another length", RoPE{Base: 10000, Divisors: []float32{1}}, "rope_freqs.weight"},
		{"divisor of infinity", RoPE{Base: 10000, Divisors: []float32{1, 1, 1, 1, 1, 1, 1, float32(math.Inf(1))}}, "rope_freqs.weight holds +Inf"},
	} {
		if _, _, err := c.r.freqs("test", 16); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
