package main

import (
	"testing"

	"github.com/holdfast-run/holdfast/engine"
)

func TestCanSweep(t *testing.T) {
	p := engine.Plan{Blocks: 64, BlockTokens: 32, ContextLength: 2048}
	for _, c := range []struct {
		most, tokens int
		can          bool
	}{
		{0, 100, true}, {64, 31, true}, {64, 32, false}, {32, 63, true}, {65, 1, false}, {1, 2047, true}, {1, 2048, false},
	} {
		if err := canSweep(p, c.most, c.tokens); (err == nil) != c.can {
			t.Errorf("%d sequences of %d tokens: %v", c.most, c.tokens, err)
		}
	}
}
