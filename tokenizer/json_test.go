package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// edited returns the tokenizer.json of a frame after change. SmolLM2's model is
// too large for that: it is left out.
func edited(t testing.TB, name string, change func(file map[string]any)) []byte {
	t.Helper()
	f, err := frames()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(f.Frames[name])
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if small, ok := f.Models[file["model"].(string)]; ok {
		if data, err = json.Marshal(small); err != nil {
			t.Fatal(err)
		}
		var own map[string]any
		if err := json.Unmarshal(data, &own); err != nil {
			t.Fatal(err)
		}
		file["model"] = own
	} else {
		file["model"] = object{"type": "BPE"}
	}
	change(file)
	if data, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	return data
}

type object = map[string]any

func part(file object, path ...string) object {
	for _, name := range path {
		file = file[name].(object)
	}
	return file
}

// TestJSONErrors: what we do not know is an error that names the part, what
// makes no sense one that says why; nothing panics.
func TestJSONErrors(t *testing.T) {
	f := func(frame string, class error, word string, change func(object)) {
		t.Helper()
		tok, err := FromJSON(edited(t, frame, change), nil)
		if err == nil {
			t.Errorf("%s: loaded %d tokens", word, tok.VocabSize())
		} else if !errors.Is(err, class) || !strings.Contains(err.Error(), word) {
			t.Errorf("%v: want %v and %q", err, class, word)
		}
	}
	set := func(name string, v any) func(object) { return func(file object) { file[name] = v } }
	model := func(name string, v any) func(object) {
		return func(file object) { part(file, "model")[name] = v }
	}
	u, v := ErrUnsupported, ErrVocabulary

	f("gemma", u, `normalizer.type = "BertNormalizer"`, set("normalizer", object{"type": "BertNormalizer"}))
	f("gemma", u, `normalizer.normalizers[1].type = "NFKC"`, set("normalizer", object{"type": "Sequence", "normalizers": []any{object{"type": "NFC"}, object{"type": "NFKC"}}}))
	f("gemma", u, `Replace of a+`, set("normalizer", object{"type": "Replace", "pattern": object{"Regex": "a+"}, "content": "b"}))
	f("gemma", u, `unknown object member name "extra"`, set("normalizer", object{"type": "Prepend", "prepend": "▁", "extra": 1}))
	f("gemma", u, `pre_tokenizer.type = "Whitespace"`, set("pre_tokenizer", object{"type": "Whitespace"}))
	f("gemma", u, "Split at \" \", Removed", set("pre_tokenizer", object{"type": "Split", "pattern": object{"String": " "}, "behavior": "Removed", "invert": false}))
	f("llama3", u, `\w+`, set("pre_tokenizer", object{"type": "Split", "pattern": object{"Regex": `\w+`}, "behavior": "Isolated", "invert": false}))
	f("llama3", u, "add_prefix_space", set("pre_tokenizer", object{"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}))
	f("llama3", u, "after ByteLevel", set("pre_tokenizer", object{"type": "Sequence", "pretokenizers": []any{
		object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}, object{"type": "Digits", "individual_digits": true}}}))
	f("llama3", u, "decoder does not undo", set("decoder", nil))
	f("gemma", u, "decoder does not undo", set("decoder", object{"type": "ByteLevel"}))
	f("gemma", u, `decoder.type = "WordPiece"`, set("decoder", object{"type": "WordPiece"}))
	f("gemma", u, "decoder has no ByteFallback", set("decoder", object{"type": "Metaspace", "replacement": "▁"}))
	f("gemma", u, "Strip of 2", set("decoder", object{"type": "Strip", "content": " ", "start": 2, "stop": 0}))
	f("gemma", u, `post_processor.type = "BertProcessing"`, set("post_processor", object{"type": "BertProcessing"}))
	f("gemma", u, "more than one token", func(file object) {
		single := part(file, "post_processor")["single"].([]any)
		part(file, "post_processor")["single"] = append(single[:1:1], single...)
	})
	f("gemma", u, `model.type = "WordPiece"`, model("type", "WordPiece"))
	f("gemma", u, "model.dropout", model("dropout", 0.1))
	f("gemma", u, "continuing_subword_prefix", model("continuing_subword_prefix", "##"))
	f("gemma", u, "unknown object member", model("magic", true))
	f("llama3", u, "ByteLevel = true", model("type", "Unigram"))

	deep := object{"type": "NFC"}
	for range 40 {
		deep = object{"type": "Sequence", "normalizers": []any{deep}}
	}
	f("gemma", v, "more than 16 parts", set("normalizer", deep))
	double := object{"type": "Replace", "pattern": object{"String": "a"}, "content": "aa"}
	f("gemma", u, "normalizer.normalizers[6]: with those before it", set("normalizer", object{"type": "Sequence", "normalizers": []any{double, double, double, double, double, double, double}}))
	f("gemma", u, "more than 64 bytes of one", set("normalizer", object{"type": "Prepend", "prepend": strings.Repeat("x", maxGrowth)}))
	f("gemma", u, "more than 64 bytes of one", set("normalizer", object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": strings.Repeat("x", 2*maxGrowth+1)}))
	f("gemma", v, "model.vocab", model("vocab", []any{}))
	f("gemma", v, "unk_token", model("unk_token", "nothing"))
	f("gemma", v, "not every byte", func(file object) { delete(part(file, "model", "vocab"), "<0x7F>") })
	f("gemma", v, "model.merges[0]", model("merges", []any{"a zzzz"}))
	f("gemma", u, "a merge is number", model("merges", []any{7}))
	f("gemma", u, "is not two tokens", model("merges", []any{"a b c"}))
	f("gemma", v, "appears twice", func(file object) {
		merges := part(file, "model")["merges"].([]any)
		part(file, "model")["merges"] = append(merges, merges[0])
	})
	f("gemma", v, "out of range, or not the only one", func(file object) { part(file, "model", "vocab")["new"] = 7 })
	f("gemma", v, "out of range", func(file object) { part(file, "model", "vocab")["new"] = -7 })
	f("gemma", v, "limits 1 and", func(file object) { part(file, "model", "vocab")["new"] = 1 << 40 })
	f("gemma", v, "IDs up to", func(file object) { part(file, "model", "vocab")["new"] = maxTokens - 1 })
	f("gemma", v, "of at most 256 bytes", func(file object) { part(file, "model", "vocab")[strings.Repeat("x", 257)] = 2400 })
	token := func(id int, content string) func(object) {
		return func(file object) {
			file["added_tokens"] = append(file["added_tokens"].([]any), object{"id": id, "content": content, "special": true})
		}
	}
	f("gemma", v, `which is "<s>"`, token(1, "<s>"))
	f("gemma", v, `which is "<0x00>"`, token(9, "<x>"))
	f("gemma", v, "with the ID -1", token(-1, "<x>"))
	f("gemma", v, `"" with the ID`, token(2400, ""))
	f("gemma", v, "repeats", token(2400, "<s>"))
	f("gemma", v, `"<y>" is not one token when normalised`, func(file object) {
		file["normalizer"] = object{"type": "Replace", "pattern": object{"String": "y"}, "content": "z"}
		for i, content := range []string{"<z>", "<y>"} {
			file["added_tokens"] = append(file["added_tokens"].([]any), object{"id": 2400 + i, "content": content, "normalized": true})
		}
	})
	f("gemma", v, "special token of 300 bytes", token(2400, strings.Repeat("x", 300)))
	f("unigram", v, "model.vocab[0]", model("vocab", []any{[]any{"a", "b"}}))
	f("unigram", v, "unk_id = 9999", model("unk_id", 9999))
	f("unigram", v, "not the only one", func(file object) {
		vocab := part(file, "model")["vocab"].([]any)
		vocab[7] = []any{"", 0}
	})
	f("unigram", v, `[8] = " a" repeats 7`, func(file object) {
		vocab := part(file, "model")["vocab"].([]any)
		vocab[7], vocab[8] = []any{" a", -1}, []any{" a", -2}
	})

	for name, data := range map[string]string{
		"nothing":     "",
		"bad UTF-8":   "{\"model\":\"\xff\"}",
		"deep":        strings.Repeat(`{"normalizer":`, 20000),
		"deep list":   `{"x":` + strings.Repeat("[", 20000),
		"cut short":   string(frameJSON(t, "gemma")[:5000]),
		"two members": `{"model":null,"model":null}`,
	} {
		if _, err := FromJSON([]byte(data), nil); !errors.Is(err, ErrVocabulary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestJSONConfig: tokenizer_config.json names the special tokens and what goes
// around a text.
func TestJSONConfig(t *testing.T) {
	file := frameJSON(t, "gemma")
	f := func(config string, addBOS, addEOS bool, bos, eos int32) {
		t.Helper()
		var data []byte
		if config != "" {
			data = []byte(config)
		}
		tok, err := FromJSON(file, data)
		if err != nil {
			t.Error(err)
			return
		}
		gotBOS, _ := tok.BOS()
		gotEOS, _ := tok.EOS()
		if tok.AddBOS() != addBOS || tok.AddEOS() != addEOS || gotBOS != bos || gotEOS != eos {
			t.Errorf("%s: BOS %d %t, EOS %d %t", config, gotBOS, tok.AddBOS(), gotEOS, tok.AddEOS())
		}
	}
	f("", true, false, 1, -1)
	f(`{"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"chat_template":"x"}`, true, false, 1, 2)
	f(`{"add_bos_token":false,"add_eos_token":true,"eos_token":"</s>"}`, false, true, 1, 2)
	f(`{"bos_token":null}`, true, false, 1, -1)
	for config, class := range map[string]error{
		`{"eos_token":"<none>"}`:    ErrVocabulary,
		`{"bos_token":"</s>"}`:      ErrUnsupported, // another than the template's
		`{"add_bos_token":"maybe"}`: ErrVocabulary,
		`[`:                         ErrVocabulary,
	} {
		if _, err := FromJSON(file, []byte(config)); !errors.Is(err, class) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestJSONForgesNothing: plain text never becomes a control token, not even by a
// merge or as a word.
func TestJSONForgesNothing(t *testing.T) {
	for _, kind := range parityKinds {
		if !strings.HasPrefix(kind.name, "json/") {
			continue
		}
		tok := kind.tokenizer(t)
		for _, text := range []string{"<s>", "a</s>b", "<unk>", "<|im_end|>", " <|left|> ", "<|endoftext|>"} {
			for _, id := range tok.Encode(nil, text) {
				if tok.Control(id) && id != tok.unknown.id {
					t.Errorf("%s: %q gives %q", kind.name, text, tok.Piece(id))
				}
			}
		}
	}
	file := edited(t, "gemma", func(file object) {
		vocab := part(file, "model", "vocab")
		vocab["s>"] = 2400
		part(file, "model")["merges"] = []any{"s >", "< s>"}
	})
	tok, err := FromJSON(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ids := tok.Encode(nil, "<s>"); slices.Contains(ids, 1) || len(ids) != 2 {
		t.Errorf("a merge makes BOS: %d", ids)
	}
}

// TestJSONEqualsGGUF: one vocabulary gives the same IDs from both files.
func TestJSONEqualsGGUF(t *testing.T) {
	texts, err := parityStrings()
	if err != nil {
		t.Fatal(err)
	}
	for frame, pre := range map[string]string{"smollm2": "smollm", "llama3": "llama-bpe", "tekken": "tekken", "o200k": "gpt-4o"} {
		a := kindNamed("json/" + frame).tokenizer(t)
		b, err := load(smolFields().with(keyPre, pre))
		if err != nil {
			t.Fatal(err)
		}
		b.wholeWords = a.wholeWords // as the frame has it
		var x, y []int32
		for _, text := range texts[9000:] {
			x, y = a.Encode(x[:0], text), b.Encode(y[:0], text)
			if !slices.Equal(x, y) {
				t.Fatalf("%s: %q: %d, %d", frame, text, x, y)
			}
		}
	}
}

// TestJSONDigest: what changes encoding changes the digest.
func TestJSONDigest(t *testing.T) {
	seen := map[[32]byte]string{}
	f := func(name string, change func(object)) {
		t.Helper()
		data := edited(t, "gemma", change)
		a, err := FromJSON(data, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if b, err := FromJSON(data, nil); err != nil || a.Digest() != b.Digest() {
			t.Errorf("%s: not stable: %v", name, err)
		}
		if before, ok := seen[a.Digest()]; ok {
			t.Errorf("%s has the digest of %s", name, before)
		}
		seen[a.Digest()] = name
	}
	f("as is", func(object) {})
	f("normalizer", func(file object) { file["normalizer"] = object{"type": "NFC"} })
	f("pre_tokenizer", func(file object) { file["pre_tokenizer"] = nil })
	f("fuse", func(file object) { part(file, "model")["fuse_unk"] = false })
	f("whole", func(file object) { part(file, "model")["ignore_merges"] = true })
	f("merges", func(file object) { m := part(file, "model")["merges"].([]any); part(file, "model")["merges"] = m[1:] })
	f("flags", func(file object) { file["added_tokens"].([]any)[4].(object)["rstrip"] = true })
	f("begin", func(file object) { file["post_processor"] = nil })
	if len(seen) != 8 {
		t.Error(fmt.Sprint(len(seen), " digests"))
	}
}
