package sampler

import (
	"math"
	"testing"
)

// TestEdges: sums that meet a bound exactly. Equal logits weigh 2^topBits each.
func TestEdges(t *testing.T) {
	const w = 1 << topBits
	logits := make([]float32, 8)
	s := new(Scratch)
	for _, c := range []struct {
		topK int
		topP float64
		want uint64
	}{
		{0, 1, 8 * w}, {0, 0.125, w}, {0, 0.1250001, 2 * w}, {0, 0.5, 4 * w}, {0, 0.4999999, 4 * w},
		{0, 0.875, 7 * w}, {0, 0.8750001, 8 * w}, {0, 5e-324, w},
		{3, 1, 3 * w}, {8, 1, 8 * w}, {9, 1, 8 * w}, {4, 0.5, 2 * w}, {4, 0.75, 3 * w}, {2, 0.51, 2 * w},
	} {
		p := Params{Temperature: 1.3, TopK: c.topK, TopP: c.topP}
		if got := s.keep(logits, 0, &p); got != c.want {
			t.Errorf("top_k %d, top_p %v keep %v of 8 equal tokens, want %v", c.topK, c.topP, float64(got)/w, c.want/w)
		}
	}
	s.keep(logits, 0, &Params{Temperature: 1, TopP: 1})
	for r, want := range map[uint64]int32{0: 0, w - 1: 0, w: 1, 2*w - 1: 1, 2 * w: 2, 8*w - 1: 7} {
		if got := s.at(r); got != want {
			t.Errorf("at(%d) = %d, want %d", r, got, want)
		}
	}
}

// TestMinPEdges: logits an octave apart, and a min-p between, or above all.
func TestMinPEdges(t *testing.T) {
	logits := []float32{0, -math.Ln2, -2 * math.Ln2, -3 * math.Ln2, 0}
	s := new(Scratch)
	for _, c := range []struct {
		minP float64
		want int
	}{{0, 5}, {5e-324, 5}, {0.1249, 5}, {0.1251, 4}, {0.2499, 4}, {0.2501, 3}, {0.499, 3}, {0.501, 2}, {1, 2}} {
		p := Params{Temperature: 1, TopP: 1, MinP: c.minP}
		s.keep(logits, 0, &p)
		kept := 0
		for _, n := range s.bucket {
			if n != noBucket {
				kept++
			}
		}
		if kept != c.want {
			t.Errorf("min_p %v keeps %d, want %d", c.minP, kept, c.want)
		}
	}
}
