package weights

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	gw "github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
)

// sample is a small valid file with every kind of value and several types.
func sample() []byte {
	return gw.Build([]gw.KV{
		{Key: "general.architecture", Value: "llama"},
		{Key: "general.alignment", Value: uint32(64)},
		{Key: "u8", Value: uint8(200)},
		{Key: "i8", Value: int8(-100)},
		{Key: "u16", Value: uint16(60000)},
		{Key: "i16", Value: int16(-30000)},
		{Key: "u32", Value: uint32(4e9)},
		{Key: "i32", Value: int32(-2e9)},
		{Key: "u64", Value: uint64(math.MaxUint64)},
		{Key: "i64", Value: int64(math.MinInt64)},
		{Key: "f32", Value: float32(0.1)},
		{Key: "f64", Value: 0.1},
		{Key: "yes", Value: true},
		{Key: "no", Value: false},
		{Key: "empty", Value: ""},
		{Key: "words", Value: []string{"a", "", "Ġthe", "\xff"}},
		{Key: "none", Value: []string{}},
		{Key: "ints", Value: []int32{-1, 0, 1}},
		{Key: "bytes", Value: []uint8{0, 255}},
		{Key: "big", Value: []uint64{1, 1 << 63}},
		{Key: "floats", Value: []float32{0.5, -2}},
		{Key: "bools", Value: []bool{true, false, true}},
	}, []gw.TensorSpec{
		{Name: "norm", Type: graph.F32, Shape: []int{3}, Data: gw.F32(1, 2, 3)},
		{Name: "matrix", Type: graph.Q8_0, Shape: []int{2, 32}, Data: bytes.Repeat([]byte{1}, 68)},
		{Name: "deep", Type: graph.BF16, Shape: []int{2, 1, 3, 4}, Data: bytes.Repeat([]byte{2}, 48)},
		{Name: "super", Type: graph.Q6_K, Shape: []int{1, 256}, Data: bytes.Repeat([]byte{3}, 210)},
	})
}

func TestParseSample(t *testing.T) {
	f, err := parse("m.gguf", sample())
	if err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, f)
	type row struct {
		name  string
		dtype graph.DType
		shape []int
		first byte
		bytes int
		elems int
	}
	want := []row{
		{"norm", graph.F32, []int{3}, 0, 12, 3},
		{"matrix", graph.Q8_0, []int{2, 32}, 1, 68, 64},
		{"deep", graph.BF16, []int{2, 1, 3, 4}, 2, 48, 24},
		{"super", graph.Q6_K, []int{1, 256}, 3, 210, 256},
	}
	var got []row
	for _, x := range f.Tensors() {
		got = append(got, row{x.Name, x.Type, x.Shape, x.Data[0], len(x.Data), x.Elems()})
		named, ok := f.Tensor(x.Name)
		if !ok || !reflect.DeepEqual(named, x) {
			t.Errorf("Tensor(%q) = %v, %v", x.Name, named, ok)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("tensors:\n got %v\nwant %v", got, want)
	}
	if _, ok := f.Tensor("absent"); ok {
		t.Error("a tensor that is not there was found")
	}
	keys := f.Meta().Keys()
	if len(keys) != 22 || keys[0] != "general.architecture" || keys[21] != "bools" {
		t.Errorf("keys = %q", keys)
	}
}

func TestVersions(t *testing.T) {
	for version, class := range map[uint32]error{
		2: nil, 3: nil, 0: ErrUnsupported, 1: ErrUnsupported, 4: ErrUnsupported,
		3 << 24: ErrUnsupported, // big-endian
	} {
		_, err := parse("m", gw.AppendHeader(nil, version, 0, 0))
		if !errors.Is(err, class) || (class == nil) != (err == nil) {
			t.Errorf("version %#x: %v, want %v", version, err, class)
		}
		if version == 3<<24 && !strings.Contains(err.Error(), "big-endian") {
			t.Errorf("big-endian file: %v", err)
		}
	}
}

// TestVocabularyOnly: a file without tensors need not even be padded.
func TestVocabularyOnly(t *testing.T) {
	f, err := parse("v", gw.Build([]gw.KV{{Key: "words", Value: []string{"a", "b"}}}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if words, err := f.Meta().Strings("words"); err != nil || !slices.Equal(words, []string{"a", "b"}) {
		t.Errorf("words = %q, %v", words, err)
	}
	if len(f.Tensors()) != 0 {
		t.Errorf("tensors = %v", f.Tensors())
	}
}

// TestGaps: order in the file is free, and so are unused bytes between tensors.
func TestGaps(t *testing.T) {
	b := gw.AppendHeader(nil, 3, 2, 0)
	b = gw.AppendTensorInfo(b, "late", []uint64{1}, 0, 64)
	b = gw.AppendTensorInfo(b, "early", []uint64{1}, 0, 0)
	b = append(b, make([]byte, 128-len(b))...)
	b = append(b, make([]byte, 68)...)
	b[128] = 1
	b[128+64] = 2
	f, err := parse("g", b)
	if err != nil {
		t.Fatal(err)
	}
	late, _ := f.Tensor("late")
	early, _ := f.Tensor("early")
	if late.Data[0] != 2 || early.Data[0] != 1 || f.Tensors()[0].Name != "late" {
		t.Errorf("late = %v, early = %v", late.Data, early.Data)
	}
}

// TestTruncated: every proper prefix of a file is refused, with what was missing.
func TestTruncated(t *testing.T) {
	whole := sample()
	for n := range whole {
		_, err := parse("m.gguf", whole[:n])
		if !errors.Is(err, ErrFormat) || !strings.HasPrefix(err.Error(), "m.gguf: ") {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	kind := bytes.Index(whole, []byte("floats")) + len("floats")
	for n, want := range map[int]string{
		3:              "header: file of 3 bytes ends while reading the magic: 4 bytes needed at offset 0",
		6:              "header: file of 6 bytes ends while reading the version: 4 bytes needed at offset 4",
		kind + 3:       "key floats: file of %d bytes ends while reading the value's kind: 4 bytes needed at offset %d",
		len(whole) - 1: "tensor super: data of 210 bytes at offset",
	} {
		if n == kind+3 {
			want = fmt.Sprintf(want, n, kind)
		}
		if _, err := parse("m.gguf", whole[:n]); !strings.HasPrefix(err.Error(), "m.gguf: "+want) {
			t.Errorf("%d bytes: %q, want %q", n, err, want)
		}
	}
}

// TestFlippedBytes: with any one byte changed, the file is refused or consistent.
func TestFlippedBytes(t *testing.T) {
	whole := sample()
	for i := range whole {
		for _, x := range []byte{0x01, 0x80, 0xff} {
			whole[i] ^= x
			if f, err := parse("m", whole); err == nil {
				checkConsistent(t, f)
			}
			whole[i] ^= x
		}
	}
}

// parse reads a GGUF file from memory.
func parse(path string, data []byte) (*File, error) { return parseGGUF(&part{path: path, data: data}) }

// checkConsistent checks what Open promises about a File, and reads everything.
func checkConsistent(t *testing.T, f *File) {
	t.Helper()
	data := f.parts[0].data
	used := make([]bool, len(data))
	for i, x := range f.Tensors() {
		if n := len(x.Shape); n < 1 || n > 4 || x.Elems() < 1 || x.Shape[n-1]%x.Type.BlockElems() != 0 {
			t.Fatalf("tensor %q: shape %v of %s", x.Name, x.Shape, x.Type)
		}
		if len(x.Data) != x.Type.RowBytes(x.Elems()) || cap(x.Data) != len(x.Data) {
			t.Fatalf("tensor %q: %v of %s in %d bytes", x.Name, x.Shape, x.Type, len(x.Data))
		}
		s := f.places[i].span
		if &data[s.start] != &x.Data[0] || s.end-s.start != uint64(len(x.Data)) {
			t.Fatalf("tensor %q: span %v", x.Name, s)
		}
		for at := s.start; at < s.end; at++ {
			if used[at] {
				t.Fatalf("tensor %q: byte %d belongs to two tensors", x.Name, at)
			}
			used[at] = true
		}
	}
	m := f.Meta()
	for _, key := range m.Keys() {
		errs := make([]error, 0, 8)
		add := func(_ any, err error) { errs = append(errs, err) }
		add(m.String(key))
		add(m.Uint(key))
		add(m.Float(key))
		add(m.Bool(key))
		add(m.Strings(key))
		add(m.Ints(key))
		add(m.Floats(key))
		add(m.Bools(key))
		ok := 0
		for _, err := range errs {
			if err == nil {
				ok++
			} else if !errors.Is(err, ErrFormat) {
				t.Fatalf("key %q: %v", key, err)
			}
		}
		if ok > 1 {
			t.Fatalf("key %q has %d kinds", key, ok)
		}
	}
}
