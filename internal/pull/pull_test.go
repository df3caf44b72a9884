package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// TestToken holds that the token goes to the endpoint alone, and into no error.
func TestToken(t *testing.T) {
	h := newHub(t, content(size, 10))
	h.token = "hf_secret"
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	for _, token := range []string{"", "hf_wrong"} {
		f := fetcherOf(h, dest)
		f.src.Token = token
		_, err := f.run(t.Context())
		var status *StatusError
		if !errors.As(err, &status) || status.Code != 401 || !strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "hf_") {
			t.Errorf("token %q: %v", token, err)
		}
	}
	f := fetcherOf(h, dest)
	f.src.Token = h.token
	if _, err := f.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	front, cdn := 0, 0
	for _, r := range h.requests[len(h.requests)-3:] {
		switch {
		case r.server == "front" && r.auth == "Bearer hf_secret":
			front++
		case r.server == "cdn" && r.auth == "":
			cdn++
		}
	}
	if front != 2 || cdn != 1 {
		t.Errorf("%+v", h.requests)
	}
	for _, endpoint := range []string{"http://hub.example", "http://10.0.0.1"} {
		f := fetcherOf(h, dest)
		f.src.Token, f.src.Endpoint = "hf_secret", endpoint
		if _, err := f.run(t.Context()); err == nil || !strings.Contains(err.Error(), "in the clear") || strings.Contains(err.Error(), "hf_") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHub(t, content(size, 11))
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	for _, c := range []struct {
		change func(*Source)
		code   int
		says   string
	}{
		{func(s *Source) { s.Repo = "nobody/model" }, 404, "HF_TOKEN"},
		{func(s *Source) { s.Revision = "v9" }, 404, `"v9"`},
		{func(s *Source) { s.File = "other.gguf" }, 404, "no such file"},
		{func(s *Source) { s.Repo = "../model" }, 0, "OWNER/NAME"},
		{func(s *Source) { s.Repo = "a/b/c" }, 0, "OWNER/NAME"},
		{func(s *Source) { s.Revision = "a/../b" }, 0, "revision"},
		{func(s *Source) { s.File = "../weights.gguf" }, 0, "inside the repository"},
		{func(s *Source) { s.File = "a//weights.gguf" }, 0, "inside the repository"},
		{func(s *Source) { s.File = "" }, 0, "inside the repository"},
		{func(s *Source) { s.Endpoint = "ftp://x" }, 0, "endpoint"},
		{func(s *Source) { s.Endpoint = "hub.example" }, 0, "endpoint"},
		{func(s *Source) { s.Token = "a\nb" }, 0, "token"},
	} {
		f := fetcherOf(h, dest)
		c.change(&f.src)
		_, err := f.run(t.Context())
		var status *StatusError
		if err == nil || !strings.Contains(err.Error(), c.says) || errors.As(err, &status) != (c.code != 0) || c.code != 0 && status.Code != c.code {
			t.Errorf("%+v: %v", f.src, err)
		}
	}
	if err := os.Mkdir(dest, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := fetcherOf(h, dest).run(t.Context()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := fetcherOf(h, "/nowhere/at/all/w").run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// TestServers walks through what servers do wrong for a while.
func TestServers(t *testing.T) {
	for name, c := range map[string]struct {
		set      func(*hub)
		attempts int // requests for bytes
	}{
		"busy":  {func(h *hub) { h.statuses = []int{503, 429, 500} }, 4},
		"range": {func(h *hub) { h.cuts, h.statuses = []int{1000}, []int{0, 416} }, 3},
		"cuts for long": {func(h *hub) {
			for range 40 {
				h.cuts = append(h.cuts, 1000)
			}
		}, 41},
		"another range": {func(h *hub) {
			h.plain, h.cuts = true, []int{1000}
			h.before = answerRange(h, "bytes 0-%d/%d")
		}, 3},
		"a larger file": {func(h *hub) {
			h.plain, h.cuts = true, []int{1000}
			h.before = answerRange(h, "bytes 1000-%d/1%d")
		}, 3},
		"no ranges": {func(h *hub) {
			h.cuts = []int{1000}
			h.before = func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, content(size, 12))
			c.set(h)
			dest := filepath.Join(t.TempDir(), "weights.gguf")
			if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustHold(t, dest, h.content)
			if got := len(h.ranges); got != c.attempts {
				t.Errorf("%d requests for bytes, want %d", got, c.attempts)
			}
		})
	}
}

// TestUnstatedLength holds that a body without a length is neither taken for
// whole when it is short, nor written down without end when it is long.
func TestUnstatedLength(t *testing.T) {
	for _, length := range []int{1000, 20 * size} {
		h := newHub(t, content(size, 19))
		h.plain = true
		h.before = func(w http.ResponseWriter, _ *http.Request) bool {
			h.before = nil
			_ = http.NewResponseController(w).Flush() // headers without a length
			for sent := 0; sent < length; sent += 1000 {
				_, _ = w.Write(h.content[:1000])
			}
			return true
		}
		dest := filepath.Join(t.TempDir(), "weights.gguf")
		r, err := fetcherOf(h, dest).run(t.Context())
		if err != nil || r.Received > 2*size {
			t.Errorf("%d bytes: %+v, %v", length, r, err)
		}
		mustHold(t, dest, h.content)
	}
}

// answerRange answers the first request for a range with a wrong one of the
// right length.
func answerRange(h *hub, format string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			return false
		}
		h.before = nil
		w.Header().Set("Content-Range", fmt.Sprintf(format, size-1, size))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(h.content[:size-1000])
		return true
	}
}

func TestGivesUp(t *testing.T) {
	h := newHub(t, content(size, 13))
	h.statuses = slices.Repeat([]int{503}, 100)
	_, err := fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(t.Context())
	var status *StatusError
	if !errors.Is(err, ErrGaveUp) || !errors.As(err, &status) || status.Code != 503 || strings.Contains(err.Error(), "signature") {
		t.Errorf("%v", err)
	}
	if got := len(h.ranges); got != maxFailures {
		t.Errorf("%d attempts, want %d", got, maxFailures)
	}
	h.statuses, h.ranges, h.cuts = nil, nil, slices.Repeat([]int{10}, 2*maxAttempts) // a drop each time
	_, err = fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(t.Context())
	if !errors.Is(err, ErrGaveUp) || len(h.ranges) != maxAttempts {
		t.Errorf("%v after %d attempts", err, len(h.ranges))
	}
	h.cdn.Close() // connection refused
	_, err = fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(t.Context())
	if !errors.Is(err, ErrGaveUp) || strings.Contains(err.Error(), "signature") {
		t.Errorf("%v", err)
	}
}

// TestStall drops a connection on which nothing comes.
func TestStall(t *testing.T) {
	h := newHub(t, content(size, 14))
	release := make(chan struct{})
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		h.before = nil
		h.mu.Unlock()
		defer h.mu.Lock()
		_ = http.NewResponseController(w).Flush() // a status, and then nothing
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}
	defer close(release)
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	f := fetcherOf(h, dest)
	f.stall = 50 * time.Millisecond
	var pauses int
	f.pause = func(context.Context, time.Duration) error { f.stall = time.Hour; pauses++; return nil }
	if _, err := f.run(t.Context()); err != nil || pauses != 1 {
		t.Errorf("%v after %d pauses", err, pauses)
	}
	mustHold(t, dest, h.content)
}

func TestPauses(t *testing.T) {
	h := newHub(t, content(size, 15))
	h.statuses = []int{503, 503, 503}
	h.before = func(http.ResponseWriter, *http.Request) bool { return false }
	var pauses []time.Duration
	f := fetcherOf(h, filepath.Join(t.TempDir(), "w"))
	f.pause = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
	if _, err := f.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, least := range []time.Duration{1, 2, 4} {
		if len(pauses) != 3 || pauses[i] < least*time.Second || pauses[i] > least*time.Second*5/4 {
			t.Fatalf("pauses %v", pauses)
		}
	}
	f = fetcherOf(h, "w")
	again := new(retryError)
	res := &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}}, Request: &http.Request{URL: f.src.url()}}
	if err := f.refused(res); !errors.As(err, &again) || again.after != 7*time.Second {
		t.Errorf("Retry-After: %+v", again)
	}
	res.Header.Set("Retry-After", "99999999")
	if err := f.refused(res); !errors.As(err, &again) || again.after != maxWait {
		t.Errorf("Retry-After: %+v", again)
	}
}

func TestRedirects(t *testing.T) {
	f := fetcherOf(newHub(t, nil), "w")
	response := func(from, to string) *http.Response {
		req, err := http.NewRequest("GET", from, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Response{StatusCode: 302, Header: http.Header{"Location": {to}}, Request: req}
	}
	for _, to := range []string{"http://other.example/x", "file:///etc/passwd", "", "://"} {
		if next, err := f.redirect(response("https://hub.example/a", to)); err == nil {
			t.Errorf("from https to %q: %v", to, next)
		}
	}
	f.src.Endpoint = "https://hub.example"
	for at, own := range map[string]bool{
		"https://hub.example/x": true, "https://HUB.example/x": true, "http://hub.example/x": false, "https://cdn.hub.example/x": false,
		"https://hub.example:8443/x": false, "https://hub.example.evil.example/x": false,
	} {
		res := response(at, "/x")
		if f.trusted(res.Request.URL) != own {
			t.Errorf("%s: trusted %v", at, !own)
		}
	}
	h := newHub(t, content(10, 1))
	loop := h.front.Config.Handler
	h.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "resolve") {
			http.Redirect(w, r, "/resolve/again", http.StatusFound)
			return
		}
		loop.ServeHTTP(w, r)
	})
	if _, err := fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(t.Context()); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("a circle: %v", err)
	}
}

func TestSpace(t *testing.T) {
	h := newHub(t, content(size, 16))
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	f := fetcherOf(h, dest)
	f.free = func(string) (int64, error) { return size - 1, nil }
	if _, err := f.run(t.Context()); !errors.Is(err, ErrSpace) || len(h.ranges) != 0 {
		t.Errorf("%v, %q", err, h.ranges)
	}
	// What has come needs no room.
	interrupt(t, h, dest, 1000)
	f.free = func(string) (int64, error) { return size - 1000, nil }
	if _, err := f.run(t.Context()); err != nil {
		t.Error(err)
	}
	if free, err := freeBytes(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
}

// TestTwo holds that two processes do not write into one part, and that parts of
// other versions go.
func TestTwo(t *testing.T) {
	h := newHub(t, content(size, 17))
	dest := filepath.Join(t.TempDir(), "weights.gguf")
	r, err := fetcherOf(h, dest).head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPart(dest, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fetcherOf(h, dest).run(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	p.close()
	old, other := partPath(dest, strings.Repeat("0", 16)), filepath.Join(filepath.Dir(dest), "."+filepath.Base(dest)+".notes.part")
	if err := errors.Join(os.WriteFile(old, nil, 0o600), os.WriteFile(other, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
		t.Error(err)
	}
	if left := parts(t, dest); !slices.Equal(left, []string{filepath.Base(other)}) {
		t.Errorf("left: %v", left)
	}
}

func TestSizes(t *testing.T) {
	h := newHub(t, content(size, 18))
	inner := h.front.Config.Handler
	for _, stated := range []string{"-1", "9223372036854775807", ""} {
		h.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &replace{ResponseWriter: w, name: "X-Linked-Size", value: stated}
			inner.ServeHTTP(rec, r)
		})
		if _, err := fetcherOf(h, filepath.Join(t.TempDir(), "w")).run(t.Context()); err == nil || !strings.Contains(err.Error(), "size") {
			t.Errorf("size %q: %v", stated, err)
		}
	}
	h.front.Config.Handler, h.content = inner, nil
	dest := filepath.Join(t.TempDir(), "empty")
	if _, err := fetcherOf(h, dest).run(t.Context()); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	mustHold(t, dest, nil)
}

// replace sets a header at the last moment.
type replace struct {
	http.ResponseWriter
	name, value string
}

func (r *replace) WriteHeader(status int) {
	if r.Header().Set(r.name, r.value); r.value == "" {
		r.Header().Del(r.name)
	}
	r.ResponseWriter.WriteHeader(status)
}
