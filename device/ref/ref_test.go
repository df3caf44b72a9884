package ref_test

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/ref"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
)

// TestTinyGoldens compares every tiny model with transformers in float32.
func TestTinyGoldens(t *testing.T) {
	for _, c := range golden.Tiny(t) {
		t.Run(c.Name, func(t *testing.T) {
			r := devicetest.Open(t, ref.Backend{}, c.Path, device.Options{})
			logits := r.Feed(0, 1, c.Tokens, 50)
			worst := 0.0
			for i, pos := range c.Positions {
				for id, want := range c.Logits[i] {
					worst = max(worst, math.Abs(float64(logits[pos][id]-want)))
				}
			}
			if !(worst < 1e-4) {
				t.Errorf("logits differ by up to %g", worst)
			}
		})
	}
}
