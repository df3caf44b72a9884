package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/weights"
)

// goldenText is about a megabyte of the golden strings: mostly what users do
// not write, such as random Unicode and long runs.
func goldenText(b testing.TB) string {
	var text strings.Builder
	for _, c := range goldenCases(b) {
		text.WriteString(c.text)
		text.WriteByte('\n')
	}
	return text.String()
}

// mixedText is a megabyte of what users write: prose in several languages, a
// mail, code, a table, JSON, emoji.
func mixedText() string {
	const page = `The quick brown fox, it's said, jumps over 13 lazy dogs; then we'll compute f(x) = x**2 and return.
Dear Ms O'Neill,

Thanks for your message of 2024-01-31. I've attached the report (3.2 MB), see page 17.

def merge(left: list[int], right: list[int]) -> list[int]:
    out = []
    while left and right:
        out.append(left.pop(0) if left[0] <= right[0] else right.pop(0))
    return out + left + right  # O(n)
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
{"id": 1048576, "name": "Ünïcödé", "tags": ["a", "b"], "price": 12.50, "nested": {"ok": true, "none": null}}
Les élèves étudiaient à l'école où l'été s'achève; ça n'a pas d'importance. Größere Straßen führen nach Zürich.
El niño comió piñas mañana por la tarde. O coração não é de ferro. Příliš žluťoučký kůň úpěl ďábelské ódy.
Съешь же ещё этих мягких французских булок, да выпей чаю. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
今天天气很好，我们去公园散步吧。吾輩は猫である。名前はまだ無い。안녕하세요, 오늘 날씨가 좋습니다. 👍🏽 😀🎉
| name  | Q1 2024 |   Q2 2024 |  change |
|-------|--------:|----------:|--------:|
| north | 1,234.5 |  98,765.4 |   +12 % |
`
	return strings.Repeat(page, 1<<20/len(page))
}

func englishText() string {
	const line = "The quick brown fox, it's said, jumps over 13 lazy dogs; then we'll compute f(x) = x**2 and return.\n"
	return strings.Repeat(line, 1<<20/len(line))
}

func BenchmarkEncode(b *testing.B) {
	for _, text := range []struct{ name, text string }{{"english", englishText()}, {"mixed", mixedText()}, {"golden", goldenText(b)}} {
		for _, pre := range []string{"gpt-2", "smollm", "llama-bpe", "qwen2"} {
			b.Run(text.name+"/"+pre, func(b *testing.B) {
				tok := smol(b, pre)
				dst := tok.Encode(nil, text.text)
				b.SetBytes(int64(len(text.text)))
				b.ReportAllocs()
				for b.Loop() {
					dst = tok.Encode(dst[:0], text.text)
				}
			})
		}
	}
}

func BenchmarkEncodeLongRun(b *testing.B) {
	tok := smol(b, "smollm")
	text := strings.Repeat("a", 1<<18)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tok.Encode(nil, text)
	}
}

func BenchmarkDetokenize(b *testing.B) {
	tok := smol(b, "smollm")
	ids := tok.Encode(nil, mixedText())
	size := len(tok.Decode(ids, true))
	d := tok.NewDetokenizer(true)
	var out []byte
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		out = out[:0]
		for _, id := range ids {
			out = d.Append(out, id)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	m := smolFields()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := load(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadGemma(b *testing.B) {
	file, err := weights.Open("../models/gemma-3-270m-q4_k_m.gguf")
	if err != nil {
		b.Skip("no model: make model-gemma fetches it")
	}
	defer file.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromMetadata(file.Meta()); err != nil {
			b.Fatal(err)
		}
	}
}

// repositoryText is what files of this project hold, its documentation or its
// code: English and code as people write it.
func repositoryText(b testing.TB, pattern string) string {
	b.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		b.Fatal("no files: ", pattern)
	}
	var text strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		if !strings.HasSuffix(name, "_table.go") {
			text.Write(data)
		}
	}
	return text.String()
}

// gemma is Gemma's own vocabulary of 2^18 tokens.
func gemma(b testing.TB) *Tokenizer {
	b.Helper()
	file, err := weights.Open("../models/gemma-3-270m-q4_k_m.gguf")
	if err != nil {
		b.Skip("no model: make model-gemma fetches it")
	}
	defer file.Close()
	tok, err := FromMetadata(file.Meta())
	if err != nil {
		b.Fatal(err)
	}
	return tok
}

// BenchmarkKinds is every kind of tokenizer on English and on code, and Gemma's
// own where the file is there.
func BenchmarkKinds(b *testing.B) {
	for _, text := range []struct{ name, text string }{{"docs", repositoryText(b, "../docs/*.md")}, {"code", repositoryText(b, "../*/*.go")}} {
		for _, kind := range append(slices.Clone(parityKinds), parityKind{name: "gemma", load: gemma}) {
			b.Run(text.name+"/"+kind.name, func(b *testing.B) {
				tok := kind.tokenizer(b)
				dst := tok.Encode(nil, text.text)
				b.SetBytes(int64(len(text.text)))
				b.ReportAllocs()
				for b.Loop() {
					dst = tok.Encode(dst[:0], text.text)
				}
			})
		}
	}
}
