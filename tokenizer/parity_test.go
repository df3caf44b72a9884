package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/weights"
)

// parityKind is one of the kinds of testdata/parity.py, in its order.
type parityKind struct {
	name     string
	load     func(testing.TB) *Tokenizer
	template bool // EncodeTemplate, else Encode
}

var parityKinds = []parityKind{
	{"bpe", sentenceKind("bpe", nil), false},
	{"bpe/bare", sentenceKind("bpe", bare), false},
	{"unigram", sentenceKind("unigram", nil), false},
	{"unigram/bare", sentenceKind("unigram", bare), false},
	{"json/llama3", jsonKind("llama3"), false},
	{"json/qwen2", jsonKind("qwen2"), true},
	{"json/smollm2", jsonKind("smollm2"), true},
	{"json/o200k", jsonKind("o200k"), false},
	{"json/tekken", jsonKind("tekken"), false},
	{"json/digits", jsonKind("digits"), false},
	{"json/gemma", jsonKind("gemma"), false},
	{"json/llama2", jsonKind("llama2"), false},
	{"json/mistral", jsonKind("mistral"), true},
	{"json/metaspace", jsonKind("metaspace"), false},
	{"json/phi3", jsonKind("phi3"), true},
	{"json/unigram", jsonKind("unigram"), true},
	{"tiktoken/cl100k_base", rankedKind("cl100k_base"), false},
	{"tiktoken/o200k_base", rankedKind("o200k_base"), false},
}

// tokenizer returns the kind's tokenizer, which belongs to all tests.
func (k parityKind) tokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	kindMu.Lock()
	defer kindMu.Unlock()
	tok, ok := kindCache[k.name]
	if !ok {
		tok = k.load(t)
		kindCache[k.name] = tok
	}
	return tok
}

var (
	kindMu    sync.Mutex
	kindCache = map[string]*Tokenizer{}
)

// parityStrings are those of golden.gz and extra.gz.
var parityStrings = sync.OnceValues(func() ([]string, error) {
	cases, err := readGolden()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range cases {
		out = append(out, c.text)
	}
	data, err := gunzip("testdata/extra.gz")
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var s string
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
})

// TestParity compares the IDs of every string, and the text that they decode
// to, with those of sentencepiece, tokenizers and tiktoken.
func TestParity(t *testing.T) {
	texts, err := parityStrings()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/parity.bin")
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) != 12000 || len(want) != (len(texts)+4)*len(parityKinds) {
		t.Fatalf("%d strings, %d bytes of references", len(texts), len(want))
	}
	for _, kind := range parityKinds {
		sums := want[:len(texts)+4]
		want = want[len(sums):]
		t.Run(kind.name, func(t *testing.T) {
			tok := kind.tokenizer(t)
			encode := tok.Encode
			if kind.template {
				encode = tok.EncodeTemplate
			}
			checkParity(t, tok, encode, texts, sums)
		})
	}
}

// checkParity compares what encode makes of texts with a byte for each in sums,
// and all of it with the four bytes after them.
func checkParity(t *testing.T, tok *Tokenizer, encode func([]int32, string) []int32, texts []string, sums []byte) {
	t.Helper()
	var ids []int32
	var data []byte
	wrong, whole := 0, uint32(0)
	for i, text := range texts {
		ids = encode(ids[:0], text)
		data = data[:0]
		for _, id := range ids {
			data = binary.LittleEndian.AppendUint32(data, uint32(id))
		}
		decoded := tok.Decode(ids, false)
		data = append(data, decoded...)
		whole = crc32.Update(whole, crc32.IEEETable, data)
		if byte(crc32.ChecksumIEEE(data)) != sums[i] {
			if wrong++; wrong <= 3 {
				t.Errorf("%d: %q: got %d %q, decoded %q", i, text, ids, pieces(tok, ids), decoded)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d differ; testdata/parity.py KIND NUMBER shows what the reference says", wrong, len(texts))
	} else if whole != binary.LittleEndian.Uint32(sums[len(texts):]) {
		t.Error("some string differs, but each has the right byte")
	}
}

// TestParityGemma compares Gemma's own vocabulary, where the file is there, with
// SentencePiece's answers for it.
func TestParityGemma(t *testing.T) {
	file, err := weights.Open("../models/gemma-3-270m-q4_k_m.gguf")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no model: make model-gemma fetches it")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tok, err := FromMetadata(file.Meta())
	if err != nil {
		t.Fatal(err)
	}
	texts, err := parityStrings()
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("testdata/gemma.bin")
	if err != nil {
		t.Fatal(err)
	}
	checkParity(t, tok, tok.Encode, texts, sums)
}

// sentenceKind loads a SentencePiece model of testdata, changed by change.
func sentenceKind(name string, change func(*sentenceProto)) func(testing.TB) *Tokenizer {
	return func(t testing.TB) *Tokenizer {
		data, err := gunzip("testdata/" + name + ".model.gz")
		if err != nil {
			t.Fatal(err)
		}
		var tok *Tokenizer
		if change == nil {
			tok, err = FromSentencePiece(data, SentenceOptions{})
		} else {
			tok, err = fromChanged(data, change)
		}
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
}

func fromChanged(data []byte, change func(*sentenceProto)) (*Tokenizer, error) {
	p := newSentenceProto()
	if err := eachField(data, p.field); err != nil {
		return nil, err
	}
	change(p)
	return p.build(SentenceOptions{})
}

// bare is what parity.py does to a model for its kinds of that name.
func bare(p *sentenceProto) {
	p.prefix, p.squeeze, p.fallback = false, false, false
	for id, kind := range p.kinds {
		if kind == kindByte {
			p.kinds[id] = kindControl
		}
	}
}

// frames is testdata/frames.json.gz.
var frames = sync.OnceValues(func() (f struct {
	Frames map[string]map[string]any
	Models map[string]map[string]any
}, err error) {
	data, err := gunzip("testdata/frames.json.gz")
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	return f, err
})

// frameJSON returns the tokenizer.json of a frame: with its model, as complete
// in parity.py completes it.
func frameJSON(t testing.TB, name string) []byte {
	t.Helper()
	f, err := frames()
	if err != nil {
		t.Fatal(err)
	}
	frame := maps.Clone(f.Frames[name])
	switch model, _ := frame["model"].(string); model {
	case "smollm2", "smollm2-whole":
		vocab := map[string]int{}
		for id, token := range smolFields()[keyTokens].([]string) {
			vocab[token] = id
		}
		frame["model"] = map[string]any{"type": "BPE", "vocab": vocab, "merges": smolFields()[keyMerges],
			"ignore_merges": model == "smollm2-whole"}
	case "bpe-unk":
		bpe := maps.Clone(f.Models["bpe"])
		bpe["byte_fallback"] = false
		frame["model"] = bpe
	default:
		frame["model"] = f.Models[model]
	}
	data, err := json.Marshal(frame)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func jsonKind(name string) func(testing.TB) *Tokenizer {
	return func(t testing.TB) *Tokenizer {
		tok, err := FromJSON(frameJSON(t, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
}

// ranksFile is SmolLM2's vocabulary as a file of ranks, with the bytes that it
// lacks behind.
var ranksFile = sync.OnceValue(func() []byte {
	var pieces []string
	types := smolFields()[keyTypes].([]int64)
	for id, token := range smolFields()[keyTokens].([]string) {
		if types[id] == int64(kindNormal) {
			raw, _ := appendRaw(nil, token)
			pieces = append(pieces, string(raw))
		}
	}
	for b := range 256 {
		if one := string([]byte{byte(b)}); !slices.Contains(pieces, one) {
			pieces = append(pieces, one)
		}
	}
	var out strings.Builder
	for rank, piece := range pieces {
		fmt.Fprintf(&out, "%s %d\n", base64.StdEncoding.EncodeToString([]byte(piece)), rank)
	}
	return []byte(out.String())
})

func rankedKind(pattern string) func(testing.TB) *Tokenizer {
	return func(t testing.TB) *Tokenizer {
		tok, err := FromTiktoken(ranksFile(), TiktokenOptions{Pattern: pattern})
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
}
