package pull

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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
