// Package golden loads reference data for tests: what Hugging Face transformers
// computes in float32 for the tiny random models of model/testdata/tiny and for
// SmolLM2-135M-Instruct, and what llama.cpp makes of the latter. The formats,
// versions and commands are in model/testdata/SOURCES.md.
package golden

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
)

// Root returns the root of the module's checkout.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if root := filepath.Join(filepath.Dir(file), "..", "..", ".."); ok && filepath.IsAbs(file) {
		return root
	}
	// Built with -trimpath: walk up from the test's working directory.
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("golden: no go.mod above the working directory")
		}
		dir = up
	}
}

// Case is a tiny model with the reference's answers for one token sequence.
type Case struct {
	Name   string
	Path   string  // the GGUF file
	Vocab  int     // length of a row of logits
	Tokens []int32 // the sequence, from position 0
	// Prompt is how many of Tokens were given. The rest, if any, is the
	// reference's greedy continuation of them.
	Prompt int
	// Argmax holds, for each position, the token with the greatest logit after
	// it, and Gap how far that logit is above the second greatest.
	Argmax []int32
	Gap    []float32
	// Logits[i] is the row of logits after Tokens[Positions[i]].
	Positions []int
	Logits    [][]float32
}

// Tiny returns every tiny model, in order of name.
func Tiny(t testing.TB) []Case {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(tinyDir(t), "*.gguf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("golden: no tiny models in %s (%v)", tinyDir(t), err)
	}
	sort.Strings(paths)
	cases := make([]Case, len(paths))
	for i, p := range paths {
		cases[i] = TinyCase(t, strings.TrimSuffix(filepath.Base(p), ".gguf"))
	}
	return cases
}

// TinyCase returns the tiny model of that name, for example "gqa4-d64".
func TinyCase(t testing.TB, name string) Case {
	t.Helper()
	path := filepath.Join(tinyDir(t), name)
	data, err := os.ReadFile(path + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseTiny(data)
	if err != nil {
		t.Fatalf("golden: %s.golden: %v", path, err)
	}
	c.Name, c.Path = name, path+".gguf"
	return c
}

// TinyChat returns the path of a tiny model with a byte-level vocabulary and a
// chat template, for tests from end to end.
func TinyChat(t testing.TB) string {
	t.Helper()
	return filepath.Join(tinyDir(t), "tiny-chat.gguf")
}

func tinyDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(Root(t), "model", "testdata", "tiny")
}

func parseTiny(data []byte) (Case, error) {
	r := reader{r: bytes.NewReader(data)}
	r.magic("HFTINY01")
	n, prompt, vocab, rows := r.u32(), r.u32(), r.u32(), r.u32()
	if r.err == nil && len(data) != 24+12*n+rows*(4+4*vocab) {
		r.err = fmt.Errorf("%d bytes for %d tokens and %d rows of %d", len(data), n, rows, vocab)
	}
	if r.err != nil {
		return Case{}, r.err
	}
	c := Case{Vocab: vocab, Prompt: prompt}
	c.Tokens, c.Argmax, c.Gap = make([]int32, n), make([]int32, n), make([]float32, n)
	positions, logits := make([]int32, rows), make([]float32, rows*vocab)
	for _, v := range []any{c.Tokens, c.Argmax, c.Gap, positions, logits} {
		r.read(v)
	}
	for i, p := range positions {
		if p < 0 || int(p) >= n {
			return Case{}, fmt.Errorf("row %d is of position %d of %d", i, p, n)
		}
		c.Positions = append(c.Positions, int(p))
		c.Logits = append(c.Logits, logits[i*vocab:(i+1)*vocab:(i+1)*vocab])
	}
	return c, r.err
}

// reader reads little-endian values and keeps the first error.
type reader struct {
	r   io.Reader
	err error
}

func (r *reader) read(v any) {
	if r.err == nil {
		r.err = binary.Read(r.r, binary.LittleEndian, v)
	}
}

func (r *reader) u32() int {
	var v uint32
	r.read(&v)
	return int(v)
}

func (r *reader) magic(want string) {
	got := make([]byte, len(want))
	r.read(got)
	if r.err == nil && string(got) != want {
		r.err = fmt.Errorf("starts with %q, want %q", got, want)
	}
}
