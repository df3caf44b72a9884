package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// keyLine returns the line of a file of keys.
func keyLine(name, key string) string {
	sum := sha256.Sum256([]byte(key))
	return name + ":" + hex.EncodeToString(sum[:]) + "\n"
}

// file writes a file and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func withKeys(path string) func(*Config) { return func(c *Config) { c.APIKeys = path } }

func TestParseKeys(t *testing.T) {
	// echo -n s3cret | sha256sum
	const hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0"
	k, err := parseKeys([]byte("# keys\n\n a-Z_0.9:" + strings.ToUpper(hash) + "\r\n" + keyLine("bob", "b") + keyLine("bob", "b2") +
		"carol:" + hash[:63] + "1\ndave:f" + hash[1:]))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"s3cret": "a-Z_0.9", "b": "bob", "b2": "bob", "": "", "S3cret": "", hash: ""} {
		if name, ok := k.principal([]byte(key)); name != want || ok != (want != "") {
			t.Errorf("key %q is of %q, %v; want %q", key, name, ok, want)
		}
	}
	for _, c := range []struct{ name, text, says string }{
		{"nothing", "", "no key"},
		{"comments", "# a\n\n", "no key"},
		{"no colon", "secret-key", "line 1"},
		{"no name", ":" + hash, "line 1"},
		{"odd name", "a b:" + hash, "line 1"},
		{"long name", strings.Repeat("x", 65) + ":" + hash, "line 1"},
		{"a key that is not hashed", "# x\nbob:secret-key", "line 2"},
		{"a short hash", "bob:" + hash[2:], "line 1"},
		{"a long hash", "bob:" + hash + "00", "line 1"},
		{"the same key twice", "a:" + hash + "\nb:" + hash, "line 2"},
		{"too many", manyKeys(maxKeys + 1), "more than 1024"},
	} {
		_, err := parseKeys([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that says %q", c.name, err, c.says)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the line: %v", c.name, err)
		}
	}
	if _, err := parseKeys([]byte(manyKeys(maxKeys))); err != nil {
		t.Error(err)
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(keyLine("x", fmt.Sprint(i)))
	}
	return b.String()
}

func TestKeyFiles(t *testing.T) {
	for _, c := range []struct{ path, says string }{
		{filepath.Join(t.TempDir(), "none"), "no such file"},
		{file(t, "keys", "nonsense"), "line 1"},
		{file(t, "keys", strings.Repeat("#", maxKeyFile+1)), "bytes"},
	} {
		if _, err := New(Config{Worker: &fakeWorker{}, APIKeys: c.path}); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

// TestAuth asks each route with and without keys.
func TestAuth(t *testing.T) {
	inputs := make(chan engine.Request, 1)
	s := serve(t, &fakeWorker{inputs: inputs}, withKeys(file(t, "keys", keyLine("alice", "good")+keyLine("bob", "other"))))
	for auth, status := range map[string]int{
		"": 401, "Authorization: good": 401, "Authorization: Basic good": 401, "Authorization: Bearer": 401, "Authorization: Bearer ": 401,
		"Authorization: Bearer bad": 401, "Authorization: Bearer goodx": 401, "Authorization: Bearer Good": 401, "X-Api-Key: good": 401,
		"Authorization: Bearer good": 200, "authorization: bearer  other ": 200,
	} {
		raw := "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
		if auth != "" {
			raw += auth + "\r\n"
		}
		res, body := s.dial().do(raw + "\r\n")
		if res.StatusCode != status {
			t.Errorf("%q: status %d, want %d", auth, res.StatusCode, status)
		}
		if status == 401 {
			wantError(t, res, body, 401, api.TypeInvalidRequest, api.CodeInvalidKey, "", "Bearer KEY")
			if res.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%q: no WWW-Authenticate", auth)
			}
		}
	}
	// Who asks is who pays.
	for key, name := range map[string]string{"good": "alice", "other": "bob"} {
		if res, body := s.dial().do(post(chatPath, plainBody, "Authorization: Bearer "+key)); res.StatusCode != 200 {
			t.Fatalf("status %d: %s", res.StatusCode, body)
		}
		if r := wait(t, inputs); r.Principal != name {
			t.Errorf("the principal is %q, want %q", r.Principal, name)
		}
		if !strings.Contains(s.log.String(), "principal="+name) {
			t.Errorf("the log does not name %s", name)
		}
	}
	if text := s.log.String(); strings.Contains(text, "good") || strings.Contains(text, "other") {
		t.Errorf("the log holds a key:\n%s", text)
	}
	// Nobody puts themselves before others.
	res, body := s.dial().do(post(chatPath, strings.Replace(plainBody, `{`, `{"priority":-1,`, 1), "Authorization: Bearer good"))
	wantError(t, res, body, 400, api.TypeInvalidRequest, api.CodeInvalidValue, "priority", "before others")
	if res, _ := s.dial().do(post(chatPath, strings.Replace(plainBody, `{`, `{"priority":1,`, 1), "Authorization: Bearer good")); res.StatusCode != 200 {
		t.Errorf("priority 1: status %d", res.StatusCode)
	}
	wait(t, inputs)
}

// TestNoKeyNoBody has a client without a key send a large body: it is not read.
func TestNoKeyNoBody(t *testing.T) {
	s := serve(t, &fakeWorker{}, withKeys(file(t, "keys", keyLine("alice", "good"))))
	head := "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
	res, body := s.dial().do(head + "\r\n")
	wantError(t, res, body, 401, api.TypeInvalidRequest, api.CodeInvalidKey, "", "")
	conn := s.dial()
	conn.send(head + "Authorization: Bearer good\r\n\r\n")
	conn.send(plainBody + strings.Repeat(" ", 1000000-len(plainBody)))
	if res := conn.receive(); res.StatusCode != 200 {
		t.Errorf("with a key: status %d", res.StatusCode)
	}
}

// TestKeysChange replaces the file, and breaks it.
func TestKeysChange(t *testing.T) {
	path := file(t, "keys", keyLine("alice", "old"))
	s := serve(t, &fakeWorker{}, withKeys(path))
	status := func(key string) int {
		res, _ := s.dial().do("GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key + "\r\n\r\n")
		return res.StatusCode
	}
	if status("old") != 200 || status("new") != 401 {
		t.Fatal("the first file")
	}
	replace(t, path, keyLine("alice", "new"))
	s.Reload()
	if status("old") != 401 || status("new") != 200 {
		t.Error("the second file is not used")
	}
	replace(t, path, "nonsense")
	s.Reload()
	if status("new") != 200 || !strings.Contains(s.log.String(), "line 1") {
		t.Errorf("a broken file: status %d, log %s", status("new"), s.log.String())
	}
}

// replace puts another file in the place of one, as a careful editor does.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.Rename(file(t, "new", text), path); err != nil {
		t.Fatal(err)
	}
}
