//go:build !race

package tokenizer

import "testing"

// TestEncodeAllocs: into a slice with room, ordinary text costs no allocation;
// nor does streaming it back.
func TestEncodeAllocs(t *testing.T) {
	text := englishText()[:4096]
	toks := map[string]*Tokenizer{}
	for _, name := range []string{"bpe", "unigram", "json/gemma", "json/mistral", "json/phi3", "json/qwen2"} {
		toks[name] = kindNamed(name).tokenizer(t)
	}
	for pre := range families {
		toks[pre] = smol(t, pre)
	}
	for pre, tok := range toks {
		dst := tok.Encode(nil, text)
		if n := testing.AllocsPerRun(20, func() { dst = tok.Encode(dst[:0], text) }); n != 0 {
			t.Errorf("%s: Encode makes %v allocations", pre, n)
		}
		if n := testing.AllocsPerRun(20, func() { dst = tok.EncodeTemplate(dst[:0], text) }); n != 0 {
			t.Errorf("%s: EncodeTemplate makes %v allocations", pre, n)
		}
		d := tok.NewDetokenizer(false)
		out := make([]byte, 0, 2*len(text))
		if n := testing.AllocsPerRun(20, func() {
			out = out[:0]
			for _, id := range dst {
				out = d.Append(out, id)
			}
		}); n != 0 {
			t.Errorf("%s: Append makes %v allocations", pre, n)
		}
	}
}
