package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKeys asks a server with API keys, and changes them under it.
func TestKeys(t *testing.T) {
	line := func(name, key string) string { return fmt.Sprintf("%s:%x\n", name, sha256.Sum256([]byte(key))) }
	path := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("# team\n" + line("alice", "a-key"))
	s := serve(t, "--model", tinyModel, "--api-keys", path)
	status := func(route, key string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+route, nil)
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for key, want := range map[string]int{"": 401, "b-key": 401, "a-key": 200} {
		if got := status("/v1/models", key); got != want {
			t.Errorf("key %q: status %d, want %d", key, got, want)
		}
	}
	for _, open := range []string{"/health", "/health/ready", "/metrics"} {
		if got := status(open, ""); got != 200 {
			t.Errorf("%s without a key: status %d", open, got)
		}
	}
	write(line("bob", "b-key"))
	s.signal(syscall.SIGHUP)
	for end := time.Now().Add(patience); status("/v1/models", "b-key") != 200; {
		if time.Now().After(end) {
			t.Fatal("the new key is not accepted")
		}
	}
	if got := status("/v1/models", "a-key"); got != 401 {
		t.Errorf("the old key: status %d", got)
	}
	if s.signal(syscall.SIGTERM); s.wait() != nil {
		t.Errorf("SIGTERM after SIGHUP: %s", s.text())
	}
}

// TestRemote has the server refuse to be open to the world by oversight.
func TestRemote(t *testing.T) {
	for _, c := range []struct {
		flags []string
		says  string
	}{
		{nil, "--allow-remote"},
		{[]string{"--allow-remote"}, "--api-keys"},
		{[]string{"--allow-remote", "--api-keys", "x"}, "--tls-cert"},
		{[]string{"--allow-remote", "--tls-cert", "x", "--tls-key", "y"}, "--api-keys"},
		{[]string{"--insecure"}, "--allow-remote"},
		{[]string{"--tls-cert", "x"}, "--tls-key"},
	} {
		out := run(t, "", append([]string{"serve", "--model", tinyModel, "--listen", "0.0.0.0:0"}, c.flags...)...)
		if out.code != 2 || !strings.Contains(out.stderr, c.says) {
			t.Errorf("%v: code %d, %s, want %s", c.flags, out.code, out.stderr, c.says)
		}
	}
	for _, c := range []struct{ flag, path, says string }{
		{"--api-keys", tinyModel, "line 1"},
		{"--api-keys", "/nowhere/keys", "no such file"},
	} {
		out := run(t, "", "serve", "--model", tinyModel, "--listen", "127.0.0.1:0", c.flag, c.path)
		if out.code != 1 || !strings.Contains(out.stderr, c.says) || !strings.Contains(out.stderr, c.path) {
			t.Errorf("%s %s: code %d, %s", c.flag, c.path, out.code, out.stderr)
		}
	}
}

// TestDeadlines has a request's time be over while it waits and while it runs.
func TestDeadlines(t *testing.T) {
	s := serve(t, "--model", tinyModel, "--max-time", "1ns")
	status, _, text := s.do("POST", "/v1/chat/completions", chatBody("tiny-chat", "hi", ""))
	if e := decode(t, text).Error; status != 504 || *e.Code != "deadline_exceeded" {
		t.Errorf("status %d: %s", status, text)
	}
	s = serve(t, "--model", tinyModel, "--max-queue-time", "1ns")
	status, header, text := s.do("POST", "/v1/chat/completions", chatBody("tiny-chat", "hi", ""))
	if e := decode(t, text).Error; status != 503 || *e.Code != "overloaded" || header.Get("Retry-After") == "" {
		t.Errorf("status %d: %s", status, text)
	}
}

// TestBadFiles: what is wrong with the files of keys and certificates is said
// before the model is looked at.
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := os.WriteFile(keys, []byte("alice:no-hash\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(dir, "no-model.gguf")
	for name, flags := range map[string][]string{
		keys:                       {"--api-keys", keys},
		filepath.Join(dir, "gone"): {"--api-keys", filepath.Join(dir, "gone")},
		filepath.Join(dir, "cert"): {"--tls-cert", filepath.Join(dir, "cert"), "--tls-key", filepath.Join(dir, "key")},
	} {
		out := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0", "--model", model}, flags...)...)
		if out.code != 1 || !strings.Contains(out.stderr, name) || strings.Contains(out.stderr, "no-model") || strings.Count(out.stderr, "\n") != 1 {
			t.Errorf("%v: exit %d, %s", flags, out.code, out.stderr)
		}
	}
}
