//go:build !race

package sampler

import (
	"math"
	"testing"
)

func TestPickDoesNotAllocate(t *testing.T) {
	logits, small := benchRow(49152, 3), benchRow(1000, 0.001)
	s := new(Scratch)
	row := Row{Params: Params{Temperature: 0.8, TopK: 5000, TopP: 0.95}}
	pick := func() {
		row.Position++
		for _, l := range [][]float32{logits, small} {
			if _, err := Pick(l, row, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	pick()
	if n := testing.AllocsPerRun(50, pick); n != 0 {
		t.Errorf("%v allocations a pick", n)
	}
}

// TestSequenceDoesNotAllocate: penalties, bans, log-probabilities and the history
// of a sequence, token by token.
func TestSequenceDoesNotAllocate(t *testing.T) {
	logits := benchRow(5000, 3)
	s := new(Scratch)
	row := Row{
		Params: Params{
			Temperature: 0.8, TopP: 0.95, MinP: 0.01, RepetitionPenalty: 1.2, FrequencyPenalty: 0.1, PresencePenalty: 0.1,
			LogitBias: []Bias{{1, 2}, {5, -3}}, BadWords: [][]int32{{3}, {4, 5}}, MinTokens: 100,
		},
		History: NewHistory([]int32{1, 2, 3}), Stop: []int32{0},
	}
	row.History.Grow(200)
	step := func() {
		token, err := Pick(logits, row, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Logprobs(logits, token, MaxLogprobs, s); err != nil {
			t.Fatal(err)
		}
		row.History.Append(token)
		row.Position++
	}
	step()
	if n := testing.AllocsPerRun(150, step); n != 0 {
		t.Errorf("%v allocations a token", n)
	}
}

// TestGrownHistoryDoesNotAllocate: Grow makes room for as many distinct tokens.
func TestGrownHistoryDoesNotAllocate(t *testing.T) {
	least := math.Inf(1)
	for range 5 { // the runtime may allocate beside one run, hardly beside all
		h := NewHistory([]int32{1, 2})
		h.Grow(2000)
		token := int32(100)
		least = min(least, testing.AllocsPerRun(1, func() { // runs twice
			for range 1000 {
				h.Append(token)
				token++
			}
		}))
	}
	if least != 0 {
		t.Errorf("%v allocations", least)
	}
}
