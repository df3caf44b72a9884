package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// TestCasedPreTokens compares the pre-tokens of o200k and Tekken, which a
// vocabulary without merges for them would hide, with those of `tokenizers`
// 0.23.3 (Split, isolated, of the expressions in testdata/frames.py).
func TestCasedPreTokens(t *testing.T) {
	for _, c := range []struct{ text, o200k, tekken string }{
		{"中A", "中|A", "中|A"},
		{"中AB c", "中|AB| c", "中|AB| c"},
		{"A中B1", "A中|B|1", "A中|B|1"},
		{"HTTPServer's", "HTTPServer's", "HTTPServer|'s"},
		{"xÀÉÎy", "x|ÀÉÎy", "x|ÀÉÎy"},
		{"ǅungla'LL", "ǅungla'LL", "ǅungla|'LL"},
		{"'s'S", "'s'S", "'s|'S"},
		{"!\u0301A", "!\u0301|A", "!\u0301|A"},
		{"\u0301AB", "\u0301|AB", "\u0301|AB"},
		{"\u0301a", "\u0301a", "\u0301a"},
		{"aʰB", "aʰ|B", "aʰ|B"},
		{"a/\n/b", "a|/\n/|b", "a|/\n/|b"},
		{"//\n x", "//\n| x", "//\n| x"},
		{"中A中A中A", "中A中A中|A", "中A中A中|A"},
		{"  A", " | A", " | A"},
		{"\u0301\u0301A1", "\u0301\u0301|A|1", "\u0301\u0301|A|1"},
		{"1234A", "123|4|A", "1|2|3|4|A"},
		{"x'tX", "x't|X", "x|'t|X"},
	} {
		if got := strings.Join(cutBy(nextO200K, c.text), "|"); got != c.o200k {
			t.Errorf("%q: o200k gives %q, want %q", c.text, got, c.o200k)
		}
		if got := strings.Join(cutBy(nextTekken, c.text), "|"); got != c.tekken {
			t.Errorf("%q: Tekken gives %q, want %q", c.text, got, c.tekken)
		}
	}
}

func cutBy(next scanner, text string) []string {
	var out []string
	for len(text) > 0 {
		n := next(text)
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

// TestBorders: a text is cut only where no merge reaches across, and runes
// without a token are not parted from each other.
func TestBorders(t *testing.T) {
	tok, err := FromJSON([]byte(`{"decoder":{"type":"Metaspace","replacement":"▁"},"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},
		"model":{"type":"BPE","unk_token":"?","fuse_unk":true,"vocab":{"▁":0,"a":1,"b":2,"▁▁":3,"a▁":4,"a▁b":5,"▁b":6,"?":7,"é":8,"aé":9},
		"merges":["▁ ▁","a ▁","a▁ b","▁ b","a é"]}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"b b": "b|▁b", "b  b": "b|▁▁b", "a b": "a▁b", "b b a b b": "b|▁b|▁|a▁b|▁b", "ab": "a|b",
		"aéa": "aé|a", "éé": "éé", "a中文 b": "a中文|▁b", "bxyb": "b|xy|b", "axb": "ax|b", "\xff\xfeb": "\xff\xfe|b",
	} {
		text = strings.ReplaceAll(text, " ", spaceMark)
		if got := strings.Join(cutBy(tok.cuts[0], text), "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string][]int32{
		"a b": {5}, "b  b": {2, 3, 2}, "aéb": {9, 2}, "b中文xb": {2, 7, 2}, "中a中": {7, 1, 7}, "xyx": {7},
	} {
		if ids := tok.Encode(nil, text); !slices.Equal(ids, want) {
			t.Errorf("%q: %d, want %d", text, ids, want)
		}
	}
}

// TestBordersOfTexts: cut at the borders, long texts have the tokens that merging
// all of them at once gives.
func TestBordersOfTexts(t *testing.T) {
	texts, err := parityStrings()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bpe", "json/gemma", "json/llama2"} {
		tok := kindNamed(name).tokenizer(t)
		border := tok.cuts[len(tok.cuts)-1]
		words, size := 0, 0
		for some := range slices.Chunk(texts[:4000], 40) {
			text := strings.ReplaceAll(strings.Join(some, " "), " ", spaceMark)
			want := tok.mergeLong(nil, text)
			var got []int32
			for _, word := range cutBy(border, text) {
				got = tok.encodeWord(got, word)
				words++
			}
			if size += len(text); !slices.Equal(got, want) {
				t.Fatalf("%s: %.100q…: %d tokens, uncut %d", name, text, len(got), len(want))
			}
		}
		if size/words > 10 {
			t.Errorf("%s: words of %d bytes: hardly a border", name, size/words)
		}
	}
}
