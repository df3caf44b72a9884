package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Files of a folder as published on Hugging Face's hub.
const (
	fileConfig = "config.json"
	fileSingle = "model.safetensors"
	fileIndex  = "model.safetensors.index.json"
)

// Limits of a folder's files beside the weights, in bytes.
const (
	maxText  = 1 << 27 // a tokenizer.json of 2^18 tokens has 35 MB
	maxIndex = 1 << 25
)

// maxFileName is the longest name that an index may give a file, in bytes: file
// systems refuse longer ones, and a zero in one, with errors of their own.
const maxFileName = 255

// safetensorsIndex is a model.safetensors.index.json.
type safetensorsIndex struct {
	Files map[string]string `json:"weight_map"` // by tensor
}

// openFolder opens config.json and the safetensors of a folder. Tensors keep the
// names that they have there; Recast gives them others.
func openFolder(path string) (*File, error) {
	f := &File{path: path, meta: NewMetadata(nil), byName: map[string]int{}, texts: map[string][]byte{}, mapped: true}
	if err := f.readFolder(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *File) readFolder() error {
	config, err := f.Text(fileConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return f.folderError(fileConfig, ErrUnsupported, "is missing: the folder is no model as published on Hugging Face's hub")
	}
	if err != nil {
		return err
	}
	f.texts[fileConfig] = config
	if _, err := os.Stat(filepath.Join(f.path, fileSingle)); err == nil {
		_, err := f.addPart(filepath.Join(f.path, fileSingle), "file", parseSafetensors)
		return err
	}
	index, err := f.Text(fileIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return f.folderError(fileSingle, ErrUnsupported, "is missing, and so is %s: weights in other formats are not supported", fileIndex)
	}
	if err != nil {
		return err
	}
	return f.readSharded(index)
}

// folderError is an error about one file of the folder.
func (f *File) folderError(name string, class error, format string, args ...any) error {
	return &FormatError{Path: f.path, Where: "file " + printable(name), Problem: fmt.Sprintf(format, args...), Err: class}
}

// readSharded opens the files that an index names and compares them with it.
func (f *File) readSharded(data []byte) error {
	if len(data) > maxIndex {
		return f.folderError(fileIndex, ErrFormat, "has %d bytes, limit %d", len(data), maxIndex)
	}
	var index safetensorsIndex
	if err := json.Unmarshal(data, &index); err != nil {
		return f.folderError(fileIndex, ErrFormat, "%v", err)
	}
	names := slices.Sorted(maps.Values(index.Files))
	names = slices.Compact(names)
	if len(names) == 0 || len(names) > maxParts {
		return f.folderError(fileIndex, ErrFormat, "weight_map names %d files, limits 1 and %d", len(names), maxParts)
	}
	for i, name := range names {
		if name != filepath.Base(name) || len(name) > maxFileName || strings.ContainsAny(name, "/\\\x00") || !strings.HasSuffix(name, ".safetensors") {
			return f.folderError(fileIndex, ErrFormat, "names the file %s: a safetensors file beside it is wanted", printable(name))
		}
		if _, err := f.addPart(filepath.Join(f.path, name), fmt.Sprintf("file %d of %d of %s", i+1, len(names), fileIndex), parseSafetensors); err != nil {
			return err
		}
	}
	return f.checkIndex(index.Files)
}

// checkIndex refuses an index and files that have not the same tensors.
func (f *File) checkIndex(files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if i, ok := f.byName[name]; !ok || filepath.Base(f.source(i)) != files[name] {
			return f.folderError(fileIndex, ErrFormat, "has tensor %s in %s, but it is not there", printable(name), printable(files[name]))
		}
	}
	for i, t := range f.tensors {
		if _, ok := files[t.Name]; !ok {
			return f.folderError(fileIndex, ErrFormat, "has no tensor %s, which is in %s", printable(t.Name), f.source(i))
		}
	}
	return nil
}

// Folder reports whether the model is a folder of safetensors: it has no Meta,
// but Texts.
func (f *File) Folder() bool { return f.texts != nil }

// Text returns a file of a folder beside the weights, such as tokenizer.json. The
// error of a file that is not there matches fs.ErrNotExist; errors name the path.
func (f *File) Text(name string) ([]byte, error) {
	if text, ok := f.texts[name]; ok {
		return text, nil
	}
	path := filepath.Join(f.path, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, f.folderError(name, ErrFormat, "is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxText+1))
	if err == nil && len(text) > maxText {
		return nil, f.folderError(name, ErrFormat, "has more than %d bytes", maxText)
	}
	return text, err
}
