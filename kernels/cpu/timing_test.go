package cpu

import (
	"slices"
	"testing"
	"time"

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

// measure runs f, which does work units of something, until b has had enough, and
// returns units per nanosecond of the fastest call and of the median one. The
// machine is usually shared, and a mean would measure its other users.
func measure(b *testing.B, units float64, f func()) (best, median float64) {
	var times []float64
	for b.Loop() {
		start := time.Now()
		f()
		times = append(times, float64(time.Since(start).Nanoseconds()))
	}
	slices.Sort(times)
	return units / times[0], units / times[len(times)/2]
}

// against is measure with a roof: f and roof, which does roofUnits, take turns,
// and percent is the median of their ratios. Both suffer alike from the machine's
// other users, so percent is steady where the rates are not.
func against(b *testing.B, units float64, f func(), roofUnits float64, roof func()) (best, median, percent float64) {
	var rates, ratios []float64
	for b.Loop() {
		start := time.Now()
		roof()
		middle := time.Now()
		f()
		end := time.Now()
		rate := units / float64(end.Sub(middle).Nanoseconds())
		rates = append(rates, rate)
		ratios = append(ratios, 100*rate/(roofUnits/float64(middle.Sub(start).Nanoseconds())))
	}
	slices.Sort(rates)
	slices.Sort(ratios)
	return rates[len(rates)-1], rates[len(rates)/2], ratios[len(ratios)/2]
}

// streamBytes is the size of a working set that no cache holds, pieceBytes of
// what is timed at once.
const (
	streamBytes = 200 << 20
	pieceBytes  = 2 << 20
)

// stream is a working set that no cache holds, read piece by piece.
type stream struct {
	data []byte
	at   int
}

func newStream() *stream {
	s := &stream{data: aligned(streamBytes)}
	for i := range s.data {
		s.data[i] = byte(i)
	}
	return s
}

// piece reads pieceBytes: the roof of GEMV.
func (s *stream) piece() {
	read(s.data[s.at:][:pieceBytes])
	s.at = (s.at + pieceBytes) % len(s.data)
}

var benchTypes = []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q8_0, graph.Q4_K, graph.Q5_0, graph.Q5_1, graph.Q5_K, graph.Q6_K, graph.F16, graph.BF16, graph.F32}

// BenchmarkGEMV multiplies one token by weights that no cache holds; the roof is
// a bare loop that reads as much.
func BenchmarkGEMV(b *testing.B) {
	roof := newStream()
	for _, typ := range benchTypes {
		b.Run(typ.String(), func(b *testing.B) {
			const kdim = 1536
			size, _ := PackedBytes(typ, GroupRows, kdim)
			step := pieceBytes / size
			groups := streamBytes / pieceBytes * step
			w := &Matrix{Type: typ, Rows: groups * GroupRows, K: kdim, Data: aligned(size * groups)}
			for i := range w.Data {
				w.Data[i] = byte(i % 61)
			}
			benchTiers(b, func(b *testing.B, k *Kernels) {
				y, tile, at := make([]float32, w.Rows), tileOf(k, w, make([]float32, kdim), kdim, 1), 0
				best, median, percent := against(b, float64(size*step), func() {
					k.Linear(y, w.Rows, tile, 1, w, at, at+step)
					at = (at + step) % groups
				}, pieceBytes, roof.piece)
				b.ReportMetric(best, "best-GB/s")
				b.ReportMetric(median, "median-GB/s")
				b.ReportMetric(percent, "%read")
			})
		})
	}
}

// BenchmarkGEMM multiplies tiles by weights that stay in the second-level cache.
// Two operations are counted for a weight and token. The roof is a loop of
// independent dot products for quantised weights, of FMAs for others, with
// AVX-512 where the machine has it.
func BenchmarkGEMM(b *testing.B) {
	for _, typ := range benchTypes {
		for _, m := range []int{1, 2, 4, 8} {
			b.Run(label(typ, "/m", m), func(b *testing.B) {
				const kdim, rows = 768, 192
				w := pack(b, typ, rows, kdim, randomRows(newRand(1), typ, rows, kdim))
				benchTiers(b, func(b *testing.B, k *Kernels) {
					y, tile := make([]float32, MaxTile*rows), tileOf(k, w, activations(m, kdim, kdim, 1), kdim, m)
					roof, operations := probe(typ.Quantised())
					best, median, percent := against(b, float64(2*m*rows*kdim),
						func() { k.Linear(y, rows, tile, m, w, 0, w.Groups()) }, operations, roof)
					b.ReportMetric(best, "best-GOPS")
					b.ReportMetric(median, "median-GOPS")
					b.ReportMetric(percent, "%roof")
				})
			})
		}
	}
}

func BenchmarkVectors(b *testing.B) {
	const n = 1536
	x, y, w, dst := normals(newRand(1), make([]float32, n), 1), normals(newRand(2), make([]float32, n), 1), make([]float32, n), make([]float32, n)
	tile, keys := aligned(FloatTileBytes(n, MaxTile)), aligned(KVBytes(graph.F16, n))
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
		{"StoreK", func(k *Kernels) { k.StoreK(keys, graph.F16, n, 5, x) }},
		{"StoreKQ8_0", func(k *Kernels) { k.StoreK(keys, graph.Q8_0, n, 5, x) }},
		{"FloatTile", func(k *Kernels) { k.FloatTile(tile, x, n/8, n/8, 8) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchTiers(b, func(b *testing.B, k *Kernels) {
				best, median := measure(b, 16*n, func() {
					for range 16 {
						c.run(k)
					}
				})
				b.ReportMetric(1/best, "best-ns/value")
				b.ReportMetric(1/median, "median-ns/value")
			})
		})
	}
}

// BenchmarkAttend computes one chunk of 256 slots from the first-level cache or
// near it. Four operations are counted for a query, slot and dimension.
func BenchmarkAttend(b *testing.B) {
	for _, typ := range []graph.DType{graph.F16, graph.Q8_0, graph.F32} {
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
						roof, operations := probe(false)
						best, median, percent := against(b, float64(4*ChunkSlots*dim*n), func() {
							k.AttendChunk(c, q, n, first, last, scratch, m, l, acc)
						}, operations, roof)
						b.ReportMetric(best, "best-GFLOPS")
						b.ReportMetric(median, "median-GFLOPS")
						b.ReportMetric(percent, "%roof")
					})
				})
			}
		}
	}
}

// BenchmarkPack packs a matrix of 256 x 4096, as at a model's start.
func BenchmarkPack(b *testing.B) {
	for _, t := range []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q8_0, graph.Q5_0, graph.Q4_K, graph.Q6_K, graph.BF16} {
		b.Run(t.String(), func(b *testing.B) {
			const rows, k = 256, 4096
			n, err := PackedBytes(t, rows, k)
			if err != nil {
				b.Fatal(err)
			}
			src, dst := make([]byte, rows*t.RowBytes(k)), make([]byte, n)
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				Pack(dst, t, rows, k, src, 0, rows/GroupRows)
			}
		})
	}
}
