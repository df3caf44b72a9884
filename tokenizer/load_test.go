package tokenizer

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestLoadSmolLM2(t *testing.T) {
	tok, err := load(smolFields())
	if err != nil {
		t.Fatal(err)
	}
	if n := tok.VocabSize(); n != 49152 {
		t.Errorf("%d tokens", n)
	}
	if id, ok := tok.BOS(); !ok || id != 1 {
		t.Errorf("BOS %d", id)
	}
	if id, ok := tok.EOS(); !ok || id != 2 {
		t.Errorf("EOS %d", id)
	}
	if tok.AddBOS() {
		t.Error("AddBOS")
	}
	if !slices.Equal(tok.EOG(), []int32{0, 2}) {
		t.Errorf("EOG %d", tok.EOG())
	}
	if id, ok := tok.ID(" the"); !ok || tok.Piece(id) != " the" {
		t.Errorf("the token %q is %d %v", " the", id, ok)
	}
	if _, ok := tok.ID("no such piece"); ok {
		t.Error("ID finds what is not there")
	}
	if tok.Piece(-1) != "" || tok.Piece(49152) != "" || len(tok.AppendPiece(nil, 1<<30)) != 0 {
		t.Error("pieces outside the vocabulary")
	}
}

// TestLoadErrors: metadata is hostile; each fault is an error that names the
// key, never a panic.
func TestLoadErrors(t *testing.T) {
	good := allBytes("gpt-2")
	if _, err := load(good); err != nil {
		t.Fatal(err)
	}
	tokens, types := good[keyTokens].([]string), good[keyTypes].([]int64)
	merges := good[keyMerges].([]string)
	replace := func(at int, s string) []string {
		out := slices.Clone(tokens)
		out[at] = s
		return out
	}
	f := func(name string, m fields, class error, words ...string) {
		t.Helper()
		tok, err := load(m)
		if err == nil {
			t.Errorf("%s: loaded %d tokens", name, tok.VocabSize())
			return
		}
		if class != nil && !errors.Is(err, class) {
			t.Errorf("%s: %v is not %v", name, err, class)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
	}
	f("model", good.with(keyModel, "bert"), ErrUnsupported, keyModel, "bert", "llama")
	f("pre", good.with(keyPre, "default"), ErrUnsupported, keyPre, "default", "smollm")
	f("no pre", good.with(keyPre, nil), nil, keyPre)
	f("no model", good.with(keyModel, nil), nil, keyModel)
	f("space prefix", good.with(keyAddSpace, true), ErrUnsupported, keyAddSpace)
	f("wrong type", good.with(keyAddBOS, "yes"), nil, keyAddBOS)
	f("no tokens", good.with(keyTokens, []string{}), ErrVocabulary, keyTokens)
	f("tokens missing", good.with(keyTokens, nil), nil, keyTokens)
	f("too many tokens", good.with(keyTokens, make([]string, maxTokens+1)), ErrVocabulary, keyTokens)
	f("lengths differ", good.with(keyTypes, types[:9]), ErrVocabulary, keyTypes, "9")
	f("kind", good.with(keyTypes, append([]int64{99}, types[1:]...)), ErrVocabulary, keyTypes, "99")
	f("duplicate token", good.with(keyTokens, replace(300-40, "a")), ErrVocabulary, keyTokens, `"a"`)
	f("missing byte", good.with(keyTokens, replace('q', "qq")), ErrVocabulary, "0x71")
	f("long token", good.with(keyTokens, replace(len(tokens)-1, strings.Repeat("x", maxTokenBytes+1))), ErrVocabulary, keyTokens)
	f("long special", good.with(keyTokens, replace(len(tokens)-1, strings.Repeat("x", maxSpecialBytes+1))), ErrVocabulary, "special")
	f("no merges", good.with(keyMerges, nil), nil, keyMerges)
	f("merge of unknown", good.with(keyMerges, append(merges[:1:1], "q zz")), ErrVocabulary, "q zz", "not in the vocabulary")
	f("merge makes unknown", good.with(keyMerges, append(merges[:1:1], "q z")), ErrVocabulary, "q z")
	f("merge twice", good.with(keyMerges, append(merges[:1:1], merges[0])), ErrVocabulary, "twice")
	f("merge of one", good.with(keyMerges, []string{"a"}), ErrVocabulary, "two tokens")
	f("merge of three", good.with(keyMerges, []string{"a a a"}), ErrVocabulary, "two tokens")
	f("merge of nothing", good.with(keyMerges, []string{" a"}), ErrVocabulary, "two tokens")
	f("merge makes special", good.with(keyTokens, append(replace(256, "aaa"), "aa")).with(keyTypes, append(slices.Clone(types), int64(kindControl))),
		ErrVocabulary, "special")
	f("ID out of range", good.with(keyEOT, uint64(1<<40)), ErrVocabulary, keyEOT)
	f("BOS wanted, none", good.with(keyAddBOS, true), ErrVocabulary, keyAddBOS)
}

// TestEmptyTokens: converters pad vocabularies with empty texts.
func TestEmptyTokens(t *testing.T) {
	m := allBytes("gpt-2")
	tokens := append(slices.Clone(m[keyTokens].([]string)), "", "")
	types := append(slices.Clone(m[keyTypes].([]int64)), 0, int64(kindUnused))
	tok, err := load(m.with(keyTokens, tokens).with(keyTypes, types))
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.ID(""); ok {
		t.Errorf("the empty piece is %d", id)
	}
}

// TestWholeWords: a token that no merge reaches is used only where the
// pre-tokenizer's family says so.
func TestWholeWords(t *testing.T) {
	m := allBytes("gpt-2")
	tokens := slices.Clone(m[keyTokens].([]string))
	tokens[256+8] = "unreachable"
	m = m.with(keyTokens, tokens).with(keyMerges, m[keyMerges].([]string)[:8])
	tok, err := load(m)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from the cache
		if ids := tok.Encode(nil, "unreachable"); len(ids) != len("unreachable") {
			t.Errorf("gpt-2: %d", ids)
		}
	}
	tok, err = load(m.with(keyPre, "llama-bpe"))
	if err != nil {
		t.Fatal(err)
	}
	if ids := tok.Encode(nil, "unreachable"); !slices.Equal(ids, []int32{256 + 8}) {
		t.Errorf("llama-bpe: %d", ids)
	}
}

// TestDigest: what changes encoding changes the digest, and nothing else does.
func TestDigest(t *testing.T) {
	good := allBytes("gpt-2")
	seen := map[[32]byte]string{}
	f := func(name string, m fields) {
		t.Helper()
		tok, err := load(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := load(m)
		if err != nil || again.Digest() != tok.Digest() {
			t.Errorf("%s: the digest is not stable", name)
		}
		if before, ok := seen[tok.Digest()]; ok {
			t.Errorf("%s has the digest of %s", name, before)
		}
		seen[tok.Digest()] = name
	}
	merges := slices.Clone(good[keyMerges].([]string))
	merges[0], merges[3] = merges[3], merges[0]
	types := slices.Clone(good[keyTypes].([]int64))
	types[len(types)-2] = int64(kindNormal)
	tokens := slices.Clone(good[keyTokens].([]string))
	tokens[len(tokens)-1] = "<Tool>"
	f("as is", good)
	f("pre", good.with(keyPre, "qwen2"))
	f("merge order", good.with(keyMerges, merges))
	f("kind", good.with(keyTypes, types))
	f("token", good.with(keyTokens, tokens))
	f("EOS", good.with(keyEOS, uint64(3)))
	f("BOS", good.with(keyBOS, uint64(3)))
	f("add BOS", good.with(keyBOS, uint64(3)).with(keyAddBOS, true))

	smol, err := load(smolFields())
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := load(smolFields().with("general.name", "other"))
	if err != nil || smol.Digest() != renamed.Digest() {
		t.Error("the model's name is in the digest")
	}
}
