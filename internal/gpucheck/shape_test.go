package gpucheck

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/device/ref"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
)

// shape is a model without weights of its own.
type shape struct {
	Name           string
	layers         int
	dim, ffn       int
	heads, kvHeads int
	headDim        int
	vocab          int
	tied           bool
	bias           bool
	types          func(tensor string) graph.DType
}

// tensors lists the model's weights.
func (s shape) tensors() (list []ggufwrite.TensorSpec) {
	add := func(name string, dims ...int) {
		t := graph.F32
		if len(dims) == 2 {
			t = s.types(name)
		}
		list = append(list, ggufwrite.TensorSpec{Name: name, Type: t, Shape: dims})
	}
	add("token_embd.weight", s.vocab, s.dim)
	for i := range s.layers {
		name := func(part string) string { return fmt.Sprintf("blk.%d.%s.weight", i, part) }
		add(name("attn_norm"), s.dim)
		add(name("attn_q"), s.heads*s.headDim, s.dim)
		add(name("attn_k"), s.kvHeads*s.headDim, s.dim)
		add(name("attn_v"), s.kvHeads*s.headDim, s.dim)
		if s.bias { // of K alone: Q and V have none beside it
			add(fmt.Sprintf("blk.%d.attn_k.bias", i), s.kvHeads*s.headDim)
		}
		add(name("attn_output"), s.dim, s.heads*s.headDim)
		add(name("ffn_norm"), s.dim)
		add(name("ffn_gate"), s.ffn, s.dim)
		add(name("ffn_up"), s.ffn, s.dim)
		add(name("ffn_down"), s.dim, s.ffn)
	}
	add("output_norm.weight", s.dim)
	if !s.tied {
		add("output.weight", s.vocab, s.dim)
	}
	return list
}

func (s shape) meta() []ggufwrite.KV {
	u := func(key string, v int) ggufwrite.KV { return ggufwrite.KV{Key: "llama." + key, Value: uint32(v)} }
	return []ggufwrite.KV{
		{Key: "general.architecture", Value: "llama"},
		u("block_count", s.layers), u("embedding_length", s.dim), u("feed_forward_length", s.ffn), u("attention.head_count", s.heads),
		u("attention.head_count_kv", s.kvHeads), u("attention.key_length", s.headDim), u("attention.value_length", s.headDim), u("context_length", 131072),
		{Key: "llama.rope.freq_base", Value: float32(500000)},
	}
}

// write writes the model with random weights, and returns its path.
func (s shape) write(t testing.TB) string {
	rng := rand.New(rand.NewPCG(11, uint64(s.dim+s.headDim)))
	list := s.tensors()
	for i := range list {
		list[i].Data = random(rng, list[i])
	}
	return ggufwrite.WriteFile(t, ggufwrite.Build(s.meta(), list))
}

// writeEmpty writes the model as a file with holes for weights.
func (s shape) writeEmpty(t testing.TB) string {
	list, meta := s.tensors(), s.meta()
	b := ggufwrite.AppendHeader(nil, ggufwrite.Version, uint64(len(list)), uint64(len(meta)))
	for _, kv := range meta {
		b = ggufwrite.AppendKV(b, kv)
	}
	offset := uint64(0)
	for _, x := range list {
		elems, dims := 1, make([]uint64, len(x.Shape))
		for i, d := range x.Shape {
			elems *= d
			dims[len(dims)-1-i] = uint64(d)
		}
		b = ggufwrite.AppendTensorInfo(b, x.Name, dims, ggufwrite.TypeID(x.Type), offset)
		offset = (offset + uint64(x.Type.RowBytes(elems)) + 31) &^ 31
	}
	path := filepath.Join(t.TempDir(), "empty.gguf")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(b)+32)+int64(offset)); err != nil {
		t.Fatal(err)
	}
	return path
}

// random returns weights of a tensor: about 1/sqrt(inputs), norms and biases by hand.
func random(rng *rand.Rand, x ggufwrite.TensorSpec) []byte {
	elems := 1
	for _, d := range x.Shape {
		elems *= d
	}
	scale := 1 / math.Sqrt(float64(x.Shape[len(x.Shape)-1]))
	raw := make([]byte, x.Type.RowBytes(elems))
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	half := func(b []byte, v float64) { binary.LittleEndian.PutUint16(b, f16.FromFloat32(float32(v))) }
	for b := raw; len(b) > 0; b = b[x.Type.BlockBytes():] {
		switch x.Type {
		case graph.F32:
			v := 1 + 0.2*rng.NormFloat64()
			if len(x.Shape) == 2 {
				v = rng.NormFloat64() * scale
			}
			binary.LittleEndian.PutUint32(b, math.Float32bits(float32(v)))
		case graph.F16:
			half(b, rng.NormFloat64()*scale)
		case graph.BF16:
			binary.LittleEndian.PutUint16(b, f16.FromFloat32BF16(float32(rng.NormFloat64()*scale)))
		case graph.Q8_0:
			half(b, scale/74)
		case graph.Q4_0:
			half(b, scale/4.6)
		case graph.Q4_K: // d·sc·q - dmin·m, of about the same size
			half(b, scale/150)
			half(b[2:], scale/20)
		}
	}
	return raw
}

// kinds gives each tensor a type by its kind, or the one of "".
func kinds(of map[string]graph.DType) func(string) graph.DType {
	return func(name string) graph.DType {
		for kind, t := range of {
			if kind != "" && (name == kind+".weight" || len(name) > 6 && name[:4] == "blk." && name[len(name)-len(kind)-len(".weight"):] == kind+".weight") {
				return t
			}
		}
		return of[""]
	}
}

// TestShapes compares models of shapes that the tiny ones do not have with
// device/ref: heads of 64, 128 and 256, groups of 1, 4 and 8, layers side by side whose
// weights are of different types, a bias of one of three, odd vocabularies and lengths.
func TestShapes(t *testing.T) {
	for i, s := range []shape{
		{Name: "d256-group4-mixed", layers: 2, dim: 64, ffn: 96, heads: 4, kvHeads: 1, headDim: 256, vocab: 131, bias: true,
			types: kinds(map[string]graph.DType{"": graph.F32, "attn_q": graph.Q4_0, "attn_k": graph.BF16, "attn_v": graph.Q8_0, "ffn_up": graph.Q8_0, "output": graph.Q4_0})},
		{Name: "d128-group1-q4_k", layers: 1, dim: 256, ffn: 256, heads: 2, kvHeads: 2, headDim: 128, vocab: 67, tied: true,
			types: kinds(map[string]graph.DType{"": graph.Q4_K})},
		{Name: "d64-group8-q8_0", layers: 2, dim: 32, ffn: 64, heads: 8, kvHeads: 1, headDim: 64, vocab: 259, tied: true, types: kinds(map[string]graph.DType{"": graph.Q8_0, "ffn_gate": graph.F16})},
		{Name: "d96-f16", layers: 2, dim: 40, ffn: 24, heads: 3, kvHeads: 3, headDim: 96, vocab: 33, types: kinds(map[string]graph.DType{"": graph.F16})},
	} {
		t.Run(s.Name, func(t *testing.T) {
			path := s.write(t)
			tokens := sequence(s.vocab, 77, uint64(i))
			want := devicetest.Open(t, ref.Backend{}, path, small(128, 128, 96, 6)).Feed(0, 1, tokens, 77)
			r := devicetest.Open(t, invariant(t, uint64(30+i)), path, small(64, 64, 96, 6))
			got := r.Feed(0, 1, tokens[:70], 35)
			got = append(got, r.Feed(0, 1, tokens[70:], 1)...)
			var diff2, want2 float64
			for pos, row := range want {
				for id, w := range row {
					d := float64(got[pos][id]) - float64(w)
					diff2, want2 = diff2+d*d, want2+float64(w)*float64(w)
				}
			}
			ratio := math.Sqrt(diff2 / want2)
			t.Logf("logits differ by %.4f of their size", ratio)
			if !(ratio < tolerance) {
				t.Errorf("logits differ by %.4f of their size, bound %.4f", ratio, tolerance)
			}
		})
	}
}
