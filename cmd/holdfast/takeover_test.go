package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// signalWriter tells when something was written.
type signalWriter struct {
	strings.Builder
	written chan struct{}
}

func (w *signalWriter) Write(b []byte) (int, error) {
	n, err := w.Builder.Write(b)
	w.written <- struct{}{}
	return n, err
}

// TestTakeOver holds that a claim waits for store and port, each held by another.
func TestTakeOver(t *testing.T) {
	store := filepath.Join(t.TempDir(), "new", "store")
	first, err := takeOver(t.Context(), store, "127.0.0.1:0", 0, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	addr := first.port.Addr().String()
	for _, c := range []struct{ store, addr, says string }{
		{store, "127.0.0.1:0", store + ": process "},
		{"", addr, "listen: " + addr + ": the address is in use"},
	} {
		if _, err := takeOver(t.Context(), c.store, c.addr, 0, io.Discard); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
		if _, err := takeOver(t.Context(), c.store, c.addr, time.Millisecond, io.Discard); !errors.As(err, new(*heldError)) {
			t.Errorf("after a wait: %+v: %v", c, err)
		}
	}
	w := &signalWriter{written: make(chan struct{}, 1)}
	type result struct {
		*claim
		error
	}
	got := make(chan result)
	go func() {
		c, err := takeOver(t.Context(), store, addr, time.Hour, w)
		got <- result{c, err}
	}()
	<-w.written
	select {
	case r := <-got:
		t.Fatalf("%+v", r)
	default:
	}
	if err := first.port.Close(); err != nil { // as a server that drains
		t.Fatal(err)
	}
	if _, err := lockStore(store); !errors.As(err, new(*heldError)) {
		t.Errorf("a store whose process has closed its port: %v", err)
	}
	_ = first.Close() // the port is closed already
	second := <-got
	if second.error != nil || !strings.HasPrefix(w.String(), "waiting up to 1h0m0s: store: ") || second.port.Addr().String() != addr {
		t.Errorf("%+v, said %q", second, w.String())
	}
	// The store is locked again, and a claim that fails leaves it free.
	if _, err := lockStore(store); !errors.As(err, new(*heldError)) {
		t.Errorf("%v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := takeOver(t.Context(), store, addr, 0, io.Discard); !errors.As(err, new(*heldError)) {
		t.Errorf("%v", err)
	}
	file, err := lockStore(store)
	if err != nil {
		t.Errorf("a claim that failed kept the store: %v", err)
	}
	file.Close()
	// It waits for the port with the store in its hands.
	go func() {
		c, err := takeOver(t.Context(), store, addr, time.Hour, w)
		got <- result{c, err}
	}()
	<-w.written
	ln.Close()
	third := <-got
	if third.error != nil || third.store == nil {
		t.Fatalf("%+v", third)
	}
	defer third.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-w.written; cancel() }()
	if _, err := takeOver(ctx, store, addr, time.Hour, w); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("interrupted: %v", err)
	}
}

// TestTakeOverFails holds that nothing is waited for that does not pass.
func TestTakeOverFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ store, addr, says string }{
		{file, "127.0.0.1:0", "another --store"},
		{"", "192.0.2.1:1", "another --listen"}, // no address of this machine
	} {
		if _, err := takeOver(t.Context(), c.store, c.addr, time.Hour, io.Discard); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestUntil holds what ends a server: the end of serving, a step that hangs, and
// a signal; a hang-up does not.
func TestUntil(t *testing.T) {
	failed := errors.New("failed")
	ended, wedged, hangup := make(chan error, 1), make(chan struct{}), make(chan os.Signal)
	ctx, cancel := context.WithCancel(t.Context())
	reloads := 0
	got := make(chan error)
	go func() { got <- until(ctx, ended, wedged, hangup, func() { reloads++ }) }()
	hangup <- syscall.SIGHUP
	hangup <- syscall.SIGHUP
	cancel()
	if err := <-got; err != nil || reloads != 2 {
		t.Errorf("%v after %d reloads", err, reloads)
	}
	ended <- failed
	if err := until(t.Context(), ended, wedged, hangup, nil); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	close(wedged)
	if err := until(t.Context(), ended, wedged, hangup, nil); !errors.Is(err, errWedged) || report(io.Discard, err) != exitFailure {
		t.Errorf("%v", err)
	}
}

func TestLineWriter(t *testing.T) {
	var b strings.Builder
	_, lines := newLogger(&b, "json", "info")
	if n, err := io.WriteString(lines, "one\n  two\n"); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := b.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"msg":"one"}`) || !strings.Contains(got, `"msg":"two"}`) {
		t.Error(got)
	}
	b.Reset()
	if _, lines = newLogger(&b, "text", "info"); lines != &b {
		t.Error("lines of a log in text are changed")
	}
}
