package weights

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/holdfast-run/holdfast/graph"
)

// File is an open model file. Its methods may be called concurrently; Close
// must not run while another goroutine reads tensor data.
type File struct {
	path    string
	data    []byte // the whole file, mapped read-only
	meta    *Metadata
	tensors []Tensor // in the order of the file
	spans   []span   // of tensors, as offsets in the file
	byName  map[string]int

	mu     sync.Mutex // guards mapped, and the mapping against Drop after Close
	mapped bool
	file   *os.File // for Digest; nil if the bytes did not come from a file

	digestOnce sync.Once
	digest     [32]byte
	digestErr  error
}

// Tensor is one tensor of a file. It is a small value to be passed by copy.
type Tensor struct {
	Name string
	Type graph.DType
	// Shape is outermost first (GGUF's dimensions reversed), so a matrix is
	// [rows, columns] with its columns contiguous. It has 1 to 4 entries, all
	// positive. Callers must not change it.
	Shape []int
	// Data is the tensor as stored: Type.RowBytes(Elems()) bytes that alias the
	// read-only mapping and are valid until the File is closed. It starts at a
	// multiple of at least 8 bytes.
	Data []byte
}

// Elems returns the number of elements, the product of Shape.
func (t Tensor) Elems() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Open maps a model file and checks its structure. The format is told by the
// file's first bytes; only GGUF is known so far. Errors about content are
// *FormatError; others come from the operating system and name the path.
func Open(path string) (*File, error) {
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
	f, err := openFile(path, file)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return f, nil
}

func openFile(path string, file *os.File) (*File, error) {
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
	f, err := parseGGUF(path, data)
	if err != nil {
		_ = unmapFile(data)
		return nil, err
	}
	f.mapped, f.file = true, file
	return f, nil
}

// Close unmaps the file. All Tensor.Data become invalid: touching them faults.
// Closing again does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mapped {
		return nil
	}
	f.mapped = false
	return errors.Join(unmapFile(f.data), f.file.Close())
}

// Path returns the path given to Open.
func (f *File) Path() string { return f.path }

// Size returns the file's length in bytes.
func (f *File) Size() int64 { return int64(len(f.data)) }

// Meta returns the file's metadata, which stays valid after Close.
func (f *File) Meta() *Metadata { return f.meta }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Tensors returns all tensors in the order of the file's table. The slice
// belongs to the File; callers must not change it.
func (f *File) Tensors() []Tensor { return f.tensors }

// Drop gives the memory of t's pages back to the system, once t has been
// repacked. t.Data stays valid: touching it reads the file again (from the page
// cache, while that lasts). Only pages wholly inside t are named; where the
// system maps huge pages it may drop neighbours too, which costs them a fault. It
// is advice: a failure changes nothing.
func (f *File) Drop(t Tensor) {
	i, ok := f.byName[t.Name]
	if !ok {
		return
	}
	page := uint64(os.Getpagesize())
	start := (f.spans[i].start + page - 1) &^ (page - 1) // no overflow: it is an offset in the file
	end := f.spans[i].end &^ (page - 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mapped && start < end {
		dropPages(f.data[start:end])
	}
}

// digestChunk is how much of the file Digest reads at a time, in bytes.
const digestChunk = 1 << 20

// Digest returns the BLAKE3 of the whole file. It is computed on the first call
// (about 0.8 GB/s on one core from the page cache; else the disk's pace) and
// remembered, a failure too; concurrent calls wait for the one that computes.
// It reads the file rather than the mapping: a cold page then costs a system
// call, which lets other goroutines run, and the hash leaves no pages mapped.
//
// A cache across processes, keyed by inode, size and times, is the caller's.
func (f *File) Digest() ([32]byte, error) {
	f.digestOnce.Do(func() { f.digest, f.digestErr = f.computeDigest() })
	return f.digest, f.digestErr
}

func (f *File) computeDigest() (sum [32]byte, err error) {
	h := blake3.New()
	if f.file == nil {
		_, err = h.Write(f.data)
	} else {
		var n int64
		n, err = io.CopyBuffer(struct{ io.Writer }{h}, io.NewSectionReader(f.file, 0, f.Size()), make([]byte, digestChunk))
		if err == nil && n != f.Size() {
			err = io.ErrUnexpectedEOF // cut short since it was opened
		}
	}
	if err != nil {
		return sum, fmt.Errorf("%s: digest: %w", f.path, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
