// Package e2e builds the real binary and uses it as people do: on the command
// line and over HTTP.
package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	// The program is built by a command, of which the cache of test results
	// knows nothing: with these imports a result is stale when they change.
	_ "github.com/holdfast-run/holdfast/engine"
	_ "github.com/holdfast-run/holdfast/server"
)

// patience is how long a test waits for what must come: nothing is held to it.
const patience = 5 * time.Minute

const (
	tinyModel = "../../model/testdata/tiny/tiny-chat.gguf"
	realModel = "../../models/SmolLM2-135M-Instruct.Q4_1.gguf"
	realName  = "SmolLM2-135M-Instruct.Q4_1"
)

// scratch is a folder that lives as long as the tests.
var scratch string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "holdfast-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	// Nothing goes to the user's own folders, and servers beside each other do not
	// share a store: those that want one say so.
	for name, value := range map[string]string{"HOLDFAST_STORE": "off", "XDG_STATE_HOME": filepath.Join(dir, "state")} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// build makes the program, and reads its sources, so that the cache of test
// results knows of them.
var build = sync.OnceValues(func() (string, error) {
	sources, err := filepath.Glob("../../cmd/holdfast/*.go")
	if err != nil {
		return "", err
	}
	for _, path := range sources {
		if _, err := os.ReadFile(path); err != nil {
			return "", err
		}
	}
	path := filepath.Join(scratch, "holdfast")
	out, err := exec.Command("go", "build", "-tags", "invariants", "-o", path, "../../cmd/holdfast").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// binary returns the program under test.
func binary(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// needReal skips the test where the default model was not fetched.
func needReal(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(realModel); err != nil {
		t.Skip("no default model here: 'make model' fetches it")
	}
}

// outcome is what a finished command leaves.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs the binary to its end.
func run(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// server is a running 'holdfast serve'.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	done chan struct{} // closed when stderr has ended

	mu  sync.Mutex
	log strings.Builder
}

var readyLine = regexp.MustCompile(`^ready: .+ on (http://\S+) after `)

// serve starts a server on a free port and waits until it is ready. The test's
// end kills it if it still runs.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, done: make(chan struct{})}
	s.cmd = exec.Command(binary(t), append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go s.read(stderr, ready)
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.wait()
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.text())
		}
	})
	select {
	case s.url = <-ready:
	case <-s.done:
		t.Fatalf("the server ended: %v\n%s", s.wait(), s.text())
	case <-time.After(patience):
		t.Fatal("the server is not ready")
	}
	return s
}

func (s *server) read(stderr io.Reader, ready chan<- string) {
	defer close(s.done)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		s.mu.Lock()
		s.log.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			ready <- m[1]
		}
	}
}

func (s *server) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// wait waits for the process; its stderr is read to the end before.
func (s *server) wait() error {
	<-s.done
	return s.cmd.Wait()
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// do sends a request and returns status, headers and body.
func (s *server) do(method, path, body string) (int, http.Header, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

// doUnread is do for what the server need not read to its end: it may close the
// connection while the body is still being sent, and has answered by then.
func (s *server) doUnread(method, path, body string) (int, http.Header, string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

// metric reads one metric without labels.
func (s *server) metric(name string) int {
	s.t.Helper()
	_, _, text := s.do("GET", "/metrics", "")
	var n int
	m := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindStringSubmatch(text)
	if m == nil {
		s.t.Fatalf("no metric %s in\n%s", name, text)
	}
	if _, err := fmt.Sscan(m[1], &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// until polls a metric until it has a value.
func (s *server) until(name string, want int) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		got := s.metric(name)
		if got == want {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s stays %d, want %d", name, got, want)
		}
	}
}
