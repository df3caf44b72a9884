package tokenizer

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSeenWords: a word from the table has the tokens that it has without. One
// table sees the words of thousands of texts, far more than it has room for.
func TestSeenWords(t *testing.T) {
	texts, err := parityStrings()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bpe", "unigram/bare", "json/llama3", "json/digits", "tiktoken/o200k_base"} {
		tok := kindNamed(name).tokenizer(t)
		seen := tok.newText()
		words, found := 0, 0
		var got, want []int32
		for _, text := range texts[len(texts)-4000:] {
			for len(text) > 0 {
				n := nextGPT2(text)
				word := text[:n]
				text = text[n:]
				words++
				if n <= seenBytes && seen.place(keyOf(word)).key == keyOf(word) {
					found++
				}
				if got, want = tok.appendWord(got[:0], word, seen), tok.encodeWord(want[:0], word); !slices.Equal(got, want) {
					t.Fatalf("%s: %q: %d, without the table %d", name, word, got, want)
				}
			}
		}
		if found < words/4 || found == words {
			t.Errorf("%s: %d of %d words found", name, found, words)
		}
	}
}

// TestSeenText: a table gives what this text put there, and nothing that another
// one did.
func TestSeenText(t *testing.T) {
	tok := smol(t, "gpt-2")
	seen := tok.newText()
	right := tok.appendWord(nil, " lemon", seen)
	seen.place(keyOf(" lemon")).ids[0]++
	if got := tok.appendWord(nil, " lemon", seen); slices.Equal(got, right) {
		t.Error("the table is not used")
	}
	if a, b := tok.newText(), tok.newText(); a == b {
		t.Error("two texts at once have one table")
	}
	tok.seen.Put(seen)
	for range 100 { // the pool may have others, or have lost this one
		next := tok.newText()
		if got := tok.appendWord(nil, " lemon", next); !slices.Equal(got, right) {
			t.Fatalf("%d is another text's, want %d", got, right)
		}
		if next == seen {
			break
		}
	}
}

// TestWordKeys: words of one size that differ in any one byte have other keys.
func TestWordKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	for size := 1; size <= seenBytes; size++ {
		for at := range size {
			word := make([]byte, size)
			for i := range word {
				word[i] = byte(r.Uint32())
			}
			key := keyOf(string(word))
			word[at] ^= 1 << r.IntN(8)
			if keyOf(string(word)) == key {
				t.Errorf("size %d: byte %d is not in the key", size, at)
			}
		}
	}
}
