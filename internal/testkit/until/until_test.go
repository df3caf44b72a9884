package until

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

// TestReached: each round draws others, with a seed or without one, and the first in which all was
// reached is the last.
func TestReached(t *testing.T) {
	seed := flag.Lookup("rapid.seed").Value
	defer seed.Set(seed.String())
	for _, s := range []string{"0", "7"} {
		if err := seed.Set(s); err != nil {
			t.Fatal(err)
		}
		drawn, runs := map[uint64]bool{}, 0
		Reached(t, func(r *rapid.T) {
			drawn[rapid.Uint64Range(1<<40, 1<<62).Draw(r, "n")] = true
			runs++
		}, func() bool { return runs >= 250 }, func() string { return "" })
		if runs != 300 || len(drawn) < 200 {
			t.Errorf("seed %s: %d different draws in %d runs", s, len(drawn), runs)
		}
		if got := seed.String(); got != s {
			t.Errorf("the seed is %s afterwards, not %s", got, s)
		}
	}
}
