package tokenizer

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestRoundTrip: arbitrary bytes, valid UTF-8 or not, survive a vocabulary that
// has every byte, under every pre-tokenizer.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []byte("aahello  \n\r\t'sS19\x80\xbf\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\xff\xc0\xed\xa0")
	for pre := range families {
		tok, err := load(allBytes(pre))
		if err != nil {
			t.Fatal(err)
		}
		var ids []int32
		var raw []byte
		for range 1500 {
			text := make([]byte, r.IntN(90))
			for i := range text {
				if text[i] = alphabet[r.IntN(len(alphabet))]; r.IntN(4) == 0 {
					text[i] = byte(r.IntN(256))
				}
			}
			ids = tok.Encode(ids[:0], string(text))
			raw = raw[:0]
			for _, id := range ids {
				raw = tok.AppendPiece(raw, id)
			}
			if !bytes.Equal(raw, text) {
				t.Fatalf("%s: %q gives %d, pieces %q", pre, text, ids, raw)
			}
		}
	}
}

// TestRoundTripRunes: arbitrary bytes survive vocabularies of runes with byte
// tokens, but for what normalising is there to change.
func TestRoundTripRunes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	alphabet := []byte("aahello  \n\r\t'sS19\x80\xbf\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\xff\xc0\xed\xa0\xe2\x96\x81")
	for name, prefix := range map[string]string{"bpe": " ", "json/gemma": "", "json/llama2": " ", "json/mistral": " "} {
		tok := kindNamed(name).tokenizer(t)
		var ids []int32
		var raw []byte
		for range 3000 {
			text := make([]byte, r.IntN(90))
			for i := range text {
				if text[i] = alphabet[r.IntN(len(alphabet))]; r.IntN(4) == 0 {
					text[i] = byte(r.IntN(256))
				}
			}
			ids = tok.Encode(ids[:0], string(text))
			raw = raw[:0]
			for _, id := range ids {
				raw = tok.AppendPiece(raw, id)
			}
			want := strings.ReplaceAll(string(text), spaceMark, " ")
			if marked := strings.HasPrefix(want, " "); want != "" && (!marked || name != "json/mistral") {
				want = prefix + want // Metaspace marks no text twice
			}
			if string(raw) != want {
				t.Fatalf("%s: %q gives %d, pieces %q, want %q", name, text, ids, raw, want)
			}
			if d := tok.Decode(ids, false); want != "" && d != lossy(strings.TrimPrefix(want, prefix)) {
				t.Fatalf("%s: %q is decoded as %q", name, text, d)
			}
		}
	}
}

// TestContinue: the space that encoding put before a text is left out where a
// text begins, and only there.
func TestContinue(t *testing.T) {
	tok := kindNamed("json/llama2").tokenizer(t)
	ids := tok.Encode(nil, "the  of")
	if got := tok.Decode(ids, true); got != "the  of" {
		t.Errorf("decoded %q", got)
	}
	d := tok.NewDetokenizer(true)
	d.Continue()
	var out []byte
	for _, id := range ids {
		out = d.Append(out, id)
	}
	if got := string(d.Flush(out)); got != " the  of" {
		t.Errorf("continued with %q", got)
	}
	out = out[:0]
	for _, id := range ids { // d begins a text again
		out = d.Append(out, id)
	}
	if got := string(d.Flush(out)); got != "the  of" {
		t.Errorf("then %q", got)
	}
}

// TestEncodeSpansAfter: what encoding puts before a text is not put before one
// that goes on; special tokens are recognised as ever.
func TestEncodeSpansAfter(t *testing.T) {
	tok := kindNamed("json/mistral").tokenizer(t)
	for _, spans := range [][]Span{{{Text: "the of"}}, {{Text: "the", Plain: true}, {Text: " of</s>"}}, {{Text: "</s>"}, {Text: "the</s>", Plain: true}}} {
		ids := tok.EncodeSpansAfter(nil, spans)
		d := tok.NewDetokenizer(true)
		d.Continue()
		var out []byte
		for _, id := range ids {
			out = d.Append(out, id)
		}
		if got, want := string(d.Flush(out)), joinSpans(spans); got != want {
			t.Errorf("%q became %q", want, got)
		}
		if first := tok.EncodeSpans(nil, spans); spans[0].Text != "</s>" && slices.Equal(first, ids) {
			t.Errorf("%v: nothing comes before the first text", spans)
		}
	}
}

// TestHeapEqualsScan: long pre-tokens take another algorithm; it must give what
// the linear scans give.
func TestHeapEqualsScan(t *testing.T) {
	toks := []*Tokenizer{smol(t, "smollm"), kindNamed("bpe").tokenizer(t), kindNamed("bpe/bare").tokenizer(t)}
	for _, c := range goldenCases(t)[:5000] {
		for i := 0; i < len(c.text); {
			word := c.text[i:min(len(c.text), i+shortWord)]
			for _, tok := range toks {
				short, long := tok.merge(nil, word), tok.mergeLong(nil, word)
				if !slices.Equal(short, long) {
					t.Fatalf("%q: scan %d, heap %d", word, short, long)
				}
			}
			i += len(word)
		}
	}
}

func TestSpecialTokens(t *testing.T) {
	tok, err := load(allBytes("gpt-2"))
	if err != nil {
		t.Fatal(err)
	}
	start, _ := tok.ID("<|im_start|>")
	end, _ := tok.ID("<|im_end|>")
	endX, _ := tok.ID("<|im_end|>x")
	plain := func(s string) []int32 { return tok.Encode(nil, s) }
	join := slices.Concat[[]int32]

	text := "<|im_start|>hello<|im_end|>"
	for _, id := range plain(text) {
		if tok.Special(id) {
			t.Errorf("Encode(%q) has special token %d", text, id)
		}
	}
	f := func(got, want []int32) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("got %d %q, want %d %q", got, pieces(tok, got), want, pieces(tok, want))
		}
	}
	f(tok.EncodeTemplate(nil, text), join([]int32{start}, plain("hello"), []int32{end}))
	f(tok.EncodeTemplate(nil, "<|im_end|>x<|im_end|>"), []int32{endX, end}) // longest
	f(tok.EncodeTemplate(nil, "<|im_<|im_end|>"), join(plain("<|im_"), []int32{end}))
	f(tok.EncodeTemplate(nil, "<|im_start|"), plain("<|im_start|"))
	f(tok.EncodeTemplate(nil, ""), nil)

	f(tok.EncodeSpans(nil, []Span{{"<|im_start|>", false}, {"<|im_end|>", true}, {"<|im_end|>", false}}),
		join([]int32{start}, plain("<|im_end|>"), []int32{end}))
	// A special token that only the join of plain and trusted text spells.
	f(tok.EncodeSpans(nil, []Span{{"<|im_", true}, {"end|>", false}}), plain("<|im_end|>"))
	f(tok.EncodeSpans(nil, []Span{{"<|im_", false}, {"end|>", true}}), plain("<|im_end|>"))
	f(tok.EncodeSpans(nil, []Span{{"<|im_end|>", false}, {"x", true}}), join([]int32{end}, plain("x")))
	// Trusted neighbours join.
	f(tok.EncodeSpans(nil, []Span{{"<|im_", false}, {"", false}, {"end|>", false}}), []int32{end})
	// Plain and trusted text between special tokens is one text to the
	// pre-tokenizer and the merges.
	f(tok.EncodeSpans(nil, []Span{{"<|im_start|>he", false}, {"llo", true}, {"<|im_end|>", false}}),
		join([]int32{start}, plain("hello"), []int32{end}))
	f(tok.EncodeSpans(nil, nil), nil)

	if !tok.IsEOG(end) || tok.IsEOG(start) || tok.IsEOG(-1) {
		t.Errorf("EOG is %d", tok.EOG())
	}
	if tool, _ := tok.ID("<tool>"); !tok.Special(tool) || tok.Control(tool) || !tok.Control(end) {
		t.Error("kinds of special tokens")
	}
}

func TestConcurrentEncode(t *testing.T) {
	cases := goldenCases(t)[:2000]
	tok := smol(t, "qwen2")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			var ids []int32
			for i := range cases {
				c := &cases[(i+worker*500)%len(cases)]
				if ids = tok.Encode(ids[:0], c.text); !slices.Equal(ids, c.ids[3]) {
					t.Errorf("%q differs", c.text)
					return
				}
			}
		})
	}
	wg.Wait()
}
