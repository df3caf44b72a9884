package weights

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// modelPath is where scripts/model.py puts the model; it is not committed.
const modelPath = "../models/SmolLM2-135M-Instruct.Q4_1.gguf"

func openModel(t testing.TB) *File {
	t.Helper()
	if _, err := os.Stat(modelPath); err != nil {
		t.Skip("the SmolLM2 model is absent; scripts/model.py smollm2 fetches it")
	}
	f, err := Open(modelPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// TestSmolLM2 compares a real file with what the gguf Python package reads.
func TestSmolLM2(t *testing.T) {
	f := openModel(t)
	raw, err := os.ReadFile("testdata/smollm2.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Keys    []string
		Uint    map[string]uint64
		Float   map[string]float64
		Strings map[string]string
		TypeSum int64 `json:"token_type_sum"`
		Tensors struct {
			Count int
			Names string
		}
		Samples []struct {
			Name, Type   string
			Shape        []int
			Data, Values string
		}
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	m := f.Meta()
	if !slices.Equal(m.Keys(), want.Keys) {
		t.Errorf("keys = %q", m.Keys())
	}
	for key, n := range want.Uint {
		if got, err := m.Uint(key); err != nil || got != n {
			t.Errorf("%s = %d, %v; want %d", key, got, err, n)
		}
	}
	for key, x := range want.Float {
		if got, err := m.Float(key); err != nil || got != x {
			t.Errorf("%s = %v, %v; want %v", key, got, err, x)
		}
	}
	for key, sum := range want.Strings {
		if got, err := m.Strings(key); err != nil || listing(got) != sum {
			t.Errorf("%s: %d strings differ, %v", key, len(got), err)
		}
	}
	types, err := m.Ints("tokenizer.ggml.token_type")
	var sum int64
	for _, n := range types {
		sum += n
	}
	if err != nil || sum != want.TypeSum {
		t.Errorf("token types: %v, sum %d, want %d", err, sum, want.TypeSum)
	}
	var names []string
	for _, x := range f.Tensors() {
		names = append(names, x.Name)
	}
	if len(names) != want.Tensors.Count || listing(names) != want.Tensors.Names {
		t.Errorf("%d tensors differ, want %d", len(names), want.Tensors.Count)
	}
	for _, s := range want.Samples {
		x, ok := f.Tensor(s.Name)
		if !ok || x.Type.String() != s.Type || !slices.Equal(x.Shape, s.Shape) || sha(x.Data) != s.Data {
			t.Errorf("tensor %s: %s %v, present %v", s.Name, x.Type, x.Shape, ok)
			continue
		}
		n := x.Elems()
		if len(x.Shape) > 1 {
			n = min(512, x.Shape[0]) * (n / x.Shape[0]) // smollm2.py's ROWS
		}
		values := make([]float32, n)
		if err := Dequantize(x.Type, values, x.Data[:x.Type.RowBytes(n)]); err != nil {
			t.Errorf("tensor %s: %v", s.Name, err)
			continue
		}
		bits := make([]byte, 0, 4*len(values))
		for _, v := range values {
			bits = binary.LittleEndian.AppendUint32(bits, math.Float32bits(v))
		}
		if sha(bits) != s.Values {
			t.Errorf("tensor %s: values differ", s.Name)
		}
	}
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// listing is smollm2.py's digest of a list of strings.
func listing(list []string) string {
	var b []byte
	for _, s := range list {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return sha(b)
}
