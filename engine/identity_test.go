package engine

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/weights"
)

// TestDigestCache: the cache answers for an unchanged file, and for that only.
func TestDigestCache(t *testing.T) {
	store, dir := t.TempDir(), t.TempDir()
	data, err := os.ReadFile(golden.TinyChat(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "model.gguf")
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := func() string {
		f, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sum, err := weightsDigest(f, store)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(sum[:])
	}
	write(data)
	first := digest()
	cached := filepath.Join(store, digestFile)
	text, err := os.ReadFile(cached)
	if err != nil || !strings.Contains(string(text), first) {
		t.Fatalf("the cache holds %q (%v), not %s", text, err, first)
	}

	// A marked digest shows that the second look comes from the cache.
	marked := strings.Repeat("ab", 32)
	if err := os.WriteFile(cached, []byte(strings.ReplaceAll(string(text), first, marked)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := digest(); got != marked {
		t.Errorf("unchanged file: %s, not from the cache", got)
	}
	data[len(data)-1] ^= 1
	write(data)
	second := digest()
	if second == marked || second == first {
		t.Errorf("changed file: digest %s", second)
	}
	for name, junk := range map[string]string{
		"no JSON": "{", "other version": strings.Replace(string(text), `"version":1`, `"version":2`, 1),
		"short digest": strings.ReplaceAll(string(text), first, "abcd"), "long digest": strings.ReplaceAll(string(text), first, marked+"ab"),
	} {
		if err := os.WriteFile(cached, []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := digest(); got != second {
			t.Errorf("%s: digest %s, want %s", name, got, second)
		}
	}
}

func TestIdentity(t *testing.T) {
	identity := func(cfg Config) kvcache.Identity {
		id, err := open(t, cfg, nil).Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a := identity(Config{Store: filepath.Join(t.TempDir(), "new")})
	b := identity(Config{Device: "ref"})
	if a.Root() == b.Root() || a.Weights != b.Weights || a.Tokenizer != b.Tokenizer || len(a.RoPE) != 1 {
		t.Errorf("cpu %+v\nref %+v", a, b)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := Open(t.Context(), Config{ModelPath: golden.TinyChat(t), Store: file}); err == nil {
		e.Close()
		t.Error("a file was taken for the store")
	}
}
