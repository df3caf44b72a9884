package main

import (
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/engine"
)

func TestStepBytes(t *testing.T) {
	p := engine.Plan{Items: []device.PlanItem{{Name: "scratch", Bytes: 7}, {Name: "weights", Bytes: 100}}, BytesPerToken: 3}
	if got := stepBytes(p, 4); got != 112 {
		t.Errorf("%d bytes, want 112", got)
	}
}

func TestCanSweep(t *testing.T) {
	p := engine.Plan{Blocks: 128, BlockTokens: 32, ContextLength: 2048}
	for _, c := range []struct {
		most, tokens int
		can          bool
	}{
		{0, 100, true}, {128, 31, true}, {128, 32, false}, {64, 63, true}, {129, 1, false}, {1, 2047, true}, {1, 2048, false},
	} {
		if err := canSweep(p, c.most, c.tokens); (err == nil) != c.can {
			t.Errorf("%d sequences of %d tokens: %v", c.most, c.tokens, err)
		}
	}
}
