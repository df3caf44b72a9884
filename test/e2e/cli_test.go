package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	// As in main_test.go: what the program is built of.
	_ "github.com/holdfast-run/holdfast/internal/pull"
)

// TestStartErrors holds that what goes wrong at the start is one line that says
// what, where and what to do, and an exit code.
func TestStartErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	whole, err := os.ReadFile(tinyModel)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cut, cutHeader := file("cut.gguf", whole[:len(whole)-100]), file("header.gguf", whole[:100])
	text, empty := file("text.gguf", []byte("this is no model\n")), file("empty.gguf", nil)
	shardless := filepath.Join(t.TempDir(), "shardless")
	if err := os.CopyFS(shardless, os.DirFS("../../model/testdata/folders/gemma3")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(shardless, "model-00002-of-00003.safetensors")); err != nil {
		t.Fatal(err)
	}
	taken := ln.Addr().String()
	for _, c := range []struct {
		what string
		args []string
		code int
		says []string
	}{
		{"port in use", []string{"serve", "--model", tinyModel, "--listen", taken}, 1, []string{"listen", taken, "in use", "another --listen"}},
		{"missing file", []string{"serve", "--model", "/nowhere/m.gguf"}, 1, []string{"/nowhere/m.gguf", "no such file", "--model"}},
		{"missing file, dry", []string{"serve", "--dry-run", "--model", "/nowhere/m.gguf"}, 1, []string{"/nowhere/m.gguf"}},
		{"a folder", []string{"serve", "--dry-run", "--model", "/"}, 1, []string{"/: file config.json: is missing"}},
		{"a folder's part is missing", []string{"run", "--model", shardless, "-p", "x"}, 1, []string{shardless, "model-00002-of-00003.safetensors", "the file is missing"}},
		{"a shard of a folder", []string{"run", "--model", "../../model/testdata/folders/tiny-chat/model.safetensors", "-p", "x"}, 1, []string{"give the folder"}},
		{"quantised to what is not known", []string{"run", "--model", tinyModel, "--quantize", "q2", "-p", "x"}, 2, []string{"--quantize", "q8_0 or q4_0"}},
		{"quantised twice", []string{"run", "--model", "../../model/testdata/tiny/q4_1.gguf", "--quantize", "q4_0", "-p", "x"}, 1, []string{"q4_1.gguf", "nothing to quantise"}},
		{"tensors cut", []string{"serve", "--dry-run", "--model", cut}, 1, []string{cut, "tensor ", "fetch it again"}},
		{"header cut", []string{"serve", "--dry-run", "--model", cutHeader}, 1, []string{cutHeader, "fetch it again"}},
		{"no model", []string{"serve", "--dry-run", "--model", text}, 1, []string{text}},
		{"empty file", []string{"run", "--model", empty, "-p", "x"}, 1, []string{empty, "empty"}},
		{"context", []string{"serve", "--dry-run", "--model", tinyModel, "--context", "513"}, 1, []string{tinyModel, "513", "512"}},
		{"no vocabulary", []string{"tokenize", "--model", "../../model/testdata/tiny/f16.gguf", "x"}, 1, []string{"f16.gguf", "tokenizer"}},
		{"no prompt", []string{"run", "--model", tinyModel}, 2, []string{"-p TEXT"}},
		{"unknown flag", []string{"serve", "--model", tinyModel, "--frobnicate"}, 2, []string{"--frobnicate", "serve --help"}},
		{"unknown command", []string{"frobnicate"}, 2, []string{"frobnicate", "--help"}},
		{"no model flag", []string{"serve"}, 2, []string{"--model"}},
		{"remote address", []string{"serve", "--model", tinyModel, "--listen", "0.0.0.0:0"}, 2, []string{"0.0.0.0:0", "--allow-remote"}},
		{"all addresses", []string{"serve", "--model", tinyModel, "--listen", ":8080"}, 2, []string{"--allow-remote"}},
		{"no port", []string{"serve", "--model", tinyModel, "--listen", "localhost"}, 2, []string{"HOST:PORT"}},
		{"device", []string{"serve", "--model", tinyModel, "--device", "abacus"}, 2, []string{"abacus", "cpu"}},
		{"threads", []string{"run", "--model", tinyModel, "--threads", "-1", "-p", "x"}, 2, []string{"--threads"}},
		{"temperature", []string{"run", "--model", tinyModel, "--temp", "9", "-p", "x"}, 2, []string{"--temp", "9"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := run(t, "", c.args...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d", got.code, c.code)
			}
			if strings.Count(got.stderr, "\n") != 1 || !strings.HasPrefix(got.stderr, "holdfast: ") {
				t.Errorf("want one line: %q", got.stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(got.stderr, s) {
					t.Errorf("%q does not say %q", got.stderr, s)
				}
			}
			if got.stdout != "" {
				t.Errorf("stdout %q", got.stdout)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	all := run(t, "")
	if all.code != 0 || all.stdout == "" {
		t.Errorf("holdfast alone: exit code %d, stdout %q", all.code, all.stdout)
	}
	commands := []string{"serve", "run", "pull", "tokenize", "session", "bench", "bench local", "bench serve", "doctor", "completion", "version"}
	for _, verb := range strings.Fields("ls show tree fork rewind export import verify rm gc fsck stats") {
		commands = append(commands, "session "+verb)
	}
	for _, command := range commands {
		if command != "bench" && command != "session" && !strings.Contains(all.stdout, "\n  "+command+" ") {
			t.Errorf("holdfast --help does not name %s", command)
		}
		got := run(t, "", append(strings.Fields(command), "--help")...)
		if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "Example") || !strings.Contains(got.stdout, "\n    holdfast "+strings.TrimSuffix(command, " local")) {
			t.Errorf("%s --help: exit code %d\n%s", command, got.code, got.stdout)
		}
		for _, line := range strings.Split(got.stdout, "\n") {
			if len([]rune(line)) > 100 {
				t.Errorf("%s --help: a line of %d characters: %s", command, len(line), line)
			}
		}
	}
	for _, s := range []string{"Exit codes: 0", "HOLDFAST_MODEL"} {
		if !strings.Contains(all.stdout, s) {
			t.Errorf("holdfast --help does not say %q", s)
		}
	}
	if got := run(t, "", "version"); got.code != 0 || !strings.HasPrefix(got.stdout, "holdfast 0.") {
		t.Errorf("version: %+v", got)
	}
}

func TestDryRun(t *testing.T) {
	got := run(t, "", "serve", "--dry-run", "--model", tinyModel, "--context", "256")
	if got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, s := range []string{"weights", "KV", "scratch", "total", "context of 256 tokens", "available"} {
		if !strings.Contains(got.stderr, s) {
			t.Errorf("the plan does not say %q:\n%s", s, got.stderr)
		}
	}
}

func TestTokenize(t *testing.T) {
	for _, c := range []struct {
		stdin string
		args  []string
		want  string
	}{
		// tiny-chat's IDs: three control tokens, the bytes, then merges.
		{"", []string{"--no-special", "~"}, "96\n"},
		{"", []string{"<|im_start|>", "<|im_end|>"}, "1\n2\n"},
		{"", []string{"--json", "<|im_start|>~"}, `{"ids":[1,96],"pieces":["<|im_start|>","~"]}` + "\n"},
		{"~~", []string{"--no-special"}, "96 96\n"},
		{"", []string{"--json"}, `{"ids":[],"pieces":[]}` + "\n"},
	} {
		got := run(t, c.stdin, append([]string{"tokenize", "--model", tinyModel}, c.args...)...)
		if got.code != 0 || got.stdout != c.want || got.stderr != "" {
			t.Errorf("%q %q: %+v, want %q", c.args, c.stdin, got, c.want)
		}
	}
	plain := run(t, "", "tokenize", "--model", tinyModel, "--no-special", "<|im_start|>")
	if n := len(strings.Fields(plain.stdout)); n < 5 {
		t.Errorf("--no-special made %d tokens of the name of a special one", n)
	}
}

func TestRun(t *testing.T) {
	args := []string{"run", "--model", tinyModel, "--temp", "0", "--max-tokens", "12"}
	flag := run(t, "", append(args, "-p", "hello")...)
	if flag.code != 0 || strings.TrimSpace(flag.stdout) == "" || flag.stderr != "" {
		t.Errorf("-p: %+v", flag)
	}
	if piped := run(t, "hello\n", args...); piped != flag {
		t.Errorf("piped: %+v, with -p %+v", piped, flag)
	}
	if system := run(t, "", append(args, "-p", "hello", "--system", "be brief")...); system.code != 0 || system.stdout == flag.stdout {
		t.Errorf("--system: %+v", system)
	}
	seeded := []string{"run", "--model", tinyModel, "--temp", "2", "--seed", "7", "--max-tokens", "12", "-p", "hello"}
	if a, b := run(t, "", seeded...), run(t, "", seeded...); a != b || a.code != 0 {
		t.Errorf("the same seed gave %+v and %+v", a, b)
	}
	long := run(t, strings.Repeat("hello ", 2000), args...)
	if long.code != 1 || !strings.Contains(long.stderr, "the context holds 512") || strings.Count(long.stderr, "\n") != 1 {
		t.Errorf("a long prompt: %+v", long)
	}
	ref := run(t, "", append(args, "-p", "hello", "--device", "ref")...)
	if ref.code != 0 || strings.TrimSpace(ref.stdout) == "" {
		t.Errorf("--device ref: %+v", ref)
	}
}

func TestDoctor(t *testing.T) {
	got := run(t, "", "doctor", "--model", tinyModel)
	for _, s := range []string{"processor:", "kernels", "memory:", "libcuda", "GPU", "libnrt.so.1", "memory plan:"} {
		if !strings.Contains(got.stdout, s) {
			t.Errorf("doctor does not say %q:\n%s", s, got.stdout)
		}
	}
	if got.code != 0 || got.stderr != "" {
		t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
	}
	// A library is found where LD_LIBRARY_PATH says.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "libnrt.so.1.2.3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LD_LIBRARY_PATH", dir)
	if got := run(t, "", "doctor"); !strings.Contains(got.stdout, filepath.Join(dir, "libnrt.so.1.2.3")) {
		t.Errorf("libnrt.so.1.2.3 was not found:\n%s", got.stdout)
	}
}

// TestPull fetches a file from a hub on this machine.
func TestPull(t *testing.T) {
	content := []byte(strings.Repeat("weights ", 1000))
	sum := sha256.Sum256(content)
	var auth atomic.Value
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Store(r.Header.Get("Authorization"))
		if r.URL.Path != "/org/model/resolve/main/sub/m.gguf" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("X-Linked-Etag", `"`+hex.EncodeToString(sum[:])+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(content)))
		w.Header().Set("ETag", w.Header().Get("X-Linked-Etag"))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer hub.Close()
	dir, token := t.TempDir(), filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hf_secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HF_ENDPOINT", hub.URL)
	dest := filepath.Join(dir, "new", "m.gguf")
	for range 2 { // the second finds it there
		got := run(t, "", "pull", "org/model", "sub/m.gguf", "--dir", filepath.Dir(dest), "--token-file", token)
		if got.code != 0 || got.stdout != dest+"\n" || got.stderr != "" {
			t.Fatalf("%+v", got)
		}
	}
	if data, err := os.ReadFile(dest); err != nil || !bytes.Equal(data, content) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if auth.Load() != "Bearer hf_secret" {
		t.Errorf("the hub saw %q", auth.Load())
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"org/model", "no.gguf"}, 1, "check repository, file and revision"},
		{[]string{"org/model", "../m.gguf"}, 1, "inside the repository"},
		{[]string{"org/model"}, 2, "<file>"},
		{[]string{"org/model", "sub/m.gguf", "--token-file", "/nowhere/token"}, 1, "/nowhere/token"},
		{[]string{"org/model", "sub/m.gguf", "--token-file", os.DevNull}, 1, "holds no token"},
		{[]string{"org/model", "sub/m.gguf", "--endpoint", "hub"}, 1, "endpoint"},
	} {
		got := run(t, "", append([]string{"pull", "--dir", dir}, c.args...)...)
		if got.code != c.code || !strings.Contains(got.stderr, c.says) || strings.Count(got.stderr, "\n") != 1 || strings.Contains(got.stderr, "hf_") {
			t.Errorf("%v: %+v", c.args, got)
		}
	}
}

// TestConfig holds that the command line goes before the environment, that
// before the file, and the file before a flag's default.
func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"model": "` + tinyModel + `", "context": 64, "dry-run": true}`)
	says := func(want string, args ...string) {
		t.Helper()
		if got := run(t, "", append([]string{"serve"}, args...)...); got.code != 0 || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: exit %d, no %q in\n%s", args, got.code, want, got.stderr)
		}
	}
	says("context of 64 tokens", "--config", path)
	says("context of 512 tokens", "--model", tinyModel, "--dry-run")
	t.Setenv("HOLDFAST_CONFIG", path)
	says("context of 64 tokens")
	t.Setenv("HOLDFAST_CONTEXT", "96")
	says("context of 96 tokens", "--config", path)
	says("context of 128 tokens", "--config", path, "--context", "128")
	for _, c := range []struct{ text, says string }{
		{"{\n\"contxt\": 1}", "line 2: unknown key \"contxt\": did you mean \"context\"?"},
		{`{"model": "` + tinyModel + `", "device": "abacus"}`, "abacus"},
		{`{"context": 64}`, "--model"},
	} {
		write(c.text)
		if got := run(t, "", "serve"); got.code != 2 || !strings.Contains(got.stderr, c.says) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", c.text, got)
		}
	}
	t.Setenv("HOLDFAST_CONTEXT", "many")
	if got := run(t, "", "serve", "--model", tinyModel); got.code != 2 || !strings.Contains(got.stderr, "HOLDFAST_CONTEXT") {
		t.Errorf("%+v", got)
	}
}

// TestTakeover starts a second server where a first one runs: without a wait it
// says so and ends, with one it serves once the first has gone.
func TestTakeover(t *testing.T) {
	store := t.TempDir()
	first := serve(t, "--model", tinyModel, "--store", store)
	addr := strings.TrimPrefix(first.url, "http://")
	for says, args := range map[string][]string{"in use": {"--listen", addr}, "process ": {"--listen", "127.0.0.1:0", "--store", store}} {
		got := run(t, "", append([]string{"serve", "--model", tinyModel}, args...)...)
		if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, says) || !strings.Contains(got.stderr, "--takeover-wait") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	cmd := exec.Command(binary(t), "serve", "--model", tinyModel, "--listen", addr, "--store", store, "--takeover-wait", "10m", "--log-format", "json")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(stderr)
	message := func(prefix string) {
		t.Helper()
		for lines.Scan() {
			var record struct {
				Level   string    `json:"level"`
				Message string    `json:"msg"`
				Time    time.Time `json:"time"`
			}
			if err := json.Unmarshal(lines.Bytes(), &record); err != nil || record.Level != "INFO" || record.Time.IsZero() {
				t.Fatalf("%v in %s", err, lines.Text())
			}
			if strings.HasPrefix(record.Message, prefix) {
				return
			}
		}
		t.Fatalf("no %q: %v", prefix, lines.Err())
	}
	message("waiting up to 10m0s: store: ")
	if status, _, _ := first.do("GET", "/health", ""); status != 200 {
		t.Errorf("the first server: %d", status)
	}
	first.signal(syscall.SIGTERM)
	if err := first.wait(); err != nil {
		t.Errorf("the first server: %v", err)
	}
	message("ready: tiny-chat on " + first.url)
	if status, _, text := first.do("POST", "/v1/chat/completions", chatBody("tiny-chat", "hi", `,"max_tokens":2`)); status != 200 {
		t.Errorf("the second server: %d %s", status, text)
	}
	message("completion")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	message("stopped")
}

// TestCompletion has bash complete with the program's own script.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := run(t, "", "completion", shell); got.code != 0 || !strings.Contains(got.stdout, "holdfast __complete") {
			t.Errorf("%s: %+v", shell, got)
		}
	}
	if got := run(t, "", "completion", "tcsh"); got.code != 2 {
		t.Errorf("%+v", got)
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "my model.gguf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ words, want string }{
		{`holdfast ser`, "serve\n"},
		{`holdfast serve --device ""`, "auto\ncpu\ncuda\nref\n"},
		{`holdfast serve --device = r`, "ref\n"},
		{`holdfast serve --model my`, "my model.gguf\n"},
		{`holdfast serve --drain`, "--drain-timeout\n"},
	} {
		script := `source <(holdfast completion bash); COMP_WORDS=(` + c.words + `); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _holdfast; printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.Command(bash, "-c", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != c.want {
			t.Errorf("%s: %q, %v", c.words, out, err)
		}
	}
}
