package weights

import (
	"bytes"
	"errors"
	"os"
	"sync"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
)

// File is an open model: one GGUF file, the parts of a split one, or a folder of
// safetensors. Its methods may be called concurrently, but for Recast and Load,
// which come first; Close must not run while another goroutine reads tensor data.
type File struct {
	path    string
	parts   []*part
	meta    *Metadata
	texts   map[string][]byte // of a folder: its JSON files that were read
	tensors []Tensor          // in the order of the parts' tables
	places  []place           // of tensors
	byName  map[string]int

	// Of Recast: what it was given, and the tensors before it. made is the memory of
	// tensors that are not in the parts as they should be.
	recast   []Recast
	sources  []Tensor
	origins  []place // of sources
	made     *slab.Slab
	madeData []byte

	mu     sync.Mutex // guards mapped, and the mappings against Drop after Close
	mapped bool
}

// place says where a tensor's bytes are.
type place struct {
	part int // index in File.parts; made if Load makes it
	span     // in the part, or in File.madeData
	from int // for made: index of the source in File.sources
}

const made = -1

// Tensor is one tensor of a file. It is a small value to be passed by copy.
type Tensor struct {
	Name string
	Type graph.DType
	// Shape is outermost first (GGUF's dimensions reversed), so a matrix is
	// [rows, columns] with its columns contiguous. It has 1 to 4 entries, all
	// positive. Callers must not change it.
	Shape []int
	// Data is the tensor as stored: Type.RowBytes(Elems()) bytes that alias a
	// read-only mapping and are valid until the File is closed. Nothing is
	// promised of their alignment.
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

// Open maps a model and checks its structure. path is a GGUF file, any part of a
// split one (NAME-00001-of-00003.gguf), whose other parts lie beside it, or a
// folder as published on Hugging Face's hub: config.json and safetensors in one
// file or several. Errors about content are *FormatError; others come from the
// operating system and name the path.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return openFolder(path)
	}
	p, err := openPart(path)
	if err != nil {
		return nil, err
	}
	f, err := parseFile(p)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	if f, err = openSplit(f); err != nil {
		return nil, err
	}
	return f, nil
}

// parseFile reads a single file, which must be GGUF.
func parseFile(p *part) (*File, error) {
	if bytes.HasPrefix(p.data, []byte(ggufMagic)) || !looksLikeSafetensors(p.data) {
		return parseGGUF(p)
	}
	return nil, &FormatError{Path: p.path, Where: "header", Err: ErrUnsupported,
		Problem: "a safetensors file says too little of its model: give the folder that it is in, with its config.json"}
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
	var errs []error
	for _, p := range f.parts {
		errs = append(errs, p.close())
	}
	if f.made != nil {
		errs = append(errs, f.made.Close())
	}
	return errors.Join(errs...)
}

// Path returns the path given to Open.
func (f *File) Path() string { return f.path }

// Size returns the length of all of the model's weight files, in bytes.
func (f *File) Size() int64 {
	size := int64(0)
	for _, p := range f.parts {
		size += int64(len(p.data))
	}
	return size
}

// Meta returns the metadata of a GGUF file, which stays valid after Close. A
// folder has none: its Meta is empty.
func (f *File) Meta() *Metadata { return f.meta }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Tensors returns all tensors in the order of the files' tables. The slice
// belongs to the File; callers must not change it.
func (f *File) Tensors() []Tensor { return f.tensors }

// PartOf returns the path of the file that holds a tensor, for errors; the
// model's own path if there is no such tensor.
func (f *File) PartOf(name string) string {
	i, ok := f.byName[name]
	if !ok {
		return f.path
	}
	return f.source(i)
}

// Drop gives the memory of t's pages back to the system, once t has been
// repacked. t.Data of a tensor that Load made must not be read again; that of
// others stays valid: touching it reads the file again (from the page
// cache, while that lasts). Only pages wholly inside t are named; where the
// system maps huge pages it may drop neighbours too, which costs them a fault. It
// is advice: a failure changes nothing.
func (f *File) Drop(t Tensor) {
	i, ok := f.byName[t.Name]
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mapped {
		return
	}
	if at := f.places[i]; at.part == made {
		dropSpan(f.madeData, at.span)
	} else {
		dropSpan(f.parts[at.part].data, at.span)
	}
}

// dropSpan drops the pages wholly inside a span of a mapping.
func dropSpan(data []byte, s span) {
	page := uint64(os.Getpagesize())
	start := (s.start + page - 1) &^ (page - 1) // no overflow: it is an offset in the file
	if end := s.end &^ (page - 1); start < end {
		dropPages(data[start:end])
	}
}
