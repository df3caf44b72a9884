package weights

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/holdfast-run/holdfast/graph"
	gw "github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
)

func open(t *testing.T, data []byte) *File {
	t.Helper()
	f, err := Open(gw.WriteFile(t, data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestOpen(t *testing.T) {
	data := sample()
	f := open(t, data)
	checkConsistent(t, f)
	if f.Size() != int64(len(data)) || filepath.Base(f.Path()) != "model.gguf" {
		t.Errorf("size %d, path %s", f.Size(), f.Path())
	}
	meta := f.Meta()
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Metadata does not need the mapping.
	if s, err := meta.Strings("words"); err != nil || s[2] != "Ġthe" {
		t.Errorf("words after Close = %q, %v", s, err)
	}
	f.Drop(f.Tensors()[0]) // must not touch the closed mapping
	if _, err := f.Digest(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Digest after Close: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "file config.json: is missing") {
		t.Errorf("folder: %v", err)
	}
	empty := gw.WriteFile(t, nil)
	if _, err := Open(empty); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), empty+": header: the file is empty") {
		t.Errorf("empty file: %v", err)
	}
	if _, err := Open(gw.WriteFile(t, []byte("GGU"))); !errors.Is(err, ErrFormat) {
		t.Errorf("short file: %v", err)
	}
}

func TestDigest(t *testing.T) {
	data := append(sample(), bytes.Repeat([]byte("x"), digestChunk+5)...)
	want := blake3.Sum256(data)
	f := open(t, data)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := f.Digest(); err != nil || got != want {
				t.Errorf("digest = %x, %v; want %x", got, err, want)
			}
		})
	}
	wg.Wait()
	parsed, err := parse("m", data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parsed.Digest(); err != nil || got != want {
		t.Errorf("digest of bytes = %x, %v; want %x", got, err, want)
	}
}

// TestDigestCutShort: a file that lost bytes since Open is an error, not a fault.
func TestDigestCutShort(t *testing.T) {
	f := open(t, sample())
	if err := os.Truncate(f.Path(), f.Size()-1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Digest(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("digest: %v", err)
	}
}

// TestDrop: the pages inside a tensor leave memory and come back with the same
// bytes. Its neighbours' may leave too, if the system mapped huge pages.
func TestDrop(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident pages are read from /proc")
	}
	const mib = 1 << 20
	fill := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	f := open(t, gw.Build(nil, []gw.TensorSpec{
		{Name: "before", Type: graph.F32, Shape: []int{mib / 4}, Data: fill(1, mib)},
		{Name: "big", Type: graph.F32, Shape: []int{mib}, Data: fill(2, 4*mib)},
		{Name: "after", Type: graph.F32, Shape: []int{mib / 4}, Data: fill(3, mib)},
		{Name: "tiny", Type: graph.F32, Shape: []int{1}, Data: fill(4, 4)},
	}))
	sum := func() (n int) {
		for _, x := range f.Tensors() {
			for _, b := range x.Data {
				n += int(b)
			}
		}
		return n
	}
	want := sum()
	full := residentKiB(t, f.Path())
	big, _ := f.Tensor("big")
	f.Drop(big)
	dropped := residentKiB(t, f.Path())
	if full < 6<<10 || full-dropped < 4<<10-8 {
		t.Errorf("resident: %d KiB, after Drop %d KiB; want at least 4 MiB less", full, dropped)
	}
	tiny, _ := f.Tensor("tiny")
	f.Drop(tiny)                       // no whole page
	f.Drop(Tensor{Name: "not a name"}) // nothing
	if got := residentKiB(t, f.Path()); got != dropped {
		t.Errorf("resident: %d KiB, was %d", got, dropped)
	}
	if got := sum(); got != want {
		t.Errorf("bytes changed: sum %d, want %d", got, want)
	}
}

// residentKiB returns how much of the mapping of path is in this process's memory.
func residentKiB(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	inside := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		line := lines.Text()
		if strings.Contains(line, path) {
			inside = true
		}
		var n int
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &n); err == nil && inside {
			return n
		}
	}
	t.Fatalf("no mapping of %s", path)
	return 0
}
