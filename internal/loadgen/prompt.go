package loadgen

import (
	_ "embed"
	"math/rand/v2"
	"strings"
)

// wordList holds words that are one token each, after a space, in the
// vocabularies of SmolLM2 and Gemma 3, and in most others.
//
//go:embed words.txt
var wordList string

var words = strings.Fields(wordList)

// prompt returns the text of the i-th request: random words, so that two
// prompts share nothing that a server could keep from one for the other.
func prompt(seed uint64, i, count int) string {
	rng := rand.New(rand.NewPCG(seed, promptStream+uint64(i)))
	var b strings.Builder
	for range count {
		b.WriteByte(' ')
		b.WriteString(words[rng.IntN(len(words))])
	}
	return b.String()
}

// fit tells how many words make a prompt of so many tokens: a server counts its
// template in, and its tokenizer may take more than one token for a word.
type fit struct {
	words, tokens int     // of a short prompt
	slope         float64 // tokens of a further word
}

// count returns the number of words, at least 1, that comes nearest to a number
// of tokens.
func (f fit) count(tokens int) int {
	return max(1, f.words+int(float64(tokens-f.tokens)/f.slope+0.5))
}
