package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/mutate"
	sw "github.com/holdfast-run/holdfast/internal/testkit/safewrite"
)

// safeSample is a file of every type that is carried, with odd offsets.
func safeSample() []byte {
	return sw.Build(
		sw.Tensor{Name: "a", DType: "F16", Shape: []int{3}, Data: []byte{0, 0x3c, 0, 0x40, 0, 0x42}},
		sw.Tensor{Name: "model.b", DType: "F32", Shape: []int{1, 2}, Data: []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}},
		sw.Tensor{Name: "c", DType: "BF16", Shape: []int{2, 1, 1, 1}, Data: []byte{0x80, 0x3f, 0, 0x40}},
	)
}

func parseSafe(data []byte) (*File, error) {
	return parseSafetensors(&part{path: "m.safetensors", data: data})
}

func TestSafetensors(t *testing.T) {
	f, err := parseSafe(safeSample())
	if err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, f)
	want := map[string]struct {
		dtype graph.DType
		shape []int
	}{"a": {graph.F16, []int{3}}, "model.b": {graph.F32, []int{1, 2}}, "c": {graph.BF16, []int{2, 1, 1, 1}}}
	for name, w := range want {
		x, ok := f.Tensor(name)
		values := make([]float32, x.Elems())
		if !ok || x.Type != w.dtype || !slices.Equal(x.Shape, w.shape) || Dequantize(x.Type, values, x.Data) != nil {
			t.Fatalf("%s: %v of %s", name, x.Shape, x.Type)
		}
		for i, v := range values {
			if v != float32(i+1) {
				t.Errorf("%s = %v", name, values)
			}
		}
	}
	data := sw.Raw(`{"__metadata__":{"format":"pt","x":{}}, "t":{"shape":[1],"data_offsets":[0,4],"dtype":"F32"}}   `, make([]byte, 4))
	if f, err := parseSafe(data); err != nil || len(f.Tensors()) != 1 {
		t.Errorf("metadata and spaces: %v", err)
	}
}

// one is a file with a single entry for the tensor t over 8 bytes of data.
func one(entry string) []byte { return sw.Raw(`{"t":`+entry+`}`, make([]byte, 8)) }

func hostileSafetensors() []hostile {
	good := `{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	format := func(name, entry string, says ...string) hostile { return hostile{name, one(entry), ErrFormat, says} }
	header := func(name, text string, says ...string) hostile {
		return hostile{name, sw.Raw(text, nil), ErrFormat, says}
	}
	return []hostile{
		{"empty", nil, ErrFormat, []string{"0 bytes"}},
		{"header past the file", []byte{9, 0, 0, 0, 0, 0, 0, 0, '{'}, ErrFormat, []string{"header of 9 bytes in a file of 9"}},
		{"header of 2^64-1", []byte{255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}, ErrFormat, []string{"limit"}},
		header("no JSON", "", "malformed"),
		header("not an object", "[]", "header: [ where { is wanted"),
		header("cut short", `{"a":`, "malformed at byte"),
		header("two objects", `{}{}`, "something follows"),
		header("more than an object", `{}x`, "something follows"),
		header("name twice", `{"__metadata__":1,"__metadata__":2}`, "malformed"),
		header("invalid UTF-8", "{\"\xff\":1}", "malformed"),
		header("deep", `{"__metadata__":`+strings.Repeat("[", 20000), "malformed"),
		header("long name", `{"`+strings.Repeat("n", 257)+`":1}`, "257 bytes"),
		header("empty name", `{"":1}`, "name has 0 bytes"),
		format("no object", `7`, "tensor t: number where { is wanted"),
		format("no dtype", `{"shape":[2],"data_offsets":[0,8]}`, "no dtype"),
		format("no offsets", `{"shape":[2],"dtype":"F32"}`, "data_offsets"),
		format("one offset", `{"shape":[2],"dtype":"F32","data_offsets":[0]}`, "data_offsets"),
		format("three offsets", `{"shape":[2],"dtype":"F32","data_offsets":[0,1,8]}`, "more than 2"),
		format("unknown field", `{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}`, "x, which the format does not define"),
		format("fraction", `{"dtype":"F32","shape":[1.5],"data_offsets":[0,8]}`, "1.5"),
		format("exponent", `{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}`, "whole"),
		format("negative", `{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}`, "-2"),
		format("text for a number", `{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}`, "whole numbers"),
		format("five dimensions", `{"dtype":"F32","shape":[1,1,1,1,2],"data_offsets":[0,8]}`, "more than 4"),
		format("dimension of 0", `{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, "a dimension is 0"),
		format("product over 2^64", `{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}`, "too many"),
		format("offsets past the file", `{"dtype":"F32","shape":[2],"data_offsets":[4,12]}`, "not in the 8 bytes"),
		format("offsets the wrong way", `{"dtype":"F32","shape":[2],"data_offsets":[8,0]}`, "not in the 8 bytes"),
		format("other size", `{"dtype":"F32","shape":[1],"data_offsets":[0,8]}`, "has 8 bytes, [1] of F32 takes 4"),
		format("hole before", `{"dtype":"F16","shape":[2],"data_offsets":[4,8]}`, "tensor t: data begins"),
		format("rest", `{"dtype":"F16","shape":[2],"data_offsets":[0,4]}`, "the tensors end at"),
		{"overlap", sw.Raw(`{"a":`+good+`,"t":`+strings.Replace(good, "[0,8]", "[4,12]", 1)+`}`, make([]byte, 12)), ErrFormat, []string{"tensor t: data begins"}},
		{"scalar", one(`{"dtype":"F32","shape":[],"data_offsets":[0,4]}`), ErrUnsupported, []string{"tensor t: is a scalar"}},
		{"FP8", one(`{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}`), ErrUnsupported, []string{
			"m.safetensors: tensor t: dtype F8_E4M3 is not supported; supported: F32, F16, BF16"}},
		{"I64", one(`{"dtype":"I64","shape":[1],"data_offsets":[0,8]}`), ErrUnsupported, []string{"dtype I64"}},
		{"control bytes", sw.Raw(`{"\u001b[31m":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}`, make([]byte, 8)), ErrUnsupported, []string{`tensor "\x1b[31m"`}},
	}
}

func TestHostileSafetensors(t *testing.T) {
	for _, c := range hostileSafetensors() {
		f, err := parseSafe(c.data)
		var format *FormatError
		if f != nil || !errors.Is(err, c.class) || !errors.As(err, &format) || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: %v, want %v", c.name, err, c.class)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not say %q", c.name, err, part)
			}
		}
	}
}

// TestSafetensorsFolder: one file, several, and what can be wrong with them.
func TestSafetensorsFolder(t *testing.T) {
	tensor := func(name string) sw.Tensor {
		return sw.Tensor{Name: name, DType: "F32", Shape: []int{1}, Data: []byte{0, 0, 0, name[0]}}
	}
	const x, y = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	whole := func() map[string][]byte {
		return map[string][]byte{
			"config.json": []byte("{}"), x: sw.Build(tensor("a"), tensor("b")), y: sw.Build(tensor("c")),
			"model.safetensors.index.json": sw.Index(map[string]string{"a": x, "b": x, "c": y}),
		}
	}
	dir := sw.Folder(t, whole())
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c, ok := f.Tensor("c"); !ok || c.Data[3] != 'c' || !strings.HasSuffix(f.PartOf("c"), y) || !f.Folder() || len(f.Meta().Keys()) != 0 {
		t.Errorf("c = %v in %s", c.Data, f.PartOf("c"))
	}
	for _, c := range []struct {
		name  string
		spoil func(files map[string][]byte)
		says  string
	}{
		{"no config", func(m map[string][]byte) { delete(m, "config.json") }, "file config.json: is missing"},
		{"no weights", func(m map[string][]byte) { delete(m, "model.safetensors.index.json") }, "file model.safetensors: is missing"},
		{"missing shard", func(m map[string][]byte) { delete(m, y) }, y + ": file 2 of 2 of model.safetensors.index.json: the file is missing"},
		{"empty shard", func(m map[string][]byte) { m[y] = nil }, y + ": header: the file is empty"},
		{"broken shard", func(m map[string][]byte) { m[y] = []byte("x") }, y + ": header"},
		{"FP8 shard", func(m map[string][]byte) {
			m[y] = sw.Build(sw.Tensor{Name: "c", DType: "F8_E5M2", Shape: []int{1}, Data: []byte{0}})
		}, y + ": tensor c: dtype F8_E5M2"},
		{"index of no JSON", func(m map[string][]byte) { m["model.safetensors.index.json"] = []byte("{") }, "file model.safetensors.index.json: "},
		{"index without files", func(m map[string][]byte) { m["model.safetensors.index.json"] = []byte("{}") }, "names 0 files"},
		{"tensor elsewhere", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": x, "b": y, "c": y})
		}, "has tensor b in " + y},
		{"tensor nowhere", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": x, "b": x, "c": y, "d": y})
		}, "has tensor d in " + y},
		{"tensor not in the index", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": x, "c": y})
		}, "has no tensor b"},
		{"tensor twice", func(m map[string][]byte) { m[y] = sw.Build(tensor("c"), tensor("a")) }, "tensor a: is in"},
		{"file outside", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": "../" + x})
		}, "names the file ../" + x},
		{"file of another kind", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": "config.json"})
		}, "names the file config.json"},
		{"name with a zero", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": "x\x00.safetensors"})
		}, `names the file "x\x00.safetensors"`},
		{"name too long", func(m map[string][]byte) {
			m["model.safetensors.index.json"] = sw.Index(map[string]string{"a": strings.Repeat("x", 250) + ".safetensors"})
		}, "names the file xxx"},
	} {
		files := whole()
		c.spoil(files)
		dir := sw.Folder(t, files)
		f, err := Open(dir)
		var format *FormatError
		if f != nil || !errors.As(err, &format) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v does not say %q", c.name, err, c.says)
		}
	}
	single := sw.Folder(t, map[string][]byte{"config.json": []byte("{}"), "model.safetensors": safeSample()})
	if f, err := Open(single); err != nil || len(f.Tensors()) != 3 || f.Close() != nil {
		t.Errorf("one file: %v", err)
	}
	if _, err := Open(single + "/model.safetensors"); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "give the folder") {
		t.Errorf("a file of a folder: %v", err)
	}
}

// TestFolderDigest: everything that changes numbers changes the digest.
func TestFolderDigest(t *testing.T) {
	digest := func(config string, data []byte, recast ...Recast) [32]byte {
		f, err := Open(sw.Folder(t, map[string][]byte{"config.json": []byte(config), "model.safetensors": data, "tokenizer.json": nil}))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if recast != nil {
			if err := f.Recast(recast); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := f.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	tensor := sw.Tensor{Name: "a", DType: "F32", Shape: []int{4, 32}, Data: make([]byte, 512)}
	other := tensor
	other.Data = append(make([]byte, 511), 1)
	one := digest("{}", sw.Build(tensor))
	if digest("{}", sw.Build(tensor)) != one {
		t.Error("the folder's name counts")
	}
	seen := map[[32]byte]string{one: "plain"}
	for name, sum := range map[string][32]byte{
		"config":     digest("{ }", sw.Build(tensor)),
		"weights":    digest("{}", sw.Build(other)),
		"name":       digest("{}", sw.Build(tensor), Recast{Name: "b", From: "a"}),
		"quantised":  digest("{}", sw.Build(tensor), Recast{Name: "b", From: "a", Type: graph.Q8_0}),
		"otherwise":  digest("{}", sw.Build(tensor), Recast{Name: "b", From: "a", Type: graph.Q4_0}),
		"interleave": digest("{}", sw.Build(tensor), Recast{Name: "b", From: "a", Interleave: 2}),
		"heads":      digest("{}", sw.Build(tensor), Recast{Name: "b", From: "a", Interleave: 1}),
		"one more":   digest("{}", sw.Build(tensor), Recast{Name: "b", From: "a", AddOne: true}),
	} {
		if before, ok := seen[sum]; ok {
			t.Errorf("%s has the digest of %s", name, before)
		}
		seen[sum] = name
	}
}

// FuzzOpenSafetensors: any bytes are refused with a FormatError, or give a File
// that is what Open promises.
func FuzzOpenSafetensors(f *testing.F) {
	mutate.Add(f, seedsSafetensors())
	f.Fuzz(func(t *testing.T, data []byte) { fuzzSafetensors(t, data) })
}

// TestMutantsSafetensors has the header's length right in every other input, so that
// what is in the header is reached.
func TestMutantsSafetensors(t *testing.T) {
	odd := false
	mutate.Fuzz(t, "FuzzOpenSafetensors", seedsSafetensors(), func(in mutate.Input) error {
		data := in[0].([]byte)
		if end := bytes.LastIndexByte(data, '}') + 1; odd && end > 8 {
			binary.LittleEndian.PutUint64(data, uint64(end-8))
		}
		odd = !odd
		return fuzzSafetensors(t, data)
	})
}

func seedsSafetensors() []mutate.Input {
	seeds := []mutate.Input{{safeSample()}}
	for _, c := range hostileSafetensors() {
		if len(c.data) < 1<<12 {
			seeds = append(seeds, mutate.Input{c.data})
		}
	}
	return seeds
}

func fuzzSafetensors(t *testing.T, data []byte) error {
	file, err := parseSafe(data)
	if err != nil {
		return problem(t, file, err)
	}
	checkConsistent(t, file)
	return nil
}

// FuzzIndex: any index is refused, or agrees with the files.
func FuzzIndex(f *testing.F) {
	mutate.Add(f, indexSeeds)
	dir := indexFolder(f)
	f.Fuzz(func(t *testing.T, data []byte) { fuzzIndex(t, dir, data) })
}

func TestMutantsIndex(t *testing.T) {
	dir := indexFolder(t)
	mutate.Fuzz(t, "FuzzIndex", indexSeeds, func(in mutate.Input) error { return fuzzIndex(t, dir, in[0].([]byte)) })
}

var indexSeeds = []mutate.Input{
	{[]byte(`{"weight_map":{"a":"x.safetensors"},"metadata":{"total_size":4}}`)},
	{[]byte(`{"weight_map":{"a":"../x.safetensors"}}`)},
	{[]byte(`{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}`)},
}

func indexFolder(t testing.TB) string {
	x := sw.Build(sw.Tensor{Name: "a", DType: "F32", Shape: []int{1}, Data: make([]byte, 4)})
	return sw.Folder(t, map[string][]byte{"config.json": []byte("{}"), "x.safetensors": x})
}

func fuzzIndex(t *testing.T, dir string, data []byte) error {
	file := &File{path: dir, meta: NewMetadata(nil), byName: map[string]int{}, texts: map[string][]byte{}, mapped: true}
	err := file.readSharded(data)
	if cerr := file.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	if err != nil {
		return problem(t, nil, err)
	}
	if len(file.tensors) != 1 || len(file.parts) != 1 {
		t.Fatalf("%d tensors", len(file.tensors))
	}
	return nil
}

func floats(t *testing.T, x Tensor) []float32 {
	t.Helper()
	values := make([]float32, x.Elems())
	if err := Dequantize(x.Type, values, x.Data); err != nil {
		t.Fatal(err)
	}
	return values
}

var inf = float32(math.Inf(1))
