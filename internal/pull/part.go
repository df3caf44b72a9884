package pull

import (
	"context"
	"crypto/sha1" //nolint:gosec // Git's name of a blob, not a secret
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// part is what has come of a file. It is locked while it is open, readable by
// its owner alone, and named after the ETag.
type part struct {
	file *os.File
	size int64
	sum  *sum // of the first size bytes, once rehash has run
	of   remote
}

// openPart opens or creates the part of a file, and removes parts of its other
// versions that nobody works on.
func openPart(dest string, r remote) (*part, error) {
	tag := sha256.Sum256([]byte(r.etag + "/" + strconv.FormatInt(r.size, 10)))
	path := partPath(dest, hex.EncodeToString(tag[:8]))
	for range 3 {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("%w: give a --dir that can be written to", err)
		}
		if err := lock(file); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", dest, err), file.Close())
		}
		// Who held the lock before may have moved the file to its place.
		opened, err1 := file.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(opened, named) {
			removeOthers(dest, path)
			return &part{file: file, size: opened.Size(), sum: newSum(r), of: r}, nil
		}
		_ = file.Close() // nothing was written
	}
	return nil, fmt.Errorf("%s: %w", dest, ErrLocked)
}

func partPath(dest, tag string) string {
	return filepath.Join(filepath.Dir(dest), "."+filepath.Base(dest)+"."+tag+".part")
}

func lock(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func removeOthers(dest, keep string) {
	entries, err := os.ReadDir(filepath.Dir(dest))
	if err != nil {
		return // what is left over harms nobody
	}
	for _, e := range entries {
		path := filepath.Join(filepath.Dir(dest), e.Name())
		rest, ok := strings.CutPrefix(e.Name(), "."+filepath.Base(dest)+".")
		if tag, end := strings.CutSuffix(rest, ".part"); !ok || !end || !isHex(tag, 16) || path == keep {
			continue
		}
		if file, err := os.Open(path); err == nil {
			if lock(file) == nil {
				_ = os.Remove(path)
			}
			_ = file.Close()
		}
	}
}

// restart forgets what has come.
func (p *part) restart() error {
	p.size, p.sum = 0, newSum(p.of)
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// rehash computes the digest of what lies there, and moves to its end.
func (p *part) rehash(ctx context.Context, progress func(string, int64, int64), total int64) error {
	p.sum = newSum(p.of)
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return hashFile(ctx, p.sum, p.file, p.size, progress, total)
}

// append writes the next bytes.
func (p *part) append(b []byte) error {
	n, err := p.file.Write(b)
	p.size += int64(n)
	p.sum.Write(b[:n])
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%s: %w: make room and run it again, it goes on from here", p.file.Name(), ErrSpace)
	}
	return err
}

// finish makes the part durable and gives it its place: after a crash there is
// the whole file or none.
func (p *part) finish(dest string) error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := p.file.Chmod(0o644 &^ umask()); err != nil {
		return err
	}
	if err := os.Rename(p.file.Name(), dest); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(dest))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (p *part) close() { _ = p.file.Close() } // what matters is synced by finish

// umask returns the process's mask, which can only be read without changing it
// where the kernel shows it.
func umask() os.FileMode {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o022
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Umask:"); ok {
			if m, err := strconv.ParseUint(strings.TrimSpace(rest), 8, 16); err == nil {
				return os.FileMode(m)
			}
		}
	}
	return 0o022
}

// digest is what the hub says of a file's content.
type digest struct {
	kind digestKind
	hex  string
}

type digestKind string

const (
	noDigest     digestKind = ""
	sha256Digest digestKind = "sha256"
	gitDigest    digestKind = "git-sha1" // of "blob SIZE\x00" and the content
)

func (d digest) String() string {
	if d.kind == noDigest {
		return ""
	}
	return string(d.kind) + ":" + d.hex
}

// sum computes the digest that the hub stated, or none.
type sum struct {
	hash.Hash
	kind digestKind
}

func newSum(r remote) *sum {
	switch r.digest.kind {
	case gitDigest:
		h := sha1.New() //nolint:gosec // see above
		fmt.Fprintf(h, "blob %d\x00", r.size)
		return &sum{h, gitDigest}
	default:
		return &sum{sha256.New(), sha256Digest}
	}
}

func (s *sum) String() string { return string(s.kind) + ":" + hex.EncodeToString(s.Sum(nil)) }

func (s *sum) matches(d digest) bool { return d.kind == noDigest || s.String() == d.String() }

// hashFile adds the next n bytes of a file.
func hashFile(ctx context.Context, s *sum, file *os.File, n int64, progress func(string, int64, int64), total int64) error {
	buf := make([]byte, 1<<20)
	for done := int64(0); done < n; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		k, err := file.Read(buf[:min(int64(len(buf)), n-done)])
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
		s.Write(buf[:k])
		done += int64(k)
		progress("checking", done, total)
	}
	return nil
}
