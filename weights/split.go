package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
)

// Keys of a split GGUF file (ggml-org/llama.cpp, gguf-split).
const (
	keySplitCount   = "split.count"
	keySplitNumber  = "split.no"
	keySplitTensors = "split.tensors.count"
)

// maxParts bounds how many files a model may be in.
const maxParts = 1000

// splitName is how the parts of a split model are called; numbers start at 1.
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// openSplit returns f, a whole model, or the model that f is a part of: its parts
// are opened, f's file among them, in the order of their numbers. The first one
// has the metadata.
func openSplit(f *File) (*File, error) {
	count, err := f.meta.UintOr(keySplitCount, 1)
	if err == nil && count <= 1 {
		return f, nil
	}
	if err == nil {
		err = checkSplit(f, count)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	dir, name := filepath.Split(f.path)
	stem := splitName.FindStringSubmatch(name)[1]
	whole := &File{path: f.path, byName: map[string]int{}, mapped: true}
	for no := range count {
		path := filepath.Join(dir, fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, no+1, count))
		if err = whole.addNumbered(path, no, count); err != nil {
			break
		}
	}
	if err == nil {
		err = whole.checkTotal()
	}
	if err != nil {
		return nil, errors.Join(err, whole.Close())
	}
	return whole, nil
}

// checkSplit checks what a part says of itself against its name.
func checkSplit(f *File, count uint64) error {
	no, err := f.meta.Uint(keySplitNumber)
	if err != nil {
		return err
	}
	m := splitName.FindStringSubmatch(filepath.Base(f.path))
	if m == nil {
		return splitError(f.path, ErrUnsupported, "the file is part %d of %d, but is not called NAME-%05d-of-%05d.gguf, so the others cannot be found", no+1, count, no+1, count)
	}
	byName, _ := strconv.ParseUint(m[2], 10, 32) // five digits
	of, _ := strconv.ParseUint(m[3], 10, 32)
	if count > maxParts || of != count || byName != no+1 {
		return splitError(f.path, ErrFormat, "the file says that it is part %d of %d, at most %d are supported; its name says %d of %d", no+1, count, maxParts, byName, of)
	}
	return nil
}

func splitError(path string, class error, format string, args ...any) error {
	return &FormatError{Path: path, Where: "key " + keySplitCount, Problem: fmt.Sprintf(format, args...), Err: class}
}

// addNumbered opens part no, counted from 0, and adds it.
func (f *File) addNumbered(path string, no, count uint64) error {
	part, err := f.addPart(path, fmt.Sprintf("part %d of %d", no+1, count), func(p *part) (*File, error) {
		part, err := parseGGUF(p)
		if err != nil {
			return nil, err
		}
		have, err := part.meta.UintOr(keySplitCount, 1)
		if err != nil {
			return nil, err
		}
		if have != count {
			return nil, splitError(path, ErrFormat, "the file is one of %d, the others are of %d", have, count)
		}
		return part, checkSplit(part, count)
	})
	if err == nil && no == 0 {
		f.meta = part.meta
	}
	return err
}

// addPart opens a file and takes over its mapping and its tensors. The File that
// it returns is for its metadata. what says which part it is, for errors.
func (f *File) addPart(path, what string, parse func(*part) (*File, error)) (*File, error) {
	p, err := openPart(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FormatError{Path: path, Where: what, Problem: "the file is missing", Err: ErrFormat}
	}
	if err != nil {
		return nil, err
	}
	part, err := parse(p)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	f.parts = append(f.parts, p)
	for i, t := range part.tensors {
		if first, ok := f.byName[t.Name]; ok {
			return nil, &FormatError{Path: path, Where: "tensor " + printable(t.Name), Problem: "is in " + f.source(first) + " too", Err: ErrFormat}
		}
		f.byName[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
		f.places = append(f.places, place{part: len(f.parts) - 1, span: part.places[i].span})
	}
	return part, nil
}

// source returns the path of the file with tensor i, or with what it is made of.
func (f *File) source(i int) string {
	at := f.places[i]
	if at.part == made {
		at = f.origins[at.from]
	}
	return f.parts[at.part].path
}

// checkTotal compares the number of tensors with what the first part says.
func (f *File) checkTotal() error {
	want, err := f.meta.UintOr(keySplitTensors, uint64(len(f.tensors)))
	if err != nil {
		return err
	}
	if want != uint64(len(f.tensors)) {
		return splitError(f.parts[0].path, ErrFormat, "%s is %d, the parts have %d tensors", keySplitTensors, want, len(f.tensors))
	}
	return nil
}
