package server

import (
	"net"
	"syscall"
	"time"
)

// A watch notices that a client closed its connection while the server has
// nothing to write: the HTTP library looks at a connection only to read the
// next request, and a write to a closed one succeeds once or twice before it
// fails.
//
// Its goroutine parks in the runtime's poller, which wakes it when anything
// happens on the socket; it then asks the kernel whether the peer is gone, and
// reads nothing, so that bytes of a further request stay where they are. A
// client that closes only its sending half counts as gone.
//
// While a watch runs nobody else may read from the connection.
type watch struct {
	conn net.Conn
	done chan struct{}
}

// startWatch calls gone, once, if the peer of conn leaves before stop. A
// connection without a socket is not watched.
func startWatch(conn net.Conn, gone func()) *watch {
	w := &watch{conn: conn}
	below := conn
	for {
		under, ok := below.(interface{ NetConn() net.Conn }) // of TLS
		if !ok {
			break
		}
		below = under.NetConn()
	}
	sc, ok := below.(syscall.Conn)
	if !ok {
		return w
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return w
	}
	// The deadline for reading the request must not end the watch.
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return w
	}
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		left := false
		err := raw.Read(func(fd uintptr) bool {
			left = peerGone(fd)
			return left // false: park until the next event
		})
		if left && err == nil {
			gone()
		}
	}()
	return w
}

// stop ends the watch and waits until it has ended. The connection has no read
// deadline afterwards.
func (w *watch) stop() {
	if w.done == nil {
		return
	}
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	<-w.done
	w.done = nil
	_ = w.conn.SetReadDeadline(time.Time{})
}
