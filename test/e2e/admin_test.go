package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAdmin asks the admin socket for steps and a profile. It is its owner's alone, one
// process's at a time, and what a killed process left is taken over.
func TestAdmin(t *testing.T) {
	dir, err := os.MkdirTemp("", "") // shorter than the test's own: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "admin")
	args := []string{"--model", tinyModel, "--store", "off", "--admin", path}
	s := serve(t, args...)
	s.ask(chatBody("tiny-chat", "hi", `,"max_tokens":4`))
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	fetch := func(what string) string {
		t.Helper()
		res, err := client.Get("http://admin" + what)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %d, %v, %.200s", what, res.StatusCode, err, text)
		}
		return string(text)
	}
	if got := fetch("/debug/steps"); !strings.Contains(got, `"step 0"`) || !strings.Contains(got, `"deliver"`) {
		t.Errorf("no steps: %.300s", got)
	}
	if got := fetch("/debug/pprof/heap"); !strings.HasPrefix(got, "\x1f\x8b") {
		t.Errorf("no profile: %.100q", got)
	}
	if status, _, _ := s.do("GET", "/debug/steps", ""); status != 404 {
		t.Errorf("the public port answers %d", status)
	}

	other := run(t, "", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	if other.code != 1 || !strings.Contains(other.stderr, "another process") {
		t.Errorf("a second server: %+v", other)
	}
	s.signal(syscall.SIGKILL)
	_ = s.wait()
	client.CloseIdleConnections()
	again := serve(t, args...)
	if got := fetch("/debug/steps"); strings.Contains(got, `"step 0"`) {
		t.Errorf("steps of another process: %.300s", got)
	}
	again.signal(syscall.SIGTERM)
	if err := again.wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
