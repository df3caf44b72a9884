package server

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/engine"
)

// mostToCancel is how long after a client's leaving its request may run on.
const mostToCancel = 100 * time.Millisecond

// TestClientLeaves has clients leave in each phase. While a request waits in
// the queue or is prefilled, the server waits for its first piece; while it
// decodes, for a later one.
func TestClientLeaves(t *testing.T) {
	half := func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }
	reset := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }
	closes := func(c net.Conn) { c.Close() }
	for _, c := range []struct {
		name   string
		body   string
		decode bool
		extra  string // bytes after the request
		leave  func(net.Conn)
	}{
		{"waiting", plainBody, false, "", closes},
		{"waiting, streaming", eventBody, false, "", closes},
		{"decoding", plainBody, true, "", closes},
		{"decoding, streaming", eventBody, true, "", closes},
		{"waiting, reset", plainBody, false, "", reset},
		{"decoding, streaming, reset", eventBody, true, "", reset},
		{"waiting, half closed", plainBody, false, "", half},
		{"waiting, pipelining", plainBody, false, get("/health"), closes},
		{"completion, waiting", textPlain, false, "", closes},
		{"completion, decoding, streaming", textEvent, true, "", closes},
		{"decoding, streaming, pipelining", eventBody, true, get("/health"), closes},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // each waits past a time-out
			// A busy machine may stall many tries, not all of a minute.
			var took time.Duration
			for end := time.Now().Add(time.Minute); ; {
				if took = timeToCancel(t, c.body, c.extra, c.decode, c.leave); took <= mostToCancel {
					t.Logf("cancelled after %v", took)
					return
				}
				if time.Now().After(end) {
					break
				}
			}
			t.Errorf("cancelled after %v, want at most %v", took, mostToCancel)
		})
	}
}

// timeToCancel has one client send a request and leave, and returns how long
// after that its request was cancelled.
func timeToCancel(t *testing.T, body, extra string, decode bool, leave func(net.Conn)) time.Duration {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
	// The time to read a request must not be the time to watch it.
	const readTimeout = 2 * time.Second
	s := serve(t, w, func(c *Config) { c.ReadTimeout = readTimeout })
	conn := s.dial()
	path := chatPath
	if strings.Contains(body, `"prompt"`) {
		path = textPath
	}
	conn.send(post(path, body) + extra)
	stream := wait(t, w.started)
	if decode {
		w.more <- engine.Delta{Text: "x"}
		if strings.Contains(body, `"stream"`) {
			conn.receive()
		} else {
			w.more <- engine.Delta{Text: "y"} // "x" was read when this one is taken
		}
	}
	pastReadTimeout := time.NewTimer(readTimeout + 10*time.Millisecond)
	select {
	case <-stream.ctx.Done():
		t.Fatalf("cancelled with the client there: %v", context.Cause(stream.ctx))
	case <-pastReadTimeout.C:
	}
	left := time.Now()
	leave(conn.conn)
	wait(t, stream.ctx.Done())
	took := time.Since(left)
	wait(t, stream.closed)
	if cause := context.Cause(stream.ctx); !errors.Is(cause, errClientLeft) {
		t.Errorf("cause %v", cause)
	}
	return took
}

// TestKeepAlive sends 50 watched requests over one connection.
func TestKeepAlive(t *testing.T) {
	w := &fakeWorker{}
	s := serve(t, w, func(c *Config) { c.IdleTimeout = patience })
	conn := s.dial()
	for i := range 50 {
		body := plainBody
		if i%2 == 1 {
			body = eventBody
		}
		res, text := conn.do(post(chatPath, body))
		if res.StatusCode != 200 || res.Close || !strings.Contains(text, "é☺") {
			t.Fatalf("request %d: status %d, close %v, body %s", i, res.StatusCode, res.Close, text)
		}
	}
	// A stream's record is written behind its last byte.
	records := func() int { return strings.Count(s.log.String(), "msg=completion") }
	for end := time.Now().Add(patience); records() < 50 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if n := records(); n != 50 {
		t.Errorf("%d records in the log, want 50:\n%s", n, s.log.String())
	}
}

// TestPipelining sends a second request while the first is watched.
func TestPipelining(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
	s := serve(t, w)
	conn := s.dial()
	conn.send(post(chatPath, plainBody))
	wait(t, w.started)
	conn.send(get("/v1/models"))
	w.more <- engine.Delta{Text: "first", Finish: engine.FinishStop}
	if body := conn.body(conn.receive()); !strings.Contains(body, "first") {
		t.Errorf("first answer %s", body)
	}
	if body := conn.body(conn.receive()); !strings.Contains(body, "owned_by") {
		t.Errorf("second answer %s", body)
	}
}

// TestSlowReader has a client that stays and reads nothing.
func TestSlowReader(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
	s := serve(t, w, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	conn := s.dial()
	conn.send(post(chatPath, eventBody))
	stream := wait(t, w.started)
	piece := engine.Delta{Text: strings.Repeat("x", 1<<20)}
	for {
		select {
		case w.more <- piece:
			continue
		case <-stream.closed:
		case <-time.After(patience):
			t.Fatal("the stream goes on")
		}
		return
	}
}

// TestSlowStream has a stream that lasts longer than a write may.
func TestSlowStream(t *testing.T) {
	t.Parallel() // it waits
	w := &fakeWorker{more: make(chan engine.Delta)}
	s := serve(t, w, func(c *Config) { c.WriteTimeout = 3 * time.Second })
	conn := s.dial()
	conn.send(post(chatPath, eventBody))
	tick := time.NewTicker(900 * time.Millisecond)
	defer tick.Stop()
	for range 5 {
		w.more <- engine.Delta{Text: "x"}
		<-tick.C
	}
	w.more <- engine.Delta{Finish: engine.FinishStop}
	body, err := io.ReadAll(conn.receive().Body)
	if err != nil || !strings.HasSuffix(string(body), doneEvent) {
		t.Errorf("%v after %q", err, body)
	}
}

func TestWatchStops(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	for range 3 {
		startWatch(near, func() { t.Error("gone with the client there") }).stop()
	}
	// What came during a watch is still there to be read.
	w := startWatch(near, func() { t.Error("gone with the client there") })
	if _, err := io.WriteString(far, "abc"); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.stop()
	b := make([]byte, 3)
	if _, err := io.ReadFull(near, b); err != nil || string(b) != "abc" {
		t.Errorf("read %q, %v", b, err)
	}
	// Connections without a socket are not watched.
	a, b2 := net.Pipe()
	defer a.Close()
	defer b2.Close()
	startWatch(a, func() { t.Error("gone") }).stop()
}
