package model_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/device/ref"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
)

// TestFoldersEqualGGUF: a folder, as transformers saves it or folder.py writes
// it, gives the bits that the GGUF file with the same values gives: every family,
// F32, F16 and BF16, one file and several.
func TestFoldersEqualGGUF(t *testing.T) {
	folders, err := os.ReadDir("testdata/folders")
	if err != nil || len(folders) < 10 {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	for _, folder := range folders {
		c := golden.TinyCase(t, folder.Name())
		path := filepath.Join("testdata", "folders", folder.Name())
		for _, backend := range []device.Backend{cpu.Backend{}, ref.Backend{}} {
			t.Run(folder.Name()+"/"+backend.Name(), func(t *testing.T) {
				sameLogits(t, backend, c.Path, path, c.Tokens)
			})
		}
	}
}

// sameLogits compares the bits of all rows of logits that two models give.
func sameLogits(t *testing.T, backend device.Backend, a, b string, tokens []int32) {
	t.Helper()
	o := device.Options{ContextLength: 32 * ((len(tokens) + 31) / 32)}
	want := devicetest.Open(t, backend, a, o).Feed(0, 1, tokens, 64)
	got := devicetest.Open(t, backend, b, o).Feed(0, 1, tokens, 64)
	if len(got) != len(tokens) || len(want) != len(tokens) {
		t.Fatalf("%d and %d rows of logits for %d tokens", len(got), len(want), len(tokens))
	}
	for pos := range want {
		for id, w := range want[pos] {
			if g := got[pos][id]; math.Float32bits(g) != math.Float32bits(w) {
				t.Fatalf("position %d, token %d: %v of %s, %v of %s", pos, id, g, b, w, a)
			}
		}
	}
}
