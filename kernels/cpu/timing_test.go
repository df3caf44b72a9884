package cpu

import (
	"testing"

	"github.com/holdfast-run/holdfast/graph"
)

// benchTiers runs f for each tier but the generic one.
func benchTiers(b *testing.B, f func(b *testing.B, k *Kernels)) {
	for _, tier := range Tiers() {
		if tier == Generic {
			continue
		}
		k, err := For(tier)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(tier.String(), func(b *testing.B) { f(b, k) })
	}
}

// BenchmarkRead reads memory that is larger than the caches: the roof of GEMV.
func BenchmarkRead(b *testing.B) {
	data := make([]uint64, 200<<20/8)
	for i := range data {
		data[i] = uint64(i)
	}
	b.SetBytes(int64(len(data) * 8))
	var sum uint64
	for b.Loop() {
		for i := 0; i < len(data); i += 8 {
			sum += data[i]
		}
	}
	sink = sum
}

var sink uint64

// BenchmarkGEMV multiplies one token by weights larger than the caches.
func BenchmarkGEMV(b *testing.B) {
	for _, typ := range []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q8_0, graph.Q4_K, graph.Q5_0, graph.Q5_1, graph.Q5_K, graph.Q6_K, graph.F16, graph.BF16, graph.F32} {
		b.Run(typ.String(), func(b *testing.B) {
			const kdim = 1536
			rows := 16
			size, _ := PackedBytes(typ, rows, kdim)
			groups := 200 << 20 / size
			rows = 16 * groups
			w := &Matrix{Type: typ, Rows: rows, K: kdim, Data: aligned(size * groups)}
			for i := range w.Data {
				w.Data[i] = byte(i % 61)
			}
			benchTiers(b, func(b *testing.B, k *Kernels) {
				y, tile := make([]float32, rows), tileOf(k, w, make([]float32, kdim), kdim, 1)
				b.SetBytes(int64(len(w.Data)))
				for b.Loop() {
					k.Linear(y, rows, tile, 1, w, 0, groups)
				}
			})
		})
	}
}

// BenchmarkGEMM multiplies a full tile by weights that stay in the second-level
// cache. The metric GOPS counts two operations a weight and token.
func BenchmarkGEMM(b *testing.B) {
	for _, typ := range []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q8_0, graph.Q4_K, graph.Q5_0, graph.Q5_1, graph.Q5_K, graph.Q6_K, graph.F16, graph.BF16, graph.F32} {
		b.Run(typ.String(), func(b *testing.B) {
			const kdim, rows = 768, 192
			w := pack(b, typ, rows, kdim, randomRows(newRand(1), typ, rows, kdim))
			benchTiers(b, func(b *testing.B, k *Kernels) {
				y, tile := make([]float32, MaxTile*rows), tileOf(k, w, activations(MaxTile, kdim, kdim, 1), kdim, MaxTile)
				for b.Loop() {
					k.Linear(y, rows, tile, MaxTile, w, 0, w.Groups())
				}
				b.ReportMetric(2*MaxTile*rows*kdim*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GOPS")
			})
		})
	}
}

// BenchmarkVNNI is the roof of GEMM: nothing but independent dot products.
func BenchmarkVNNI(b *testing.B) {
	benchTiers(b, func(b *testing.B, k *Kernels) {
		if k.Tier != AVX512 {
			b.Skip("AVX-512 only")
		}
		const n = 1 << 12
		for b.Loop() {
			probe(n)
		}
		b.ReportMetric(n*probeOperations*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GOPS")
	})
}

func BenchmarkVectors(b *testing.B) {
	const n = 1536
	x, y, w, dst := normals(newRand(1), make([]float32, n), 1), normals(newRand(2), make([]float32, n), 1), make([]float32, n), make([]float32, n)
	tile := aligned(TileBytes(n, MaxTile))
	for _, c := range []struct {
		name string
		run  func(k *Kernels)
	}{
		{"Quantize", func(k *Kernels) { k.Quantize(tile, x, n, n, 1) }},
		{"RMSNorm", func(k *Kernels) { k.RMSNorm(dst, x, w, 1e-5) }},
		{"Add", func(k *Kernels) { k.Add(dst, x, y) }},
		{"SiLUMul", func(k *Kernels) { k.SiLUMul(dst, x, y) }},
		{"RoPE", func(k *Kernels) { k.RoPE(dst, n/64, 64, x[:32], y[:32], false) }},
		{"ArgMax", func(k *Kernels) { k.ArgMax(x) }},
		{"FloatTile", func(k *Kernels) { k.FloatTile(tile, x, n, n/8, 8) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchTiers(b, func(b *testing.B, k *Kernels) {
				b.SetBytes(4 * n)
				for b.Loop() {
					c.run(k)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/value")
			})
		})
	}
}

// BenchmarkAttend computes one chunk of 256 slots. GFLOPS counts the products
// with K and V; the bytes are those of K and V.
func BenchmarkAttend(b *testing.B) {
	for _, typ := range []graph.DType{graph.F16, graph.F32} {
		for _, dim := range []int{64, 128} {
			for _, n := range []int{1, 3, 4, 8, 24} {
				b.Run(label(typ, "/dim", dim, "/n", n), func(b *testing.B) {
					rng := newRand(1)
					c := chunkOf(rng, typ, dim, 0, ChunkSlots)
					q := normals(rng, make([]float32, n*dim), 0.3)
					first, last := make([]int32, n), make([]int32, n)
					for i := range last {
						last[i] = ChunkSlots
					}
					scratch, m, l, acc := make([]float32, AttendScratch(n, dim)), make([]float32, n), make([]float32, n), make([]float32, n*dim)
					benchTiers(b, func(b *testing.B, k *Kernels) {
						b.SetBytes(int64(2 * chunkBlocks * KVBytes(typ, dim)))
						for b.Loop() {
							k.AttendChunk(c, q, n, first, last, scratch, m, l, acc)
						}
						b.ReportMetric(float64(4*ChunkSlots*dim*n)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOPS")
					})
				})
			}
		}
	}
}
