package weights

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	gw "github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
	sw "github.com/holdfast-run/holdfast/internal/testkit/safewrite"
)

// TestQuantize: byte for byte what the gguf Python package writes.
func TestQuantize(t *testing.T) {
	data, err := os.ReadFile("testdata/quant.bin")
	if err != nil {
		t.Fatal(err)
	}
	values := make([]float32, binary.LittleEndian.Uint32(data[4:]))
	rest := data[8:]
	decodeF32(values, rest)
	rest = rest[4*len(values):]
	for _, dtype := range []graph.DType{graph.Q8_0, graph.Q4_0} {
		got := make([]byte, dtype.RowBytes(len(values)))
		if err := Quantize(dtype, got, values); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(got); at += dtype.BlockBytes() {
			if want := rest[at : at+dtype.BlockBytes()]; !bytes.Equal(got[at:at+len(want)], want) {
				t.Errorf("%s: block %d is % x, want % x", dtype, at/len(want), got[at:at+len(want)], want)
			}
		}
		rest = rest[len(got):]
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes left", len(rest))
	}
}

func TestQuantizeErrors(t *testing.T) {
	nan := float32(math.NaN())
	for _, bad := range []float32{nan, inf, -inf, 1e8 * 127, -1e8} {
		for at := range 32 {
			x := make([]float32, 32)
			x[at], x[(at+1)%32] = bad, 1
			for _, dtype := range []graph.DType{graph.Q8_0, graph.Q4_0} {
				if err := Quantize(dtype, make([]byte, dtype.BlockBytes()), x); err == nil && (bad != -1e8 || dtype == graph.Q4_0) {
					t.Errorf("%s: took %v", dtype, bad)
				}
			}
		}
	}
	for _, err := range []error{
		Quantize(graph.Q4_K, make([]byte, 144), make([]float32, 256)),
		Quantize(graph.Q8_0, make([]byte, 34), make([]float32, 31)),
		Quantize(graph.Q8_0, make([]byte, 33), make([]float32, 32)),
	} {
		if err == nil {
			t.Error("accepted")
		}
	}
}

func f32s(values ...float32) []byte {
	b := make([]byte, 4*len(values))
	encodeF32(b, values)
	return b
}

func recastFile(t *testing.T, tensors ...gw.TensorSpec) *File {
	t.Helper()
	return open(t, gw.Build(nil, tensors))
}

func load(t *testing.T, f *File, all ...Recast) {
	t.Helper()
	if err := f.Recast(all); err != nil {
		t.Fatal(err)
	}
	calls := 0
	if err := f.Load(t.Context(), func(done, total int64) { calls++ }); err != nil {
		t.Fatal(err)
	}
}

func TestRecast(t *testing.T) {
	f := recastFile(t,
		gw.TensorSpec{Name: "q", Type: graph.F32, Shape: []int{8, 1}, Data: f32s(0, 1, 2, 3, 10, 11, 12, 13)},
		gw.TensorSpec{Name: "bias", Type: graph.F16, Shape: []int{4}, Data: []byte{0, 0, 1, 0, 2, 0, 3, 0}},
		gw.TensorSpec{Name: "norm", Type: graph.BF16, Shape: []int{2}, Data: []byte{0x80, 0x3f, 0x80, 0xbf}},
		gw.TensorSpec{Name: "rest", Type: graph.F32, Shape: []int{1}, Data: f32s(7)},
		gw.TensorSpec{Name: "left out", Type: graph.F32, Shape: []int{1}, Data: f32s(7)},
	)
	load(t, f, Recast{Name: "Q", From: "q", Interleave: 2}, Recast{Name: "B", From: "bias", Interleave: 1},
		Recast{Name: "N", From: "norm", AddOne: true}, Recast{Name: "R", From: "rest"})
	if len(f.Tensors()) != 4 || f.Made("R") || !f.Made("Q") || f.PartOf("Q") != f.Path() {
		t.Errorf("%d tensors", len(f.Tensors()))
	}
	for name, want := range map[string][]float32{
		"Q": {0, 2, 1, 3, 10, 12, 11, 13}, "N": {2, 0}, "R": {7},
	} {
		if x, _ := f.Tensor(name); !slices.Equal(floats(t, x), want) {
			t.Errorf("%s = %v, want %v", name, floats(t, x), want)
		}
	}
	if b, _ := f.Tensor("B"); b.Type != graph.F16 || !bytes.Equal(b.Data, []byte{0, 0, 2, 0, 1, 0, 3, 0}) {
		t.Errorf("B = % x of %s", b.Data, b.Type)
	}
	if _, ok := f.Tensor("left out"); ok {
		t.Error("a tensor that was not asked for is there")
	}
	for _, x := range f.Tensors() {
		f.Drop(x)
	}
}

// TestRecastQuantizes: rows of all types, and more than one task, become what
// Quantize makes of the whole.
func TestRecastQuantizes(t *testing.T) {
	const rows, cols = 700, 3200 // three tasks
	values := make([]float32, rows*cols)
	half := make([]byte, 2*len(values))
	for i := range values {
		bits := uint16(0x3c00 + i*7919%1000 - i%2<<15)
		binary.LittleEndian.PutUint16(half[2*i:], bits)
	}
	decodeF16(values, half)
	for _, source := range []gw.TensorSpec{
		{Name: "w", Type: graph.F16, Shape: []int{rows, cols}, Data: half},
		{Name: "w", Type: graph.F32, Shape: []int{rows, cols}, Data: f32s(values...)},
	} {
		for _, dtype := range []graph.DType{graph.Q8_0, graph.Q4_0} {
			f := recastFile(t, source)
			load(t, f, Recast{Name: "w", From: "w", Type: dtype})
			want := make([]byte, dtype.RowBytes(len(values)))
			if err := Quantize(dtype, want, values); err != nil {
				t.Fatal(err)
			}
			if x, _ := f.Tensor("w"); x.Type != dtype || !bytes.Equal(x.Data, want) {
				t.Errorf("%s of %s differs", x.Type, source.Type)
			}
		}
	}
}

func TestRecastErrors(t *testing.T) {
	bad := f32s(make([]float32, 32)...)
	binary.LittleEndian.PutUint32(bad[40:], math.Float32bits(float32(math.NaN())))
	specs := []gw.TensorSpec{
		{Name: "w", Type: graph.F32, Shape: []int{2, 16}, Data: f32s(make([]float32, 32)...)},
		{Name: "k", Type: graph.Q4_K, Shape: []int{1, 256}, Data: make([]byte, 144)},
		{Name: "i", Type: graph.I32, Shape: []int{2}, Data: make([]byte, 8)},
		{Name: "q", Type: graph.Q8_0, Shape: []int{64}, Data: make([]byte, 68)},
		{Name: "nan", Type: graph.F32, Shape: []int{1, 32}, Data: bad},
	}
	for _, c := range []struct {
		recast Recast
		says   string
	}{
		{Recast{Name: "x", From: "absent"}, "tensor absent: is missing"},
		{Recast{Name: "x", From: "w", Interleave: 3}, "tensor w: has 2 rows, which are not 3 heads"},
		{Recast{Name: "x", From: "w", Interleave: math.MaxInt}, "which are not 9223372036854775807 heads"},
		{Recast{Name: "x", From: "w", Type: graph.Q8_0}, "tensor w: has rows of 16 elements"},
		{Recast{Name: "x", From: "k", Type: graph.Q4_K, AddOne: true}, "cannot be made Q4_K of Q4_K"},
		{Recast{Name: "x", From: "i", AddOne: true}, "tensor i: cannot be made F32 of I32"},
		{Recast{Name: "x", From: "q", Interleave: 2}, "tensor q: is a vector of Q8_0"},
	} {
		f := recastFile(t, specs...)
		err := f.Recast([]Recast{c.recast})
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), f.Path()) {
			t.Errorf("%v: %v does not say %q", c.recast, err, c.says)
		}
	}
	f := recastFile(t, specs...)
	if err := f.Recast([]Recast{{Name: "x", From: "w"}, {Name: "x", From: "k"}}); err == nil || !strings.Contains(err.Error(), "tensor k: would be a second x") {
		t.Errorf("one name twice: %v", err)
	}
	if err := f.Recast([]Recast{{Name: "x", From: "nan", Type: graph.Q8_0}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Load(t.Context(), nil); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "tensor nan: holds a value that is not finite") {
		t.Errorf("NaN: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Load(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// FuzzRecast: whatever is asked of a real folder is refused, or gives tensors of
// the size that they say.
func FuzzRecast(f *testing.F) {
	for dtype := range uint8(16) {
		f.Add(uint8(0), dtype, 2, false)
		f.Add(uint8(1), dtype, 0, true)
		f.Add(uint8(2), dtype, 1, false)
	}
	dir := sw.Folder(f, map[string][]byte{"config.json": []byte("{}"), "model.safetensors": sw.Build(
		sw.Tensor{Name: "m", DType: "BF16", Shape: []int{4, 32}, Data: make([]byte, 256)},
		sw.Tensor{Name: "v", DType: "F16", Shape: []int{6}, Data: make([]byte, 12)},
		sw.Tensor{Name: "t", DType: "F32", Shape: []int{2, 1, 2}, Data: make([]byte, 16)})})
	f.Fuzz(func(t *testing.T, which, dtype uint8, heads int, addOne bool) {
		file, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		from := []string{"m", "v", "t"}[which%3]
		if file.Recast([]Recast{{Name: "x", From: from, Interleave: heads, Type: graph.DType(dtype), AddOne: addOne}}) != nil {
			return
		}
		if err := file.Load(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if x, _ := file.Tensor("x"); len(x.Data) != x.Type.RowBytes(x.Elems()) {
			t.Fatalf("%v of %s in %d bytes", x.Shape, x.Type, len(x.Data))
		}
	})
}
