package tokenizer

import (
	"errors"
	"slices"
	"strings"
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

// TestUnusedPieces: an unused piece that two others make is refused. One that is too
// long for that costs nothing, however long: to try each of its cuts would not end.
func TestUnusedPieces(t *testing.T) {
	load := func(unused string) error {
		tokens, kinds := []string{"<unk>", unused}, []int32{2, 5}
		for c := 'a'; c <= 'z'; c++ {
			tokens, kinds = append(tokens, string([]rune{c, c})), append(kinds, 1)
		}
		_, err := FromMetadata(weights.NewMetadata(map[string]any{
			keyModel: "llama", keyTokens: tokens, keyScores: make([]float32, len(tokens)), keyTypes: kinds,
		}))
		return err
	}
	if err := load("aabb"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("made of two: %v", err)
	}
	if err := load("aabba"); err != nil {
		t.Error(err)
	}
	if err := load(strings.Repeat("ab", 1<<21)); err != nil {
		t.Error(err)
	}
}
