// Package until runs properties until they have reached what they are for.
package until

import (
	"flag"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// most is how many rounds of rapid's hundred runs a property has.
const most = 20

// Reached checks a property on random draws until reached says that it has done all
// that it is for: a hundred runs do not always. what describes how far it came. With a seed
// that is given (-rapid.seed, RAPID_SEED), the rounds have the ones behind it.
func Reached(t *testing.T, property func(*rapid.T), reached func() bool, what func() string) {
	t.Helper()
	seed := flag.Lookup("rapid.seed").Value
	first := seed.(flag.Getter).Get().(uint64)
	defer func() { _ = seed.Set(fmt.Sprint(first)) }()
	for round := range uint64(most) {
		if first != 0 {
			_ = seed.Set(fmt.Sprint(first + round*1_000_003)) // rapid's own steps are smaller
		}
		if rapid.Check(t, property); t.Failed() || reached() {
			return
		}
	}
	t.Errorf("something never happened in %d rounds: %s", most, what())
}
