package server

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
)

// maxRefusals bounds the connections that are being told that they are too many.
// Further ones are closed without a word.
const maxRefusals = 32

// conns counts the connections that are served, and refuses those above a limit.
type conns struct {
	most     int64
	now      atomic.Int64
	refusing chan struct{}
	refusals sync.WaitGroup
}

func newConns(most int) conns {
	return conns{most: int64(most), refusing: make(chan struct{}, maxRefusals)}
}

// changed is told by the HTTP library of every connection's beginning and end.
func (c *conns) changed(_ net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		c.now.Add(1)
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		c.now.Add(-1)
	}
}

// listener accepts from ln what is not too much. Those above the limit are told
// so if they speak plain HTTP.
func (c *conns) listener(ln net.Listener, plain bool) net.Listener {
	return &limitListener{ln, c, plain}
}

type limitListener struct {
	net.Listener
	conns *conns
	plain bool
}

// Accept implements net.Listener. An error that passes, such as too many open
// files, does not end it.
func (l *limitListener) Accept() (net.Conn, error) {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		conn, err := l.Listener.Accept()
		switch {
		case err != nil && passes(err):
			time.Sleep(pause)
			pause = min(2*pause, longest)
			continue
		case err != nil:
			return nil, err
		case l.conns.now.Load() < l.conns.most:
			return conn, nil
		}
		pause = shortest
		l.refuse(conn)
	}
}

func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refuse answers a connection that is one too many, without reading what it
// wants, and closes it.
func (l *limitListener) refuse(conn net.Conn) {
	if !l.plain {
		conn.Close()
		return
	}
	select {
	case l.conns.refusing <- struct{}{}:
	default:
		conn.Close()
		return
	}
	l.conns.refusals.Go(func() {
		defer func() { <-l.conns.refusing }()
		defer conn.Close()
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write(tooManyConns()); err == nil {
			swallow(conn, 0)
		}
	})
}

func tooManyConns() []byte {
	body, err := json.Marshal(api.ErrorBody{Error: api.NewError(503, api.TypeServer, api.CodeOverloaded, "The server has no room for another connection; please retry later.")})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s: %s\r\nRetry-After: %s\r\nConnection: close\r\n\r\n%s",
		len(body), headerRequestID, newID("req-"), strconv.Itoa(retryAfterSeconds), body)
}
