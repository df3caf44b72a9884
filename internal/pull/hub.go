package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// StatusError is a refusal of the hub.
type StatusError struct {
	What   string // the file, or the host that the hub redirects to
	Code   int    // HTTP status
	Reason string // what the status means here, and what to do
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.What, e.Code, e.Reason)
}

const maxRedirects = 10

var (
	repoName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$`)
	revision = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$`)
)

func (s Source) String() string { return s.Repo + "/" + s.File }

// validate refuses what would name something else than a file of a repository.
func (s Source) validate() error {
	if !repoName.MatchString(s.Repo) || strings.Contains(s.Repo, "..") {
		return fmt.Errorf("repository: %q: give OWNER/NAME", s.Repo)
	}
	if !revision.MatchString(s.Revision) || strings.Contains(s.Revision, "..") {
		return fmt.Errorf("revision: %q: give a branch, a tag or a commit", s.Revision)
	}
	for part := range strings.SplitSeq(s.File, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 200 || strings.ContainsAny(part, "\\\x00\n") {
			return fmt.Errorf("file: %q: give a path inside the repository", s.File)
		}
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("endpoint: %q: give an address as in https://HOST", s.Endpoint)
	}
	if s.Token != "" && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return fmt.Errorf("endpoint: %s: a token would cross the network in the clear: use https", s.Endpoint)
	}
	if strings.ContainsFunc(s.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("token: it has characters that no token has: check the file or the variable")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s Source) url() *url.URL {
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		panic("BUG: " + err.Error()) // validate has seen it
	}
	parts := strings.Split(s.File, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return u.JoinPath(s.Repo, "resolve", url.PathEscape(s.Revision), strings.Join(parts, "/"))
}

// remote is what the hub says about a file.
type remote struct {
	size   int64
	commit string
	etag   string // without quotes; empty if weak or missing
	digest digest // what the ETag says of the content
	direct bool   // the hub sends the bytes itself, so that the ETag is theirs too
}

// resumable reports whether a piece of the file can be told from a piece of
// another: by the digest in the end, or by the server.
func (r remote) resumable() bool { return r.digest.kind != noDigest || r.direct && r.etag != "" }

// head asks for a file's size, commit and digest.
func (f *fetcher) head(ctx context.Context) (r remote, err error) {
	at := f.src.url()
	for range maxRedirects {
		res, err := f.send(ctx, http.MethodHead, at, nil)
		if err != nil {
			return r, err
		}
		res.Body.Close()
		if c := res.Header.Get("X-Repo-Commit"); revision.MatchString(c) && f.trusted(at) {
			r.commit = c
		}
		linked := res.Header.Get("X-Linked-Etag")
		next, err := f.redirect(res)
		if err != nil {
			return r, err
		}
		if next != nil && linked == "" {
			at = next
			continue
		}
		return f.describe(r, res, next == nil)
	}
	return r, fmt.Errorf("%s: more than %d redirects: check the endpoint", f.src, maxRedirects)
}

// describe reads the headers that tell a file.
func (f *fetcher) describe(r remote, res *http.Response, direct bool) (remote, error) {
	r.direct, r.size = direct, res.ContentLength
	if n, err := strconv.ParseInt(res.Header.Get("X-Linked-Size"), 10, 64); err == nil {
		r.size = n
	} else if !direct {
		r.size = -1
	}
	if r.size < 0 || r.size > maxSize {
		return r, fmt.Errorf("%s: the hub states no size, or one that cannot be: check the endpoint", f.src)
	}
	r.etag = strongTag(res.Header)
	linked := res.Header.Get("X-Linked-Etag") != ""
	switch {
	case linked && isHex(r.etag, 64):
		r.digest = digest{sha256Digest, r.etag}
	case r.commit != "" && isHex(r.etag, 40):
		r.digest = digest{gitDigest, r.etag}
	}
	return r, nil
}

// strongTag returns the ETag of the file behind a response of the hub, without
// its quotes, or "".
func strongTag(h http.Header) string {
	tag := h.Get("X-Linked-Etag")
	if tag == "" {
		if tag = h.Get("ETag"); strings.HasPrefix(tag, "W/") {
			return ""
		}
	}
	tag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
	if len(tag) > 200 || strings.ContainsAny(tag, "\"\r\n") {
		return ""
	}
	return tag
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// trusted reports whether an address is the endpoint's own: the same scheme,
// host and port.
func (f *fetcher) trusted(u *url.URL) bool {
	own := f.src.url()
	return u.Scheme == own.Scheme && strings.EqualFold(u.Host, own.Host)
}

// send sends a request. The token goes to the endpoint alone: not to another
// host, port or scheme, nor to a host below its domain.
func (f *fetcher) send(ctx context.Context, method string, at *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "holdfast")
	req.Header.Set("Accept-Encoding", "identity") // a digest is of the bytes as they are stored
	if f.src.Token != "" && f.trusted(at) {
		req.Header.Set("Authorization", "Bearer "+f.src.Token)
	}
	res, err := f.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // it names the address with its signature
		}
		err = fmt.Errorf("%s: %w", at.Host, err)
		var dns *net.DNSError
		var cert *tls.CertificateVerificationError
		if errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &cert) {
			return nil, fmt.Errorf("%w: check --endpoint", err)
		}
		return nil, &retryError{err: err}
	}
	return res, nil
}

// redirect returns where a response points to, nil if it is the answer, or why
// it is neither.
func (f *fetcher) redirect(res *http.Response) (*url.URL, error) {
	switch res.StatusCode {
	case http.StatusOK:
		return nil, nil
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		if res.Request.Header.Get("Range") != "" {
			return nil, nil
		}
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		next, err := res.Location()
		if err != nil || next.Host == "" || next.Scheme != "https" && next.Scheme != "http" {
			return nil, fmt.Errorf("%s: a redirect to nowhere: check the endpoint", res.Request.URL.Host)
		}
		if res.Request.URL.Scheme == "https" && next.Scheme != "https" {
			return nil, fmt.Errorf("%s: a redirect from https to http: refused", res.Request.URL.Host)
		}
		return next, nil
	}
	return nil, f.refused(res)
}

// refused makes an error of a status that is no success.
func (f *fetcher) refused(res *http.Response) error {
	e := &StatusError{What: f.src.String(), Code: res.StatusCode, Reason: strings.ToLower(http.StatusText(res.StatusCode))}
	if !f.trusted(res.Request.URL) {
		e.What = res.Request.URL.Host
	}
	code := res.Header.Get("X-Error-Code")
	switch {
	case code == "GatedRepo":
		e.Reason = "access must be asked for: accept the model's terms on its page, then give a token"
	case code == "RevisionNotFound":
		e.Reason = "there is no revision " + strconv.Quote(f.src.Revision) + ": check --revision"
	case code == "EntryNotFound":
		e.Reason = "the repository has no such file at this revision: check the file's name"
	case (code == "RepoNotFound" || res.StatusCode == 401) && f.src.Token == "":
		e.Reason = "there is no such repository, or it needs a token: check the name, or set HF_TOKEN or --token-file"
	case code == "RepoNotFound" || res.StatusCode == 401 || res.StatusCode == 403:
		e.Reason = "there is no such repository, or the token gives no access to it"
	case res.StatusCode == 404:
		e.Reason = "not found: check repository, file and revision"
	case res.StatusCode == 408 || res.StatusCode == 429 || res.StatusCode >= 500:
		var after time.Duration
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
			after = time.Duration(min(s, int(maxWait/time.Second))) * time.Second
		}
		return &retryError{err: e, after: after}
	}
	return e
}

// download appends to the part what is missing of the file.
func (f *fetcher) download(ctx context.Context, p *part, r remote) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := f.get(ctx, p.size, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		if err := p.restart(); err != nil {
			return err
		}
		return &retryError{err: fmt.Errorf("%s: the server refuses to go on from the middle", f.src)}
	case http.StatusOK: // all of it, because it changed, or because the server sends no ranges
		if err := p.restart(); err != nil {
			return err
		}
		if res.ContentLength >= 0 && res.ContentLength != r.size {
			return &retryError{err: fmt.Errorf("%s: the file has %d bytes, the hub says %d", f.src, res.ContentLength, r.size)}
		}
	case http.StatusPartialContent:
		if want := fmt.Sprintf("bytes %d-%d/%d", p.size, r.size-1, r.size); res.Header.Get("Content-Range") != want {
			if err := p.restart(); err != nil {
				return err
			}
			return &retryError{err: fmt.Errorf("%s: the server sends %q, asked for was %q", f.src, res.Header.Get("Content-Range"), want)}
		}
	}
	stall := time.AfterFunc(f.stall, func() { cancel(fmt.Errorf("nothing came for %s", f.stall)) })
	defer stall.Stop()
	return f.copy(ctx, p, r, res, stall)
}

// get requests the file from an offset on, and follows redirects. It fails if
// the hub now speaks of another file.
func (f *fetcher) get(ctx context.Context, offset int64, r remote) (*http.Response, error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if r.direct && r.etag != "" {
			header.Set("If-Range", `"`+r.etag+`"`)
		}
	}
	at := f.src.url()
	for range maxRedirects {
		res, err := f.send(ctx, http.MethodGet, at, header)
		if err != nil {
			return nil, err
		}
		next, err := f.redirect(res)
		if err != nil {
			res.Body.Close()
			return nil, err
		}
		linked := res.Header.Get("X-Linked-Etag") != ""
		if tag := strongTag(res.Header); f.trusted(at) && (linked || next == nil && r.direct) && tag != r.etag && res.StatusCode < 400 {
			res.Body.Close()
			return nil, &retryError{err: fmt.Errorf("%s: the file changed on the hub", f.src)}
		}
		if next == nil {
			if enc := res.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
				res.Body.Close()
				return nil, fmt.Errorf("%s: the server compresses what it was asked to send as it is", at.Host)
			}
			return res, nil
		}
		res.Body.Close()
		at = next
	}
	return nil, fmt.Errorf("%s: more than %d redirects: check the endpoint", f.src, maxRedirects)
}

// copy moves a body to the part. What the connection breaks may be tried again,
// what the disk breaks not.
func (f *fetcher) copy(ctx context.Context, p *part, r remote, res *http.Response, stall *time.Timer) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := res.Body.Read(buf)
		if p.size+int64(n) > r.size {
			if err := p.restart(); err != nil {
				return err
			}
			return &retryError{err: fmt.Errorf("%s: the server sends more than the %d bytes that it said", f.src, r.size)}
		}
		if n > 0 {
			stall.Reset(f.stall)
			if err := p.append(buf[:n]); err != nil {
				return err
			}
			f.received += int64(n)
			f.progress("fetching", p.size, r.size)
		}
		switch {
		case errors.Is(err, io.EOF) && p.size == r.size:
			return nil
		case errors.Is(err, io.EOF):
			return &retryError{err: fmt.Errorf("%s: cut off after %d of %d bytes", f.src, p.size, r.size)}
		case err != nil && ctx.Err() != nil:
			return &retryError{err: fmt.Errorf("%s: %w", f.src, context.Cause(ctx))}
		case err != nil:
			return &retryError{err: fmt.Errorf("%s: after %d of %d bytes: %w", f.src, p.size, r.size, err)}
		}
	}
}
