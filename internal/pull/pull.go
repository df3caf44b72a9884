// Package pull fetches one file of a model repository, as the Hugging Face hub
// and its mirrors serve them: it goes on where it was cut off, checks the digest
// that the hub states, and puts the file in its place in one step.
//
// The hub answers HEAD /REPO/resolve/REVISION/FILE with the file's size and an
// ETag: the SHA-256 of a large file (X-Linked-Etag), the Git blob hash of a small
// one. It sends the bytes itself or redirects to another host, which never sees
// the token. What has come lies beside the destination under a name made of the
// ETag, so that pieces of two versions are never joined; each attempt asks the
// hub again, which also renews the address that it redirects to.
package pull

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Source names a file of a repository.
type Source struct {
	Endpoint string // where the hub is: scheme and host, as in https://hub.example
	Repo     string // OWNER/NAME
	Revision string // a branch, a tag or a commit
	File     string // path inside the repository
	Token    string // sent to the endpoint alone; empty for none
}

// Result says what Fetch did.
type Result struct {
	Path     string
	Size     int64  // bytes
	Commit   string // of the repository, if the hub said so
	Digest   string // what was checked, as in sha256:…; empty if the hub states none
	Present  bool   // the file was there already, and right
	Received int64  // bytes that this call received
}

// Errors of Fetch; a refusal of the hub is a *StatusError.
var (
	// ErrDigest is returned when the bytes are not those that the hub announced.
	ErrDigest = errors.New("the bytes that came are not those that the hub announced")
	// ErrSpace is returned when the disk has too little room.
	ErrSpace = errors.New("too little room on the disk")
	// ErrLocked is returned while another process fetches the same file.
	ErrLocked = errors.New("another process is fetching this file")
	// ErrGaveUp is returned when too many attempts failed.
	ErrGaveUp = errors.New("gave up after several attempts; run it again to go on")
)

const (
	maxSize     = 4 << 40 // bytes; more is a mistake of the server
	maxFailures = 5       // attempts in a row that bring nothing
	maxAttempts = 200     // attempts in all
	maxWait     = time.Minute
)

// fetcher is one call of Fetch. Tests replace what is outside of it.
type fetcher struct {
	src      Source
	dest     string
	progress func(phase string, done, total int64)
	client   *http.Client
	stall    time.Duration // a connection that brings nothing for so long is dropped
	pause    func(ctx context.Context, d time.Duration) error
	free     func(dir string) (int64, error)
	received int64
}

// Fetch brings a file to dest, whose folder must exist. It may be called again
// after any error or crash and goes on from there. progress, if not nil, is told
// of "checking" and "fetching": bytes done of all.
func Fetch(ctx context.Context, src Source, dest string, progress func(phase string, done, total int64)) (Result, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ForceAttemptHTTP2:     true,
	}
	defer transport.CloseIdleConnections()
	f := &fetcher{
		src: src, dest: dest, progress: progress,
		client: &http.Client{Transport: transport, CheckRedirect: noRedirects},
		stall:  time.Minute,
		pause:  sleep,
		free:   freeBytes,
	}
	return f.run(ctx)
}

// run makes attempts until one succeeds or no further one can.
func (f *fetcher) run(ctx context.Context) (Result, error) {
	if err := f.src.validate(); err != nil {
		return Result{}, err
	}
	if f.progress == nil {
		f.progress = func(string, int64, int64) {}
	}
	failures := 0
	for attempt := 1; ; attempt++ {
		before := f.received
		r, err := f.attempt(ctx)
		if err == nil {
			r.Received = f.received
			return r, nil
		}
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		var again *retryError
		if !errors.As(err, &again) {
			return Result{}, err
		}
		if failures++; f.received > before {
			failures = 1
		}
		if failures >= maxFailures || attempt >= maxAttempts {
			return Result{}, fmt.Errorf("%w: %w", ErrGaveUp, again.err)
		}
		wait := min(max(again.after, time.Second<<(failures-1)), maxWait)
		if err := f.pause(ctx, wait+rand.N(wait/4)); err != nil {
			return Result{}, err
		}
	}
}

// noRedirects leaves redirects to the fetcher, which knows whom the token is for.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// retryError is a failure that may pass.
type retryError struct {
	err   error
	after time.Duration // the least time to wait
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// attempt asks the hub about the file, and brings what is missing of it.
func (f *fetcher) attempt(ctx context.Context) (Result, error) {
	r, err := f.head(ctx)
	if err != nil {
		return Result{}, err
	}
	if r.commit != "" {
		f.src.Revision = r.commit // later attempts speak of the same file
	}
	done := Result{Path: f.dest, Size: r.size, Commit: r.commit, Digest: r.digest.String()}
	if done.Present, err = f.present(ctx, r); done.Present || err != nil {
		return done, err
	}
	p, err := openPart(f.dest, r)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	if err := f.fill(ctx, p, r); err != nil {
		return Result{}, err
	}
	return done, p.finish(f.dest)
}

// fill brings the part to its full size and checks it.
func (f *fetcher) fill(ctx context.Context, p *part, r remote) error {
	if !r.resumable() || p.size > r.size {
		if err := p.restart(); err != nil {
			return err
		}
	}
	if err := f.room(p, r); err != nil {
		return err
	}
	if err := p.rehash(ctx, f.progress, r.size); err != nil {
		return err
	}
	resumed := p.size > 0
	if p.size < r.size {
		if err := f.download(ctx, p, r); err != nil {
			return err
		}
	}
	if p.sum.matches(r.digest) {
		return nil
	}
	err := fmt.Errorf("%s: %w: expected %s, got %s", f.src, ErrDigest, r.digest, p.sum)
	if dropErr := p.restart(); dropErr != nil {
		return dropErr
	}
	if resumed { // what lay here may have been wrong
		return &retryError{err: err}
	}
	return err
}

// room fails if the disk cannot take the rest.
func (f *fetcher) room(p *part, r remote) error {
	free, err := f.free(filepath.Dir(f.dest))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(f.dest), err)
	}
	if need := r.size - p.size; need > free {
		return fmt.Errorf("%s: %w: %d MiB are needed, %d MiB are free: make room or give another --dir",
			filepath.Dir(f.dest), ErrSpace, need>>20+1, free>>20)
	}
	return nil
}

// present reports whether the destination holds the file already.
func (f *fetcher) present(ctx context.Context, r remote) (bool, error) {
	stat, err := os.Stat(f.dest)
	if err != nil {
		return false, nil // rename will say what is wrong, if anything is
	}
	if !stat.Mode().IsRegular() {
		return false, fmt.Errorf("%s: is there and is no regular file: give another --dir", f.dest)
	}
	if stat.Size() != r.size || r.digest.kind == noDigest {
		return false, nil
	}
	file, err := os.Open(f.dest)
	if err != nil {
		return false, err
	}
	defer file.Close()
	sum := newSum(r)
	if err := hashFile(ctx, sum, file, r.size, f.progress, r.size); err != nil {
		return false, err
	}
	return sum.matches(r.digest), nil
}

func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
