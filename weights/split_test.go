package weights

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	gw "github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
)

// splitPart is part no of count, with a tensor of its own.
func splitPart(no, count, total int) []byte {
	meta := []gw.KV{{Key: "split.no", Value: uint16(no)}, {Key: "split.count", Value: uint16(count)}}
	if no == 0 {
		meta = append(meta, gw.KV{Key: "split.tensors.count", Value: int32(total)}, gw.KV{Key: "general.name", Value: "whole"})
	}
	return gw.Build(meta, []gw.TensorSpec{{Name: fmt.Sprintf("t%d", no), Type: graph.F32, Shape: []int{2}, Data: []byte{1, 2, 3, 4, 5, 6, 7, byte(no)}}})
}

// writeSplit writes three parts and returns their paths.
func writeSplit(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	paths := make([]string, 3)
	for no := range paths {
		paths[no] = filepath.Join(dir, fmt.Sprintf("m-%05d-of-00003.gguf", no+1))
		write(t, paths[no], splitPart(no, 3, 3))
	}
	return paths
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSplit(t *testing.T) {
	paths := writeSplit(t)
	var digests [][32]byte
	for _, path := range paths { // whichever is named, it is the same model
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i, x := range f.Tensors() {
			names = append(names, x.Name)
			if x.Data[7] != byte(i) || f.PartOf(x.Name) != paths[i] {
				t.Errorf("%s: %v in %s", x.Name, x.Data, f.PartOf(x.Name))
			}
			f.Drop(x)
		}
		if name, err := f.Meta().String("general.name"); err != nil || name != "whole" || !slices.Equal(names, []string{"t0", "t1", "t2"}) {
			t.Errorf("%s: %q, %v, tensors %q", path, name, err, names)
		}
		size := int64(0)
		for no := range paths {
			size += int64(len(splitPart(no, 3, 3)))
		}
		if f.Size() != size || len(f.Parts()) != 3 || f.Path() != path {
			t.Errorf("%d bytes, %d parts, %s", f.Size(), len(f.Parts()), f.Path())
		}
		sum, err := f.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, sum)
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Error(err)
		}
	}
	if digests[0] != digests[1] || digests[0] != digests[2] {
		t.Error("the digest depends on the part that was named")
	}
	changed := splitPart(2, 3, 3)
	changed[len(changed)-1] = 9
	write(t, paths[2], changed)
	f, err := Open(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if sum, err := f.Digest(); err != nil || sum == digests[0] {
		t.Errorf("a changed part has the digest of the old one, %v", err)
	}
}

func TestSplitErrors(t *testing.T) {
	rename := func(no int, name string) func(t *testing.T, paths []string) {
		return func(t *testing.T, paths []string) {
			path := filepath.Join(filepath.Dir(paths[no]), name)
			if err := os.Rename(paths[no], path); err != nil {
				t.Fatal(err)
			}
			paths[no] = path
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, paths []string)
		says  string
	}{
		{"missing", func(t *testing.T, paths []string) { os.Remove(paths[1]) }, "m-00002-of-00003.gguf: part 2 of 3: the file is missing"},
		{"other name", rename(0, "model.gguf"), "model.gguf: key split.count: the file is part 1 of 3, but is not called"},
		{"number in the name", func(t *testing.T, paths []string) { write(t, paths[0], splitPart(1, 3, 3)) }, "says that it is part 2 of 3"},
		{"number of another part", func(t *testing.T, paths []string) { write(t, paths[2], splitPart(1, 3, 3)) }, "00003-of-00003.gguf: key split.count"},
		{"count of another part", func(t *testing.T, paths []string) { write(t, paths[1], splitPart(1, 4, 3)) }, "one of 4, the others are of 3"},
		{"whole among parts", func(t *testing.T, paths []string) { write(t, paths[1], gw.Build(nil, nil)) }, "one of 1, the others are of 3"},
		{"too many", func(t *testing.T, paths []string) { write(t, paths[0], splitPart(0, 2000, 3)) }, "at most 1000"},
		{"tensor twice", func(t *testing.T, paths []string) {
			data := splitPart(1, 3, 3)
			data[strings.Index(string(data), "t1")+1] = '0'
			write(t, paths[1], data)
		}, "00002-of-00003.gguf: tensor t0: is in"},
		{"tensors missing", func(t *testing.T, paths []string) { write(t, paths[0], splitPart(0, 3, 7)) }, "split.tensors.count is 7, the parts have 3 tensors"},
		{"damaged", func(t *testing.T, paths []string) { write(t, paths[2], []byte("GGUF")) }, "00003-of-00003.gguf: header"},
		{"empty", func(t *testing.T, paths []string) { write(t, paths[2], nil) }, "00003-of-00003.gguf: header: the file is empty"},
	} {
		paths := writeSplit(t)
		c.spoil(t, paths)
		f, err := Open(paths[0])
		if f != nil || err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v does not say %q in one line", c.name, err, c.says)
		}
		var format *FormatError
		if !errors.As(err, &format) {
			t.Errorf("%s: %T", c.name, err)
		}
	}
}
