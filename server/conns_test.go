package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
)

func TestMaxConns(t *testing.T) {
	s := serve(t, &fakeWorker{}, func(c *Config) { c.MaxConns = 2 })
	first, second := s.dial(), s.dial()
	first.do(get("/health"))
	second.do(get("/health"))
	for range 3 {
		third := s.dial()
		third.send(get("/health"))
		res := third.receive()
		wantError(t, res, third.body(res), 503, api.TypeServer, api.CodeOverloaded, "", "another connection")
		if res.Header.Get("Retry-After") != "1" || !res.Close {
			t.Errorf("headers %v", res.Header)
		}
		// A request that comes later than the server reads on resets the connection.
		if _, err := third.r.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection is not closed: %v", err)
		}
	}
	if res, _ := first.do(get("/health")); res.StatusCode != 200 {
		t.Errorf("first connection: status %d", res.StatusCode)
	}
	// A connection that ends makes room.
	second.conn.Close()
	for end := time.Now().Add(patience); ; {
		if res, _ := s.dial().do(get("/health")); res.StatusCode == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no room for a new connection")
		}
	}
}

// TestRefusalReadsOn refuses a connection on which a request waits: it is not reset, so
// that its client sees the answer.
func TestRefusalReadsOn(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	far, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(far, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
	c := newConns(1)
	c.now.Add(1)
	if _, err := c.listener(&listed{conns: []net.Conn{near}}, true).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if answer, err := io.ReadAll(far); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
		t.Errorf("%q, %v", answer, err)
	}
	c.refusals.Wait()
}

// TestManyRefusals closes connections without a word once too many are being
// answered.
func TestManyRefusals(t *testing.T) {
	c := newConns(1)
	c.now.Add(1)
	for range maxRefusals {
		c.refusing <- struct{}{}
	}
	ln := &listed{conns: []net.Conn{}}
	far, near := net.Pipe()
	ln.conns = append(ln.conns, near)
	if _, err := c.listener(ln, true).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is not closed: %v", err)
	}
	c.refusals.Wait()
}

// TestAcceptGoesOn has errors that pass between connections.
func TestAcceptGoesOn(t *testing.T) {
	c := newConns(1)
	far, near := net.Pipe()
	defer far.Close()
	defer near.Close()
	ln := &listed{errs: []error{
		&net.OpError{Op: "accept", Err: syscall.EMFILE},
		&net.OpError{Op: "accept", Err: syscall.ECONNABORTED},
	}, conns: []net.Conn{near}}
	if got, err := c.listener(ln, true).Accept(); got != near || err != nil {
		t.Errorf("Accept: %v", err)
	}
	if _, err := c.listener(ln, true).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v", err)
	}
}

// listed is a listener that gives errors, then connections, then says it is closed.
type listed struct {
	net.Listener
	errs  []error
	conns []net.Conn
}

func (l *listed) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	if len(l.conns) == 0 {
		return nil, net.ErrClosed
	}
	conn := l.conns[0]
	l.conns = l.conns[1:]
	return conn, nil
}
