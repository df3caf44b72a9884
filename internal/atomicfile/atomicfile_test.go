package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

// TestWrite: a file is made and replaced, and nothing else is left, whether it succeeds or not.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	for _, text := range []string{"one", "two, longer"} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	taken := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if Write(taken, nil) == nil {
		t.Error("a folder was replaced")
	}
	if Write(filepath.Join(dir, "none", "a"), nil) == nil {
		t.Error("a file was made in no folder")
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}
