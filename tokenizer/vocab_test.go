package tokenizer

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/weights"
)

// fields is metadata for tests.
type fields map[string]any

func load(f fields) (*Tokenizer, error) { return FromMetadata(weights.NewMetadata(f)) }

// with returns a copy of f with one key changed; nil removes it.
func (f fields) with(key string, v any) fields {
	out := fields{}
	for k, old := range f {
		out[k] = old
	}
	if v == nil {
		delete(out, key)
	} else {
		out[key] = v
	}
	return out
}

func gunzip(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// smolFields is the metadata of testdata/smollm2-vocab.gguf.gz. Its values must
// not be changed.
var smolFields = sync.OnceValue(func() fields {
	m := smolFile().Meta()
	f := fields{}
	for _, key := range m.Keys() {
		if v, err := m.String(key); err == nil {
			f[key] = v
		} else if v, err := m.Uint(key); err == nil {
			f[key] = v
		} else if v, err := m.Bool(key); err == nil {
			f[key] = v
		} else if v, err := m.Strings(key); err == nil {
			f[key] = v
		} else if v, err := m.Ints(key); err == nil {
			f[key] = v
		}
	}
	return f
})

// smolFile opens the vocabulary, which has to be a file of its own for that.
func smolFile() *weights.File {
	dir, err := os.MkdirTemp("", "vocab")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	data, err := gunzip("testdata/smollm2-vocab.gguf.gz")
	if err != nil {
		panic(err)
	}
	name := filepath.Join(dir, "vocab.gguf")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		panic(err)
	}
	file, err := weights.Open(name)
	if err != nil {
		panic(err)
	}
	return file
}

// smol returns SmolLM2's tokenizer under the pre-tokenizer pre. It belongs to
// all tests.
func smol(t testing.TB, pre string) *Tokenizer {
	t.Helper()
	smolMu.Lock()
	defer smolMu.Unlock()
	tok, ok := smolCache[pre]
	if !ok {
		var err error
		if tok, err = load(smolFields().with(keyPre, pre)); err != nil {
			t.Fatal(err)
		}
		smolCache[pre] = tok
	}
	return tok
}

var (
	smolMu    sync.Mutex
	smolCache = map[string]*Tokenizer{}
)

// allBytes is a vocabulary with every byte, a few merges, and special tokens.
func allBytes(pre string) fields {
	var tokens []string
	var types []int64
	for b := range 256 {
		tokens = append(tokens, string(byteRunes[b]))
		types = append(types, int64(kindNormal))
	}
	merges := []string{"a a", "aa aa", "Ġ a", "h e", "l l", "he ll", "hell o", "Ġ Ġ", "Ã ©"}
	for _, m := range merges {
		var l, r string
		fmt.Sscanf(m, "%s %s", &l, &r)
		tokens = append(tokens, l+r)
		types = append(types, int64(kindNormal))
	}
	for _, s := range []string{"<|im_start|>", "<|im_end|>", "<|im_end|>x", "<tool>"} {
		tokens = append(tokens, s)
		types = append(types, int64(kindControl))
	}
	types[len(types)-1] = int64(kindUserDefined)
	return fields{
		keyModel: "gpt2", keyPre: pre, keyTokens: tokens, keyTypes: types, keyMerges: merges,
		keyEOS: uint64(256 + len(merges) + 1),
	}
}
