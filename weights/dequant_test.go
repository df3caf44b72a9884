package weights

import (
	"encoding/binary"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
)

// floatTypes are the types that Dequantize takes.
var floatTypes = []graph.DType{
	graph.F32, graph.F16, graph.BF16, graph.Q8_0, graph.Q4_0, graph.Q4_1, graph.Q5_0, graph.Q5_1,
	graph.Q4_K, graph.Q5_K, graph.Q6_K,
}

// golden returns the stored bytes and the values of testdata/dequant/TYPE.bin.
func golden(t testing.TB, dtype graph.DType) (src []byte, want []uint32) {
	t.Helper()
	raw, err := os.ReadFile("testdata/dequant/" + dtype.String() + ".bin")
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint32(raw))
	src, rest := raw[4:4+dtype.RowBytes(n)], raw[4+dtype.RowBytes(n):]
	if len(rest) != 4*n || n == 0 {
		t.Fatalf("%s: %d elements, %d bytes of values", dtype, n, len(rest))
	}
	want = make([]uint32, n)
	for i := range want {
		want[i] = binary.LittleEndian.Uint32(rest[4*i:])
	}
	return src, want
}

func TestDequantizeGolden(t *testing.T) {
	for _, dtype := range floatTypes {
		src, want := golden(t, dtype)
		got := make([]float32, len(want))
		if err := Dequantize(dtype, got, src); err != nil {
			t.Errorf("%s: %v", dtype, err)
			continue
		}
		for i := range got {
			if math.Float32bits(got[i]) != want[i] {
				t.Errorf("%s: element %d is %v (%#08x), want %v (%#08x)", dtype, i, got[i], math.Float32bits(got[i]),
					math.Float32frombits(want[i]), want[i])
				break
			}
		}
	}
}

// TestDequantizeLengths: only lengths that agree pass, and nothing outside dst
// is written.
func TestDequantizeLengths(t *testing.T) {
	for _, dtype := range floatTypes {
		elems, size := dtype.BlockElems(), dtype.BlockBytes()
		for blocks := range 4 {
			for _, d := range []int{-1, 0, 1} {
				n := blocks*elems + d
				for _, e := range []int{-size, -1, 0, 1, size} {
					if n < 0 || blocks*size+e < 0 {
						continue
					}
					agree := n%elems == 0 && n/elems*size == blocks*size+e
					dst := make([]float32, n, n+300)
					canary := dst[n : n+300]
					for i := range canary {
						canary[i] = 12345
					}
					err := Dequantize(dtype, dst, make([]byte, blocks*size+e))
					if (err == nil) != agree {
						t.Errorf("%s: %d elements from %d bytes: %v", dtype, n, blocks*size+e, err)
					}
					for i, c := range canary {
						if c != 12345 {
							t.Fatalf("%s: wrote %d past the end", dtype, i)
						}
					}
				}
			}
		}
	}
	for _, dtype := range []graph.DType{graph.Invalid, graph.I32, graph.DType(200)} {
		if err := Dequantize(dtype, make([]float32, 1), make([]byte, 4)); err == nil || !strings.Contains(err.Error(), dtype.String()) {
			t.Errorf("%s: %v", dtype, err)
		}
	}
}
