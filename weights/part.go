package weights

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/zeebo/blake3"
)

// part is one file of a model, mapped read-only.
type part struct {
	path string
	data []byte   // the whole file
	file *os.File // for the digest; nil if the bytes did not come from a file

	digestOnce sync.Once
	digest     [32]byte
	digestErr  error
}

// openPart maps a file.
func openPart(path string) (*part, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // before opening: opening a pipe would wait
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := mapWhole(path, file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &part{path: path, data: data, file: file}, nil
}

func mapWhole(path string, file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size == 0 {
		return nil, &FormatError{Path: path, Where: "header", Problem: "the file is empty", Err: ErrFormat}
	}
	if !fitsInt(uint64(size)) {
		return nil, fmt.Errorf("%s: a file of %d bytes cannot be mapped here", path, size)
	}
	data, err := mapFile(file, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: map: %w", path, err)
	}
	return data, nil
}

// close unmaps the file.
func (p *part) close() error {
	if p.file == nil {
		return nil
	}
	if err := unmapFile(p.data); err != nil {
		return err
	}
	return p.file.Close()
}

// digestChunk is how much of a file is read at a time for its digest, in bytes.
const digestChunk = 1 << 20

// sum returns the BLAKE3 of the whole file, worked out once.
func (p *part) sum() ([32]byte, error) {
	p.digestOnce.Do(func() { p.digest, p.digestErr = p.computeDigest() })
	return p.digest, p.digestErr
}

func (p *part) computeDigest() (sum [32]byte, err error) {
	h := blake3.New()
	if p.file == nil {
		_, err = h.Write(p.data)
	} else {
		var n int64
		size := int64(len(p.data))
		n, err = io.CopyBuffer(struct{ io.Writer }{h}, io.NewSectionReader(p.file, 0, size), make([]byte, digestChunk))
		if err == nil && n != size {
			err = io.ErrUnexpectedEOF // cut short since it was opened
		}
	}
	if err != nil {
		return sum, fmt.Errorf("%s: digest: %w", p.path, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
