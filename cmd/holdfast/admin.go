package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-run/holdfast/engine"
)

// admin serves profiles and the trace of steps on a Unix socket that only the
// process's user may open.
type admin struct {
	socket net.Listener
	server http.Server
	done   chan error // nil until serve
}

// openAdmin makes the socket. One that a process has left is taken over; one that is
// served is not.
func openAdmin(path string) (*admin, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("serve: --admin %s is served by another process; give another path", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // if it stays, Listen says why
	}
	mask := syscall.Umask(0o177) // there is no moment in which others may open it
	l, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("serve: --admin: %w", err)
	}
	return &admin{socket: l}, nil
}

// serve begins to answer.
func (a *admin) serve(e *engine.Engine) {
	a.done = make(chan error, 1)
	a.server = http.Server{Handler: adminRoutes(e), ReadHeaderTimeout: 10 * time.Second}
	go func() { a.done <- a.server.Serve(a.socket) }()
}

func adminRoutes(e *engine.Engine) http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /debug/pprof/", pprof.Index)
	routes.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	routes.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	routes.HandleFunc("GET /debug/steps", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = e.WriteTrace(w) // the client has left
	})
	return routes
}

// close ends it, and removes the socket.
func (a *admin) close() error {
	if a.done == nil {
		return a.socket.Close()
	}
	err := a.server.Close()
	if served := <-a.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
