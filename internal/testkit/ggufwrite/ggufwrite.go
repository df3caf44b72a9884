// Package ggufwrite builds GGUF files in memory for tests: whole valid files
// with Build, and pieces with the Append functions, which write whatever they
// are given, so that a test can also make files that lie. It shares no code with
// the reader that it tests.
package ggufwrite

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
)

// Version is the GGUF version that Build writes.
const Version = 3

// DefaultAlignment is the alignment of tensor data, in bytes, unless metadata
// holds general.alignment.
const DefaultAlignment = 32

// KV is one metadata entry. Value is a bool, string, fixed-size integer or float
// (uint8 … float64), a slice of these, or a Raw.
type KV struct {
	Key   string
	Value any
}

// Raw is a value given as its kind and its bytes.
type Raw struct {
	Kind  uint32
	Bytes []byte
}

// TensorSpec is one tensor: Shape outermost first, Data as stored.
type TensorSpec struct {
	Name  string
	Type  graph.DType
	Shape []int
	Data  []byte
}

// Build returns a valid file of the given metadata and tensors, in their order.
// It panics if a tensor's data has not the size that its type and shape ask for.
func Build(meta []KV, tensors []TensorSpec) []byte {
	align := DefaultAlignment
	for _, kv := range meta {
		if a, ok := kv.Value.(uint32); ok && kv.Key == "general.alignment" {
			align = int(a)
		}
	}
	b := AppendHeader(nil, Version, uint64(len(tensors)), uint64(len(meta)))
	for _, kv := range meta {
		b = AppendKV(b, kv)
	}
	offset := 0
	for _, t := range tensors {
		b = AppendTensorInfo(b, t.Name, dims(t), TypeID(t.Type), uint64(offset))
		offset = pad(offset+len(t.Data), align)
	}
	for _, t := range tensors {
		b = append(b, make([]byte, pad(len(b), align)-len(b))...)
		b = append(b, t.Data...)
	}
	return b
}

// dims returns the dimensions innermost first and checks the data's size.
func dims(t TensorSpec) []uint64 {
	elems := 1
	out := make([]uint64, len(t.Shape))
	for i, d := range t.Shape {
		elems *= d
		out[len(t.Shape)-1-i] = uint64(d)
	}
	if want := t.Type.RowBytes(elems); want != len(t.Data) {
		panic(fmt.Sprintf("ggufwrite: tensor %s %v of %s takes %d bytes, got %d", t.Name, t.Shape, t.Type, want, len(t.Data)))
	}
	return out
}

func pad(n, align int) int { return (n + align - 1) / align * align }

// WriteFile writes a file for the length of a test and returns its path.
func WriteFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// F32 returns values as the data of an F32 tensor.
func F32(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// TypeID returns the number that a GGUF file stores for t.
func TypeID(t graph.DType) uint32 {
	id, ok := map[graph.DType]uint32{
		graph.F32: 0, graph.F16: 1, graph.Q4_0: 2, graph.Q4_1: 3, graph.Q5_0: 6, graph.Q5_1: 7, graph.Q8_0: 8,
		graph.Q4_K: 12, graph.Q5_K: 13, graph.Q6_K: 14, graph.I32: 26, graph.BF16: 30,
	}[t]
	if !ok {
		panic(fmt.Sprintf("ggufwrite: %s has no GGUF number", t))
	}
	return id
}
