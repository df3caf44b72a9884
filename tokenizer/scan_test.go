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

// TestMarkCuts: a text is cut before a space mark only where no merge reaches
// across.
func TestMarkCuts(t *testing.T) {
	tok, err := FromJSON([]byte(`{"decoder":{"type":"Metaspace","replacement":"▁"},"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},
		"model":{"type":"BPE","vocab":{"▁":0,"a":1,"b":2,"▁▁":3,"a▁":4,"a▁b":5,"▁b":6},"merges":["▁ ▁","a ▁","a▁ b","▁ b"]}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"b b": "b|▁b", "b  b": "b|▁▁b", "a b": "a▁b", "b b a b b": "b|▁b|▁a▁b|▁b"} {
		text = strings.ReplaceAll(text, " ", spaceMark)
		if got := strings.Join(cutBy(tok.cuts[0], text), "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if ids := tok.Encode(nil, "a b"); !slices.Equal(ids, []int32{5}) {
		t.Errorf("a merge across a space: %d", ids)
	}
	if ids := tok.Encode(nil, "b  b"); !slices.Equal(ids, []int32{2, 3, 2}) {
		t.Errorf("two spaces: %d", ids)
	}
}
