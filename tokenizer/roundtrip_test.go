package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRoundTripKinds: arbitrary bytes survive every kind of tokenizer that has a
// token for each: but for the bytes that a byte-level vocabulary lacks, and for
// what a normaliser is there to change: whitespace where the kind is not spaced, and
// Qwen 2's NFC. Kinds without byte
// tokens (bpe/bare, unigram/bare, json/metaspace) and one that strips texts
// (json/digits) cannot; TestRoundTripRunes has the others.
func TestRoundTripKinds(t *testing.T) {
	for name, spaced := range map[string]bool{
		"json/llama3": true, "json/qwen2": true, "json/smollm2": true, "json/o200k": true, "json/tekken": true,
		"tiktoken/cl100k_base": true, "tiktoken/o200k_base": true, "unigram": false, "json/unigram": false, "json/phi3": false,
	} {
		tok := kindNamed(name).tokenizer(t)
		missing := string(tok.MissingBytes())
		r := rand.New(rand.NewPCG(3, 7))
		alphabet := "aaehlostB19'.,:\x80\xbf\xe4\xff"
		if spaced {
			alphabet += "   \n\r\t"
		}
		var raw []byte
		for range 1000 {
			text := make([]byte, r.IntN(60))
			for i := range text {
				if text[i] = alphabet[r.IntN(len(alphabet))]; r.IntN(4) == 0 {
					text[i] = byte(128 + r.IntN(128))
				}
			}
			want := string(text)
			if name == "json/qwen2" {
				want = string(appendNFC(nil, want))
			}
			want = dropBytes(want, missing)
			raw = raw[:0]
			for _, id := range tok.Encode(nil, string(text)) {
				raw = tok.AppendPiece(raw, id)
			}
			got := string(raw)
			if !spaced {
				got = strings.TrimPrefix(got, " ")
			}
			if got != want {
				t.Fatalf("%s: %q comes back as %q", name, want, got)
			}
		}
	}
}

// dropBytes returns s without the bytes of set.
func dropBytes(s, set string) string {
	var out []byte
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			out = append(out, s[i])
		}
	}
	return string(out)
}
