package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// lossy replaces what is not UTF-8 by U+FFFD per maximal subpart, over a whole
// text: the long way, by trying every prefix of every sequence.
func lossy(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if r, n := utf8.DecodeRuneInString(s); n > 1 || r < utf8.RuneSelf {
			b.WriteString(s[:n])
			s = s[n:]
			continue
		}
		// The longest prefix that begins some valid sequence, at least one byte.
		n := 1
		for k := 2; k <= 3 && k <= len(s); k++ {
			for _, tail := range []string{"\x80", "\x80\x80", "\xbf", "\xbf\xbf"} {
				if utf8.ValidString(s[:k] + tail) {
					n = k
				}
			}
		}
		b.WriteString("\uFFFD")
		s = s[n:]
	}
	return b.String()
}

// TestLossy holds the oracle against answers of CPython 3.11
// (bytes.decode("utf-8", "replace")).
func TestLossy(t *testing.T) {
	for in, want := range map[string]string{
		"\xe2\x82a":             "\uFFFDa",
		"\xf0\x9f\x98":          "\uFFFD",
		"\xf0\x9f\x98\xf0":      "\uFFFD\uFFFD",
		"\xc0\xaf":              "\uFFFD\uFFFD",
		"\xed\xa0\x80":          "\uFFFD\uFFFD\uFFFD",
		"\xf4\x90\x80\x80":      "\uFFFD\uFFFD\uFFFD\uFFFD",
		"\xe0\x80\x80":          "\uFFFD\uFFFD\uFFFD",
		"\xff\xfe":              "\uFFFD\uFFFD",
		"\xc3\xc3\xa9":          "\uFFFDé",
		"a\xf1\x80\x80\xe1\x80": "a\uFFFD\uFFFD",
	} {
		if got := lossy(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// feed gives d the pieces of s that cut makes of it and returns the text.
func feed(t *testing.T, d *Detokenizer, s string, cut func() int) string {
	t.Helper()
	var out []byte
	for len(s) > 0 {
		n := min(max(cut(), 1), len(s))
		out = d.AppendBytes(out, s[:n])
		s = s[n:]
		if !utf8.Valid(out) {
			t.Fatalf("not UTF-8: %q", out)
		}
		if d.Held() > 3 {
			t.Fatalf("%d bytes held", d.Held())
		}
	}
	return string(d.Flush(out))
}

func TestDetokenizer(t *testing.T) {
	tok, err := load(allBytes("gpt-2"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	alphabet := "a\x80\xbf\x90\x9f\xa0\xc2\xc3\xe0\xe2\xed\xef\xf0\xf1\xf4\xf5\xff\xc0"
	d := tok.NewDetokenizer(true)
	for range 20000 {
		b := make([]byte, r.IntN(12))
		for i := range b {
			if b[i] = alphabet[r.IntN(len(alphabet))]; r.IntN(6) == 0 {
				b[i] = byte(r.IntN(256))
			}
		}
		s := string(b)
		want := lossy(s)
		if got := feed(t, d, s, func() int { return r.IntN(5) }); got != want {
			t.Fatalf("%q: got %q, want %q", s, got, want)
		}
		if got := tok.Decode(tok.Encode(nil, s), true); got != want {
			t.Fatalf("%q: Decode gives %q, want %q", s, got, want)
		}
	}
}

func TestDecodeSpecial(t *testing.T) {
	tok, err := load(allBytes("gpt-2"))
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.EncodeTemplate(nil, "<|im_start|>é<tool>!<|im_end|>")
	ids = append(ids, -1, 1<<20)
	if got := tok.Decode(ids, true); got != "<|im_start|>é<tool>!<|im_end|>" {
		t.Errorf("%q", got)
	}
	if got := tok.Decode(ids, false); got != "é<tool>!" {
		t.Errorf("%q", got)
	}
	if got := tok.Decode(nil, true); got != "" {
		t.Errorf("%q", got)
	}
}
