package main

import (
	"testing"

	"github.com/holdfast-run/holdfast/engine"
)

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
