package tokenizer

import (
	"math/rand/v2"
	"testing"
)

// TestNFC holds the normaliser against answers of `tokenizers` 0.23.3, and the
// quick look against the normaliser. The 12,000 strings of TestParity hold all of
// it, under json/qwen2.
func TestNFC(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"e\u0301":                    "é",
		"a\u0323\u0301\u0302":        "ạ\u0301\u0302",
		"a\u0301\u0323":              "ạ\u0301",
		"\u1100\u1161\u11a8":         "각",
		"\u1100\u1161\u11a7":         "가\u11a7",
		"\uac00\u11a8":               "각",
		"\uac01\u11a8":               "각\u11a8",
		"\u0958":                     "\u0915\u093c", // never composed again
		"\u212b":                     "Å",
		"\u0344":                     "\u0308\u0301",
		"a\u0315\u0300\u05ae\u0300b": "à\u05ae\u0300\u0315b",
		"\xe2\u0301\xff":             "\xe2\u0301\xff",
		"\u09c7\u0334\u09be":         "\u09c7\u0334\u09be", // blocked
		"\u09c7\u09be":               "\u09cb",
	} {
		if got := string(appendNFC(nil, in)); got != want {
			t.Errorf("%+q: %+q, want %+q", in, got, want)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	alphabet := []rune("aeé\u0301\u0323\u0308\u0345\u1100\u1161\u11a8각\u09c7\u09be\u0958中\u0334\u212b")
	for range 20000 {
		var text []rune
		for range r.IntN(10) {
			text = append(text, alphabet[r.IntN(len(alphabet))])
		}
		once := string(appendNFC(nil, string(text)))
		if again := string(appendNFC(nil, once)); again != once {
			t.Fatalf("%+q: %+q, then %+q", string(text), once, again)
		}
		if normalNFC(string(text)) && once != string(text) {
			t.Fatalf("%+q looks normal, but is %+q", string(text), once)
		}
	}
}
