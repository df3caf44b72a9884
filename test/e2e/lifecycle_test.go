package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// endlessModel is the tiny model with room for a completion that no machine
// ends before the test has done what it wants to do beside it.
var endlessModel = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile(tinyModel)
	if err != nil {
		return "", err
	}
	key := []byte("llama.context_length")
	at := bytes.Index(data, key)
	if at < 0 {
		return "", errors.New("the tiny model states no context length")
	}
	const value = 4 // bytes of the value's type, which come first
	copy(data[at+len(key)+value:], []byte{endlessContext & 0xff, endlessContext >> 8 & 0xff, endlessContext >> 16, 0})
	path := filepath.Join(scratch, "endless.gguf")
	return path, os.WriteFile(path, data, 0o600)
})

const endlessContext = 1 << 17

// serveEndless starts a server of the endless model with one row.
func serveEndless(t *testing.T, args ...string) *server {
	t.Helper()
	path, err := endlessModel()
	if err != nil {
		t.Fatal(err)
	}
	context := strconv.Itoa(endlessContext)
	return serve(t, append([]string{"--model", path, "--context", context, "--max-sequences", "1"}, args...)...)
}

// endless is a request to it that ends when its client leaves.
func endless(more string) string {
	return chatBody("endless", "one", `,"temperature":0,"ignore_eos":true,"max_tokens":120000`+more)
}

// TestDrain sends SIGTERM while one stream runs and others wait behind it: the
// stream goes on, all that wait are answered as if nothing had happened, nobody
// new gets in, and the exit code is 0.
func TestDrain(t *testing.T) {
	s := serveEndless(t, "--drain-timeout", "10m")
	stream, err := http.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(endless(`,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	const n = 4
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, n)
	for range n {
		go func() {
			body := chatBody("endless", "one", `,"temperature":0,"max_tokens":100,"stream":true`)
			res, err := http.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				answers <- answer{err: err}
				return
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			answers <- answer{string(text), err}
		}()
	}
	s.until("holdfast_waiting_requests", n)
	s.signal(syscall.SIGTERM)
	for end := time.Now().Add(patience); ; { // readiness fails as soon as the server knows
		status, _, text := s.do("GET", "/health/ready", "")
		if status == 503 && strings.Contains(text, "stopping") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("/health/ready: %d %s", status, text)
		}
	}
	if status, _, _ := s.do("GET", "/health", ""); status != 200 {
		t.Errorf("/health: %d", status)
	}
	if status, header, text := s.do("POST", "/v1/chat/completions", endless("")); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("a new request got %d %s", status, text)
	}
	if more, err := io.ReadFull(stream.Body, make([]byte, 1<<16)); err != nil { // more than any buffer held before
		t.Errorf("the running stream gave %d bytes, then %v", more, err)
	}
	stream.Body.Close()
	for range n {
		a := <-answers
		if a.err != nil || !strings.HasSuffix(a.body, "data: [DONE]\n\n") || strings.Contains(a.body, `"error"`) {
			t.Errorf("%v after %.200q … %q", a.err, a.body, a.body[max(0, len(a.body)-200):])
		}
	}
	if err := s.wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

// TestDrainDeadline cuts off what runs longer than it may, and still exits 0.
func TestDrainDeadline(t *testing.T) {
	s := serveEndless(t, "--drain-timeout", "1ms")
	res, err := http.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(endless(`,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	s.signal(syscall.SIGINT)
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasSuffix(string(body), "data: [DONE]\n\n") || !strings.Contains(string(body), "shutting_down") {
		t.Errorf("%v after %q", err, body[max(0, len(body)-300):])
	}
	if err := s.wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

// TestClientLeaves measures how long a request goes on after its client left.
func TestClientLeaves(t *testing.T) {
	for _, stream := range []string{"", `,"stream":true`} {
		for _, phase := range []string{"queue", "decode"} {
			t.Run(phase+strings.Trim(stream, `,":`), func(t *testing.T) {
				const most = 100 * time.Millisecond
				var took time.Duration
				for end := time.Now().Add(time.Minute); ; { // a busy machine may stall many tries, not all of a minute
					if took = timeToFree(t, stream, phase); took <= most {
						t.Logf("free after %v", took)
						return
					}
					if time.Now().After(end) {
						break
					}
				}
				t.Errorf("free after %v, want at most %v", took, most)
			})
		}
	}
}

func timeToFree(t *testing.T, stream, phase string) time.Duration {
	s := serveEndless(t)
	leave := s.send("/v1/chat/completions", endless(stream))
	s.until("holdfast_running_sequences", 1)
	before := leave
	if phase == "queue" {
		leave = s.send("/v1/chat/completions", endless(stream))
		s.until("holdfast_waiting_requests", 1)
	}
	start := time.Now()
	leave()
	s.until("holdfast_cancelled_requests_total", 1)
	took := time.Since(start)
	if phase == "queue" {
		before()
		s.until("holdfast_cancelled_requests_total", 2)
	}
	s.until("holdfast_kv_blocks_used", 0)
	s.signal(syscall.SIGTERM)
	if err := s.wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	return took
}

// TestManyLeave has the client of three prompts leave, of which two run and one
// waits: all are cancelled.
func TestManyLeave(t *testing.T) {
	s := serveEndless(t, "--max-sequences", "2")
	for i, stream := range []string{"", `,"stream":true`} {
		leave := s.send("/v1/completions", `{"model":"endless","prompt":["a","b","c"],"ignore_eos":true,"max_tokens":120000`+stream+`}`)
		s.until("holdfast_running_sequences", 2)
		leave()
		s.until("holdfast_cancelled_requests_total", 3*(i+1))
		s.until("holdfast_kv_blocks_used", 0)
	}
}

// send sends a request on a connection of its own and returns what closes it.
func (s *server) send(path, body string) (leave func()) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body); err != nil {
		s.t.Fatal(err)
	}
	return func() { conn.Close() }
}

// TestKeepAlive sends many requests over one connection.
func TestKeepAlive(t *testing.T) {
	s := serve(t, "--model", tinyModel)
	dials := 0
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}}
	defer client.CloseIdleConnections()
	for i := range 50 {
		more := `,"max_tokens":3`
		if i%2 == 0 {
			more += `,"stream":true`
		}
		res, err := client.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(chatBody("tiny-chat", "hi", more)))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for lines := bufio.NewScanner(res.Body); lines.Scan(); n++ {
		}
		res.Body.Close()
		if res.StatusCode != 200 || n == 0 {
			t.Fatalf("request %d: status %d, %d lines", i, res.StatusCode, n)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections, want 1", dials)
	}
}
