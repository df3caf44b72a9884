package tokenizer

import (
	"sync"
	"testing"
	"unicode/utf8"
)

var fuzzTokenizers = sync.OnceValue(func() []*Tokenizer {
	var out []*Tokenizer
	for _, pre := range []string{"gpt-2", "smollm", "llama-bpe", "qwen2"} {
		tok, err := load(allBytes(pre))
		if err != nil {
			panic(err)
		}
		out = append(out, tok)
	}
	return out
})

// FuzzEncode: any bytes survive, no special token comes of plain text, and
// splitting into spans forges none.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "hello  hello\r\n\n 's 'RE 123", "<|im_start|>a<|im_end|>x", "\xff\xc3", "'\u017f \u00a0\u3000é\u0301"} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, cut uint8) {
		for _, tok := range fuzzTokenizers() {
			check := func(ids []int32, specials bool) {
				t.Helper()
				var raw []byte
				for _, id := range ids {
					if !specials && tok.Special(id) {
						t.Fatalf("%q gives special token %d", text, id)
					}
					raw = tok.AppendPiece(raw, id)
				}
				if string(raw) != text {
					t.Fatalf("%q gives %q", text, raw)
				}
			}
			check(tok.Encode(nil, text), false)
			check(tok.EncodeTemplate(nil, text), true)
			at := min(int(cut), len(text))
			check(tok.EncodeSpans(nil, []Span{{text[:at], true}, {text[at:], true}}), false)
			check(tok.EncodeSpans(nil, []Span{{text[:at], true}, {text[at:], false}}), true)
			check(tok.EncodeSpans(nil, []Span{{text[:at], false}, {text[at:], true}}), true)
		}
	})
}

// FuzzDetokenizer: any cut of any bytes gives valid UTF-8 at every point, and
// in all what replacing in the whole text gives.
func FuzzDetokenizer(f *testing.F) {
	f.Add("h\xc3\xa9 \xf0\x9f\x98\x80 \xe2\x82", uint64(0x1234))
	f.Add("\xf4\x90\x80\x80\xed\xa0\x80\xf1\x80\x80\xe1\x80\xc2", uint64(7))
	f.Fuzz(func(t *testing.T, s string, cuts uint64) {
		d := fuzzTokenizers()[0].NewDetokenizer(true)
		want := lossy(s)
		got := feed(t, d, s, func() int {
			cuts = cuts>>3 | cuts<<61
			return int(cuts & 7)
		})
		if got != want || !utf8.ValidString(got) {
			t.Fatalf("%q: got %q, want %q", s, got, want)
		}
	})
}

// FuzzLoad: no vocabulary makes the loader or the tokenizer panic.
func FuzzLoad(f *testing.F) {
	f.Add("a b", "ab", int64(1), uint64(3), "ab ab")
	f.Add("Ġ Ġ", "ĠĠ", int64(3), uint64(1<<40), "  ")
	f.Fuzz(func(t *testing.T, merge, token string, kind int64, id uint64, text string) {
		m := allBytes("qwen2")
		m = m.with(keyTokens, append(m[keyTokens].([]string), token)).
			with(keyTypes, append(m[keyTypes].([]int64), kind)).
			with(keyMerges, append(m[keyMerges].([]string), merge)).
			with(keyBOS, id)
		tok, err := load(m)
		if err != nil {
			return
		}
		for _, ids := range [][]int32{tok.Encode(nil, text), tok.EncodeTemplate(nil, text)} {
			var raw []byte
			for _, id := range ids {
				raw = tok.AppendPiece(raw, id)
			}
			if string(raw) != text {
				t.Fatalf("%q gives %q", text, raw)
			}
		}
	})
}
