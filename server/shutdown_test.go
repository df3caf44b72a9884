package server

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// TestShutdownDrains lets a stream end that runs when the server is told to stop.
func TestShutdownDrains(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
	s := serve(t, w)
	conn := s.dial()
	conn.send(post(chatPath, eventBody))
	w.more <- engine.Delta{Text: "before"}
	res := conn.receive()

	ended := make(chan error, 1)
	s.gate.close() // as Shutdown does first; here, so that the test knows it is done
	go func() { ended <- s.Shutdown(t.Context()) }()

	if res, body := s.dial().do(get("/health/ready")); res.StatusCode != 503 || !strings.Contains(body, "stopping") {
		t.Errorf("/health/ready: %d %s", res.StatusCode, body)
	}
	if res, _ := s.dial().do(get("/health")); res.StatusCode != 200 {
		t.Errorf("/health: %d", res.StatusCode)
	}
	refused, body := s.dial().do(post(chatPath, plainBody))
	wantError(t, refused, body, 503, api.TypeServer, api.CodeShuttingDown, "", "retry")

	w.more <- engine.Delta{Text: "after", Finish: engine.FinishStop}
	text, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(text), "after") || !strings.HasSuffix(string(text), doneEvent) {
		t.Errorf("%v after %q", err, text)
	}
	if err := wait(t, ended); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

// TestShutdownDeadline cuts off what does not end in time, and says so.
func TestShutdownDeadline(t *testing.T) {
	for _, body := range []string{plainBody, eventBody} {
		w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
		s := serve(t, w, func(c *Config) { c.CloseGrace = patience })
		conn := s.dial()
		conn.send(post(chatPath, body))
		stream := wait(t, w.started)
		if body == eventBody {
			w.more <- engine.Delta{Text: "before"}
			conn.receive()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
		wait(t, stream.closed)
		rest, _ := io.ReadAll(conn.r)
		if text := string(rest); !strings.Contains(text, api.CodeShuttingDown) ||
			body == plainBody && !strings.Contains(text, " 503 ") ||
			body == eventBody && !strings.Contains(text, doneEvent) {
			t.Errorf("the client got %q", rest)
		}
	}
}
