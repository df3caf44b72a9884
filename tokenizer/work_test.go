package tokenizer

import (
	"strings"
	"testing"
)

// longUnits are repeated to long texts.
var longUnits = []string{"a", " ", "\n", "1", "é", "=", "\u0301", "ab", "'", "a\u0301", " \n", "\xff", "A", "aA", "中", "▁", "a ", "ᄀ", "e\u0323\u0301", "\t/"}

// sizeBytes is how long a text of one unit gets: a megabyte for a letter and a
// space, less for the others, which differ little.
func sizeBytes(unit string) int {
	if unit == "a" || unit == " " {
		return 1 << 20
	}
	return 1 << 14
}

// TestMergeWork: merging a long word looks up at most three pairs for
// each of its symbols, so nothing about it is quadratic.
func TestMergeWork(t *testing.T) {
	for _, kind := range []string{"json/qwen2", "bpe"} {
		tok := kindNamed(kind).tokenizer(t)
		for _, unit := range longUnits {
			if unit == "\xff" {
				continue // SmolLM2 has no token for it
			}
			w := new(longScratch)
			text := strings.Repeat(unit, sizeBytes(unit)/len(unit))
			ids := tok.mergeWith(w, nil, text)
			if limit := 3 * len(text); w.work > limit || w.work < len(ids) || len(ids) == 0 {
				t.Errorf("%s: %q: %d tokens of %d bytes by %d look-ups, limit %d", kind, unit, len(ids), len(text), w.work, limit)
			}
		}
	}
}

// TestUnigramWork: at each byte the model looks at no more bytes than its
// longest piece has.
func TestUnigramWork(t *testing.T) {
	tok := kindNamed("unigram").tokenizer(t)
	for _, unit := range longUnits {
		w := new(unigramScratch)
		text := strings.Repeat(unit, sizeBytes(unit)/len(unit))
		ids := tok.segment(w, nil, text)
		if limit := (tok.longestWord + 1) * len(text); w.work > limit || w.work < len(text)/4 || len(ids) == 0 {
			t.Errorf("%q: %d tokens of %d bytes by %d looks, limit %d", unit, len(ids), len(text), w.work, limit)
		}
	}
}

// TestScanWork: a scanner of an expression may look at its piece and at the
// whitespace that begins it, and all of that over a text is linear in the text.
func TestScanWork(t *testing.T) {
	for name, next := range scanners() {
		for _, unit := range longUnits {
			text := strings.Repeat(unit, sizeBytes(unit)/len(unit)) + "x"
			looked := 0
			for rest := text; len(rest) > 0; {
				n := next(rest)
				if n < 1 || n > len(rest) {
					t.Fatalf("%s: %q: %d bytes of %d", name, unit, n, len(rest))
				}
				run, _ := spaceRun(rest)
				looked += max(n, run)
				rest = rest[n:]
			}
			if limit := 3 * len(text); looked > limit {
				t.Errorf("%s: %q: %d bytes looked at of %d, limit %d", name, unit, looked, len(text), limit)
			}
		}
	}
}

func scanners() map[string]scanner {
	out := map[string]scanner{}
	for name, f := range families {
		out[name] = f.next
	}
	for name, next := range tiktokenPatterns {
		out[name] = next
	}
	return out
}

// TestLongTexts: every kind takes a long text of one unit. What is quadratic about
// it would not end.
func TestLongTexts(t *testing.T) {
	for _, kind := range []string{"unigram", "json/phi3", "tiktoken/cl100k_base"} {
		tok := kindNamed(kind).tokenizer(t)
		for _, unit := range longUnits {
			ids := tok.EncodeTemplate(nil, strings.Repeat(unit, sizeBytes(unit)/len(unit)))
			squeezed := kind == "unigram" && (unit == " " || unit == "▁")
			if len(ids) == 0 && !squeezed {
				t.Errorf("%s: %q gives nothing", kind, unit)
			}
		}
	}
}

func kindNamed(name string) parityKind {
	for _, k := range parityKinds {
		if k.name == name {
			return k
		}
	}
	panic("no kind " + name)
}
