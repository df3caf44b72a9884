package tokenizer

import (
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/weights"
)

// TestMergesOfPieces: two symbols merge if what they spell is a piece, also
// where one of them is a rune that only longer pieces have.
func TestMergesOfPieces(t *testing.T) {
	tok, err := FromMetadata(weights.NewMetadata(map[string]any{
		keyModel:    "llama",
		keyTokens:   []string{"<unk>", "b", "ab", "abc", "c", "é", "dé", "bc", "bcde"},
		keyScores:   []float32{0, -9, -1, -2, -9, -9, -3, -5, -6},
		keyTypes:    []int32{2, 1, 1, 1, 1, 1, 1, 1, 1},
		keyAddSpace: false,
	}))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"ab":    {2},    // a is a rune without a token, and begins it
		"dé":    {6},    // so is d; é has two bytes
		"abc":   {3},    // ab before bc
		"bc":    {7},    // the piece before it in order, b, begins it
		"bcdé":  {7, 6}, // d does not go to bcde
		"cabb":  {4, 2, 1},
		"ébcab": {5, 7, 2},
	} {
		if got := tok.Encode(nil, text); !slices.Equal(got, want) {
			t.Errorf("%q = %v, want %v", text, got, want)
		}
	}
}
