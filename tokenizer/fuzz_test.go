package tokenizer

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/internal/testkit/mutate"
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
	mutate.Add(f, loadSeeds)
	f.Fuzz(func(t *testing.T, merge, token string, kind int64, id uint64, text string) {
		fuzzLoad(t, merge, token, kind, id, text)
	})
}

func TestMutantsLoad(t *testing.T) {
	mutate.Fuzz(t, "FuzzLoad", loadSeeds, func(in mutate.Input) error {
		return fuzzLoad(t, in[0].(string), in[1].(string), in[2].(int64), in[3].(uint64), in[4].(string))
	})
}

var loadSeeds = []mutate.Input{
	{"a b", "ab", int64(1), uint64(3), "ab ab"},
	{"Ġ Ġ", "ĠĠ", int64(3), uint64(1 << 40), "  "},
}

var fuzzVocabulary = sync.OnceValue(func() fields { return allBytes("qwen2") })

func fuzzLoad(t *testing.T, merge, token string, kind int64, id uint64, text string) error {
	m := fuzzVocabulary()
	m = m.with(keyTokens, append(slices.Clip(m[keyTokens].([]string)), token)).
		with(keyTypes, append(slices.Clip(m[keyTypes].([]int64)), kind)).
		with(keyMerges, append(slices.Clip(m[keyMerges].([]string)), merge)).
		with(keyBOS, id)
	tok, err := load(m)
	if err != nil {
		return err
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
	return nil
}

// checkLoaded makes a tokenizer that a fuzzed file gave do its work.
func checkLoaded(t *testing.T, tok *Tokenizer, text string) {
	t.Helper()
	plain := tok.Encode(nil, text)
	for _, ids := range [][]int32{plain, tok.EncodeTemplate(nil, text)} {
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("%q gives token %d of %d", text, id, tok.VocabSize())
			}
		}
		if s := tok.Decode(ids, true); !utf8.ValidString(s) {
			t.Fatalf("%q is decoded as %q", text, s)
		}
	}
	for _, id := range plain {
		if tok.Special(id) && id != tok.unknown.id {
			t.Fatalf("%q gives special token %d", text, id)
		}
	}
}

const fuzzText = " a\u2581b<s> <0x41> ab  \xff\u00e9e\u0301 1234 'll\n\n"

// FuzzFromJSON: no tokenizer.json makes the loader or the tokenizer panic.
func FuzzFromJSON(f *testing.F) {
	mutate.Add(f, jsonSeeds())
	f.Fuzz(func(t *testing.T, file, config []byte, text string) { fuzzJSON(t, file, config, text) })
}

func TestMutantsJSON(t *testing.T) {
	mutate.Fuzz(t, "FuzzFromJSON", jsonSeeds(), func(in mutate.Input) error {
		return fuzzJSON(t, in[0].([]byte), in[1].([]byte), in[2].(string))
	})
}

func jsonSeeds() (seeds []mutate.Input) {
	const end = `"pre_tokenizer":null,"decoder":{"type":"Metaspace","replacement":"▁"},`
	for _, file := range []string{
		`{` + end + `"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"▁":3},"merges":["a b"],"unk_token":"a","fuse_unk":true}}`,
		`{` + end + `"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]},"added_tokens":[{"id":3,"content":"<s>","special":true,"lstrip":true},{"id":1,"content":"b","normalized":true}]}`,
		`{` + end + `"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1],["▁a",-1.5],["ab",-2]]}}`,
		`{"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"Strip","strip_left":true,"strip_right":true}]},` +
			`"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"Strip","content":" ","start":1,"stop":0}]},` +
			`"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{}},"model":{"type":"BPE","vocab":{"a":0,"▁":1,"▁a":2},"merges":["▁ a"]},"added_tokens":[{"id":0,"content":"a"}]}`,
		`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Split","pattern":{"String":"b"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false}]},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":` + allBytesJSON() + `,"merges":[]}}`,
	} {
		seeds = append(seeds, mutate.Input{[]byte(file), []byte(`{"bos_token":"<s>","add_bos_token":true,"eos_token":{"content":"a"}}`), fuzzText})
	}
	return seeds
}

// fuzzJSON loads the file without and with a tokenizer_config.json.
func fuzzJSON(t *testing.T, file, config []byte, text string) error {
	tok, err := FromJSON(file, nil)
	if err != nil {
		_, err = FromJSON(file, config)
		return err
	}
	checkLoaded(t, tok, text)
	if tok, err = FromJSON(file, config); err == nil {
		checkLoaded(t, tok, text)
	}
	return err
}

// allBytesJSON is a vocabulary of the 256 bytes.
func allBytesJSON() string {
	var rows []string
	for b, r := range byteRunes {
		rows = append(rows, strconv.Quote(string(r))+":"+strconv.Itoa(b))
	}
	return "{" + strings.Join(rows, ",") + "}"
}

// FuzzFromSentencePiece: no tokenizer.model makes the loader or the tokenizer
// panic.
func FuzzFromSentencePiece(f *testing.F) {
	mutate.Add(f, sentencePieceSeeds())
	f.Fuzz(func(t *testing.T, file []byte, text string) { fuzzSentencePiece(t, file, text) })
}

func TestMutantsSentencePiece(t *testing.T) {
	mutate.Fuzz(t, "FuzzFromSentencePiece", sentencePieceSeeds(), func(in mutate.Input) error {
		return fuzzSentencePiece(t, in[0].([]byte), in[1].(string))
	})
}

func sentencePieceSeeds() (seeds []mutate.Input) {
	piece := func(text string, kind byte, score byte) string {
		return "\x0a" + string(rune(len(text)+9)) + "\x0a" + string(rune(len(text))) + text + "\x15\x00\x00\x80" + string(rune(score)) + "\x18" + string(rune(kind))
	}
	pieces := piece("<unk>", 2, 0) + piece("<s>", 3, 0) + piece("▁", 1, 64) + piece("a", 1, 64) + piece("b", 1, 63) + piece("ab", 1, 62) + piece("▁ab", 1, 61) + piece("\n\n", 4, 0)
	for _, spec := range []string{"\x12\x02\x18\x02", "\x12\x02\x18\x01", "\x12\x02\x18\x02\x1a\x04\x18\x00\x20\x00", "\x12\x03\x98\x02\x01"} {
		seeds = append(seeds, mutate.Input{[]byte(pieces + spec), fuzzText})
	}
	return seeds
}

func fuzzSentencePiece(t *testing.T, file []byte, text string) error {
	tok, err := FromSentencePiece(file, SentenceOptions{AddBOS: true})
	if err == nil {
		checkLoaded(t, tok, text)
	}
	return err
}

// FuzzFromTiktoken: no file of ranks makes the loader or the tokenizer panic.
func FuzzFromTiktoken(f *testing.F) {
	mutate.Add(f, tiktokenSeeds())
	f.Fuzz(func(t *testing.T, file string, id int32, text string) { fuzzTiktoken(t, file, id, text) })
}

func TestMutantsTiktoken(t *testing.T) {
	mutate.Fuzz(t, "FuzzFromTiktoken", tiktokenSeeds(), func(in mutate.Input) error {
		return fuzzTiktoken(t, in[0].(string), in[1].(int32), in[2].(string))
	})
}

func tiktokenSeeds() []mutate.Input {
	var all string
	for b := range 256 {
		all += base64.StdEncoding.EncodeToString([]byte{byte(b)}) + " " + strconv.Itoa(b) + "\n"
	}
	return []mutate.Input{{all + "YWI= 256\nYWJj 257\r\n", int32(300), fuzzText}, {all + "YWI= 300\n", int32(-1), fuzzText}}
}

// fuzzTiktoken loads the file with one of the patterns.
func fuzzTiktoken(t *testing.T, file string, id int32, text string) error {
	patterns := slices.Sorted(maps.Keys(tiktokenPatterns))
	pattern := patterns[uint32(id)%uint32(len(patterns))]
	tok, err := FromTiktoken([]byte(file), TiktokenOptions{Pattern: pattern, Special: map[string]int32{"<s>": id}, BOS: "<s>"})
	if err == nil {
		checkLoaded(t, tok, text)
	}
	return err
}
