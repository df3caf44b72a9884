package pull

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func content(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

const size = 300_000

// fetcherOf returns a fetcher that does not wait.
func fetcherOf(h *hub, dest string) *fetcher {
	return &fetcher{
		src:    Source{Endpoint: h.front.URL, Repo: "org/model", Revision: "main", File: "weights.gguf"},
		dest:   dest,
		client: &http.Client{Transport: &http.Transport{}, CheckRedirect: noRedirects},
		stall:  time.Hour,
		pause:  func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		free:   func(string) (int64, error) { return 1 << 40, nil },
	}
}

// mustHold fails unless dest holds content and nothing else lies beside it.
func mustHold(t *testing.T, dest string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(dest)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes (%v), want %d others", len(got), err, len(want))
	}
	if stat, err := os.Stat(dest); err == nil && stat.Mode().Perm() != 0o644&^umask() {
		t.Errorf("mode %v", stat.Mode())
	}
	if left := parts(t, dest); len(left) != 0 {
		t.Errorf("left beside it: %v", left)
	}
}

func parts(t *testing.T, dest string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dest))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(dest) {
			names = append(names, e.Name())
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v", e.Name(), info.Mode())
			}
		}
	}
	return names
}

func TestFetch(t *testing.T) {
	for _, kind := range []string{"large", "small", "plain"} {
		t.Run(kind, func(t *testing.T) {
			h := newHub(t, content(size, 1))
			h.large, h.plain = kind == "large", kind == "plain"
			h.cuts = []int{100_000, 0, 50_000}
			dest := filepath.Join(t.TempDir(), "weights.gguf")
			f := fetcherOf(h, dest)
			var last [2]int64
			f.progress = func(_ string, done, total int64) { last = [2]int64{done, total} }
			r, err := f.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, dest, h.content)
			if r.Size != size || r.Received != size || r.Present || last != [2]int64{size, size} {
				t.Errorf("%+v, last progress %v", r, last)
			}
			wantDigest := map[string]string{"large": "sha256:" + h.etag(), "small": "git-sha1:" + h.etag()}[kind]
			if r.Digest != wantDigest {
				t.Errorf("digest %q, want %q", r.Digest, wantDigest)
			}
			if got, want := h.ranges, []string{"", "bytes=100000-", "bytes=100000-", "bytes=150000-"}; !slices.Equal(got, want) {
				t.Errorf("ranges %q, want %q", got, want)
			}
			if kind == "plain" {
				return // nothing says that the file is still the same
			}
			if h.requests[2].path != "/org/model/resolve/"+h.commit+"/weights.gguf" && h.requests[4].path != "/org/model/resolve/"+h.commit+"/weights.gguf" {
				t.Errorf("later attempts do not name the commit: %+v", h.requests)
			}
			h.requests, h.ranges = nil, nil
			r, err = fetcherOf(h, dest).run(t.Context())
			if err != nil || !r.Present || r.Received != 0 || len(h.ranges) != 0 {
				t.Errorf("again: %+v, %v, %+v", r, err, h.requests)
			}
		})
	}
}

// interrupt ends a fetch after n bytes and returns the path of what is there.
func interrupt(t *testing.T, h *hub, dest string, n int) (part string) {
	t.Helper()
	f, stop := fetcherOf(h, dest), errors.New("stop")
	h.cuts = []int{n}
	f.pause = func(context.Context, time.Duration) error { return stop }
	if _, err := f.run(t.Context()); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	left := parts(t, dest)
	if len(left) != 1 {
		t.Fatalf("left: %v", left)
	}
	part = filepath.Join(filepath.Dir(dest), left[0])
	if stat, err := os.Stat(part); err != nil || stat.Size() != int64(n) {
		t.Fatalf("%+v, %v", stat, err)
	}
	h.requests, h.ranges = nil, nil
	return part
}

// TestLater holds that a second run goes on where an interrupted one stopped,
// and that what lies there is not believed.
func TestLater(t *testing.T) {
	h := newHub(t, content(size, 2))
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	part := interrupt(t, h, dest, 123_456)
	r, err := fetcherOf(h, dest).run(t.Context())
	if err != nil || r.Received != size-123_456 || !slices.Equal(h.ranges, []string{"bytes=123456-"}) {
		t.Errorf("%+v, %v, ranges %q", r, err, h.ranges)
	}
	mustHold(t, dest, h.content)

	for name, lie := range map[string][]byte{
		"damaged":  append([]byte{^h.content[0]}, h.content[1:1000]...),
		"complete": bytes.Repeat([]byte("x"), size),
		"too long": bytes.Repeat([]byte("x"), size+1),
	} {
		if err := errors.Join(os.Remove(dest), os.WriteFile(part, lie, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		mustHold(t, dest, h.content)
	}
	// All of it came, and the process died before it had its place.
	if err := os.Rename(dest, part); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(part, 0o600); err != nil {
		t.Fatal(err)
	}
	h.requests, h.ranges = nil, nil
	if r, err := fetcherOf(h, dest).run(t.Context()); err != nil || r.Received != 0 || len(h.ranges) != 0 {
		t.Errorf("complete: %+v, %v", r, err)
	}
	mustHold(t, dest, h.content)
}

// TestNoDigest holds what protects a file of which the server says little.
func TestNoDigest(t *testing.T) {
	h := newHub(t, content(size, 20))
	h.plain = true
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	part := interrupt(t, h, dest, 1000)
	if err := os.WriteFile(part, bytes.Repeat([]byte("x"), size+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
		t.Error(err)
	}
	mustHold(t, dest, h.content)
	// Without an ETag nothing is gone on with.
	h.mute = true
	dest = filepath.Join(t.TempDir(), "weights.gguf")
	interrupt(t, h, dest, 1000)
	h.content = content(size, 21)
	if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
		t.Error(err)
	}
	mustHold(t, dest, h.content)
}

// TestInterrupted ends a fetch from outside.
func TestInterrupted(t *testing.T) {
	h := newHub(t, content(size, 22))
	ctx, cancel := context.WithCancel(t.Context())
	h.cuts, h.onCut = []int{1000}, cancel
	if _, err := fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestChanged replaces the file on the hub while it comes.
func TestChanged(t *testing.T) {
	for _, kind := range []string{"large", "small", "plain"} {
		t.Run(kind, func(t *testing.T) {
			h := newHub(t, content(size, 3))
			h.large, h.plain = kind == "large", kind == "plain"
			next := content(size, 4)
			h.cuts = []int{100_000}
			h.onCut = func() { h.content = next }
			dest := filepath.Join(t.TempDir(), "weights.gguf")
			if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustHold(t, dest, next)
		})
	}
	// Between the question and the bytes.
	h, next := newHub(t, content(size, 5)), content(size, 6)
	h.onGet = func() { h.content = next }
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustHold(t, dest, next)
}

// TestIfRange holds that a server without digests is asked to send a piece of
// the same version only.
func TestIfRange(t *testing.T) {
	h := newHub(t, content(size, 7))
	h.plain, h.cuts = true, []int{1000}
	if _, err := fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := h.requests[len(h.requests)-1]
	if last.rng != "bytes=1000-" || last.ifRange != `"`+h.etag()[:20]+`"` {
		t.Errorf("%+v", last)
	}
}

func TestWrongBytes(t *testing.T) {
	h := newHub(t, content(size, 8))
	h.announce = content(size, 9)
	for _, large := range []bool{true, false} {
		h.large = large
		dest := filepath.Join(t.TempDir(), "weights.gguf")
		_, err := fetcherOf(h, dest).run(t.Context())
		if !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), h.etag()) {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(dest); err == nil {
			t.Error("wrong bytes have the file's name")
		}
	}
	// A file that is there stays if its replacement is wrong.
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	old := content(size, 23)
	if err := os.WriteFile(dest, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetcherOf(h, dest).run(t.Context()); !errors.Is(err, ErrDigest) {
		t.Error(err)
	}
	if got, err := os.ReadFile(dest); !bytes.Equal(got, old) {
		t.Errorf("the old file holds %d other bytes (%v)", len(got), err)
	}
	h.announce = nil
	if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
		t.Error(err)
	}
	mustHold(t, dest, h.content)
}
