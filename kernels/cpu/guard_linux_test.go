package cpu

import (
	"math"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/graph"
)

// guarded returns a function that places copies of buffers against pages that
// cannot be touched: with their ends, or with their beginnings.
func guarded(t *testing.T, atEnd bool) func(b []byte) []byte {
	return func(b []byte) []byte {
		page := os.Getpagesize()
		size := (len(b)+page-1)/page*page + 2*page
		m, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Munmap(m) })
		for _, guard := range [][]byte{m[:page], m[size-page:]} {
			if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
				t.Fatal(err)
			}
		}
		out := m[page:][:len(b):len(b)]
		if atEnd {
			out = m[size-page-len(b):][:len(b):len(b)]
		}
		copy(out, b)
		return out
	}
}

func floatBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// TestGuardPages runs every kernel with every buffer against pages that fault.
func TestGuardPages(t *testing.T) {
	forTiers(t, func(t *testing.T, k *Kernels) {
		for _, atEnd := range []bool{true, false} {
			place := guarded(t, atEnd)
			floats := func(x []float32) []float32 {
				b := place(floatBytes(x))
				return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(x))
			}
			guardLinear(k, place, floats, t)
			guardVectors(k, place, floats)
			guardAttention(k, place, floats)
		}
	})
}

func guardLinear(k *Kernels, place func([]byte) []byte, floats func([]float32) []float32, t *testing.T) {
	for _, typ := range append(append([]graph.DType{}, quantTypes...), floatTypes...) {
		kdims := []int{typ.BlockElems(), 3 * typ.BlockElems()}
		if !typ.Quantised() {
			kdims = []int{1, 2, 7, 32}
		}
		for _, kdim := range kdims {
			const rows = 5*GroupRows - 3
			w := pack(t, typ, rows, kdim, place(randomRows(newRand(1), typ, rows, kdim)))
			w.Data = place(w.Data)
			for m := 1; m <= MaxTile; m++ {
				x := floats(normals(newRand(2), make([]float32, m*kdim), 1))
				y := floats(make([]float32, m*5*GroupRows))
				var tile []byte
				if Int8Weights(typ) {
					tile = place(make([]byte, TileBytes(kdim, m)))
					k.Quantize(tile, x, kdim, kdim, m)
				} else {
					tile = place(make([]byte, FloatTileBytes(kdim, m)))
					k.FloatTile(tile, x, kdim, kdim, m)
				}
				k.Linear(y, 5*GroupRows, tile, m, w, 0, 5)
			}
		}
	}
}

func guardVectors(k *Kernels, place func([]byte) []byte, floats func([]float32) []float32) {
	for _, n := range lengths {
		x, y, dst := floats(make([]float32, n)), floats(make([]float32, n)), floats(make([]float32, n))
		k.Add(dst, x, y)
		k.Mul(dst, x, y)
		k.SiLUMul(dst, x, y)
		k.ScaleTo(dst, x, 2)
		k.RMSNorm(dst, x, y, 1e-5)
		k.ArgMax(x)
		x[n-1] = 1
		k.ArgMax(x)
		k.merge(dst, x, 1, 1)
		k.toF16(place(make([]byte, 2*n)), x)
		k.Hadamard(floats(make([]float32, n/32*32)))
		ones := floats([]float32{1, 1, 1})
		k.MergeChunks(ones[:1], ones[1:2], dst, ones[1:2], ones[2:], x, 1, n)
		for _, interleaved := range []bool{false, true} {
			k.RoPE(floats(make([]float32, 6*n)), 3, 2*n, x, y, interleaved)
		}
	}
}

func guardAttention(k *Kernels, place func([]byte) []byte, floats func([]float32) []float32) {
	for _, typ := range kvTypes {
		for _, dim := range kvDims(typ, 2, 16, 32, 48, 64, 80, 96, 128) {
			c := chunkOf(newRand(1), typ, dim, 0, ChunkSlots)
			for b := range c.K {
				for _, p := range []*unsafe.Pointer{&c.K[b], &c.V[b]} {
					*p = unsafePointer(place(unsafe.Slice((*byte)(*p), KVBytes(typ, dim))))
				}
			}
			k.StoreK(unsafe.Slice((*byte)(c.K[0]), KVBytes(typ, dim)), typ, dim, 31, floats(make([]float32, dim)))
			k.StoreV(unsafe.Slice((*byte)(c.V[0]), KVBytes(typ, dim)), typ, dim, 31, floats(make([]float32, dim)))
			for n := 1; n <= 13; n += 2 {
				first, last := make([]int32, n), make([]int32, n)
				for i := range last {
					first[i], last[i] = int32(i), int32(ChunkSlots-n+i+1)
				}
				q := floats(make([]float32, n*dim))
				scratch, m, l, acc := floats(make([]float32, AttendScratch(n, dim))), floats(make([]float32, n)), floats(make([]float32, n)), floats(make([]float32, n*dim))
				k.AttendChunk(c, q, n, first, last, scratch, m, l, acc)
				k.Finish(acc[:dim], acc[:dim], float32(math.Pi))
			}
		}
	}
}
