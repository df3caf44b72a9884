package weights

import (
	"bytes"
	"errors"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/mutate"
)

// FuzzOpenGGUF: any bytes are refused with a FormatError, or give a File that is
// what Open promises.
func FuzzOpenGGUF(f *testing.F) {
	mutate.Add(f, seedsGGUF())
	f.Fuzz(func(t *testing.T, data []byte) { fuzzGGUF(t, data) })
}

func TestMutantsGGUF(t *testing.T) {
	mutate.Fuzz(t, "FuzzOpenGGUF", seedsGGUF(), func(in mutate.Input) error { return fuzzGGUF(t, in[0].([]byte)) })
}

func seedsGGUF() []mutate.Input {
	seeds := []mutate.Input{{sample()}}
	for _, c := range hostiles() {
		seeds = append(seeds, mutate.Input{c.data})
	}
	return seeds
}

func fuzzGGUF(t *testing.T, data []byte) error {
	file, err := parse("fuzz", data)
	if err != nil {
		return problem(t, file, err)
	}
	checkConsistent(t, file)
	return nil
}

// problem says what is wrong with a refused file, not where. A refusal is a
// FormatError, and there is no File then.
func problem(t *testing.T, file *File, err error) error {
	var format *FormatError
	if !errors.As(err, &format) || file != nil {
		t.Fatalf("file %v, error %T %v", file, err, err)
	}
	return errors.New(format.Problem)
}

// FuzzDequantize: for any type and lengths it refuses or fills dst, writes
// nowhere else, and takes each block by itself.
func FuzzDequantize(f *testing.F) {
	for _, dtype := range floatTypes {
		src, want := golden(f, dtype)
		blocks := 2 * dtype.BlockElems()
		if len(want) < blocks {
			f.Fatalf("%s: golden is too short", dtype)
		}
		f.Add(uint8(dtype), uint16(blocks), src[:dtype.RowBytes(blocks)])
	}
	f.Add(uint8(255), uint16(0), []byte(nil))
	f.Fuzz(func(t *testing.T, id uint8, n uint16, src []byte) {
		dtype := graph.DType(id)
		const canary = 12345
		whole := make([]float32, int(n)+8)
		for i := range whole {
			whole[i] = canary
		}
		before := bytes.Clone(src)
		err := Dequantize(dtype, whole[:n], src)
		for _, v := range whole[n:] {
			if v != canary {
				t.Fatal("wrote past the end")
			}
		}
		if !bytes.Equal(src, before) {
			t.Fatal("changed its source")
		}
		if err != nil {
			return
		}
		if len(src) != dtype.RowBytes(int(n)) || int(n)%dtype.BlockElems() != 0 {
			t.Fatalf("%s: took %d elements from %d bytes", dtype, n, len(src))
		}
		if n == 0 {
			return
		}
		last := make([]float32, dtype.BlockElems())
		if err := Dequantize(dtype, last, src[len(src)-dtype.BlockBytes():]); err != nil {
			t.Fatal(err)
		}
		for i, v := range last {
			if got := whole[int(n)-len(last)+i]; got != v && (got == got || v == v) {
				t.Fatalf("%s: element %d of the last block is %v alone, %v in the row", dtype, i, v, got)
			}
		}
	})
}
