package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// claim is what one process at a time may have: the store and the port. A server
// closes its port when it drains; the store stays claimed until Close.
type claim struct {
	store *os.File // locked; nil without a store
	port  net.Listener
}

// Close gives both up. The lock's file stays: to remove it would let two
// processes lock two files of that name.
func (c *claim) Close() error {
	err := c.port.Close()
	if c.store != nil {
		err = errors.Join(err, c.store.Close())
	}
	return err
}

// claimPoll is how often a process that waits looks again.
const claimPoll = 50 * time.Millisecond

// takeOver claims store and port, and waits for both up to a time in all while
// another process has them. The store comes first: a port that is open while
// nobody answers would hold clients up. It says on w that it waits.
func takeOver(ctx context.Context, store, addr string, wait time.Duration, w io.Writer) (*claim, error) {
	c := new(claim)
	deadline := time.Now().Add(wait)
	said := false
	err := retry(ctx, deadline, func() (err error) {
		if store != "" && c.store == nil {
			c.store, err = lockStore(store)
		}
		if err == nil {
			c.port, err = listen(addr)
		}
		if errors.As(err, new(*heldError)) && wait > 0 && !said {
			said = true
			fmt.Fprintf(w, "waiting up to %s: %v\n", wait, err)
		}
		return err
	})
	if err != nil && c.store != nil {
		err = errors.Join(err, c.store.Close())
	}
	return c, err
}

// retry calls f until it succeeds, fails for good, or the deadline passes.
func retry(ctx context.Context, deadline time.Time, f func() error) error {
	for {
		err := f()
		if !errors.As(err, new(*heldError)) || !time.Now().Before(deadline) {
			return err
		}
		select {
		case <-time.After(min(claimPoll, time.Until(deadline))):
		case <-ctx.Done():
			return errors.New("start: interrupted: nothing was served")
		}
	}
}

// heldError says that another process has what this one wants.
type heldError struct{ text string }

func (e *heldError) Error() string { return e.text }

func held(format string, args ...any) error { return &heldError{fmt.Sprintf(format, args...)} }

// lockStore locks a store's folder until the file is closed or the process ends,
// however it ends.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w: give another --store", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w: give another --store", err)
	}
	if err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		if err = file.Truncate(0); err == nil {
			_, err = fmt.Fprintf(file, "%d\n", os.Getpid()) // for people
		}
		if err == nil {
			return file, nil
		}
	} else if errors.Is(err, unix.EWOULDBLOCK) {
		who := make([]byte, 20)
		n, _ := file.Read(who) // nobody's number is as good
		err = held("store: %s: process %s holds it: stop that, give another --store, or wait for it with --takeover-wait",
			dir, orNone(strings.TrimSpace(string(who[:n]))))
	} else {
		err = fmt.Errorf("store: %s: lock: %w", dir, err)
	}
	return nil, errors.Join(err, file.Close())
}

func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		return ln, nil
	}
	what := err
	var op *net.OpError
	if errors.As(err, &op) {
		what = op.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, held("listen: %s: the address is in use: stop what listens there, give another --listen, or wait for it with --takeover-wait", addr)
	}
	return nil, fmt.Errorf("listen: %s: %v: give another --listen", addr, what)
}
