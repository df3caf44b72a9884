package cpu_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
)

// BenchmarkContext times steps of the default model at several depths of its
// context: one token, and 512 of them, behind KV that is random numbers.
// ms/step is the median, best-ms/step the fastest.
func BenchmarkContext(b *testing.B) {
	for _, kv := range []graph.DType{graph.F16, graph.Q8_0} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%v/threads%d", kv, threads), func(b *testing.B) { benchContext(b, kv, threads) })
		}
	}
}

func benchContext(b *testing.B, kv graph.DType, threads int) {
	const path, context, most = "../../models/SmolLM2-135M-Instruct.Q4_1.gguf", 8192, 512
	if _, err := os.Stat(path); err != nil {
		b.Skip("needs the default model: make model")
	}
	r := devicetest.Open(b, cpu.Backend{}, path, device.Options{
		Threads: threads, KV: kv, ContextLength: context, MaxTokens: most, Blocks: [device.PoolKinds]int{context / device.BlockTokens},
	})
	pool, rng := r.Program.Pool(device.Full), rand.New(rand.NewPCG(1, 2))
	block := make([]byte, pool.BlockBytes())
	table := device.TableDiff{Row: 0}
	size := 1.0 // of the numbers; those of Q8_0, whose bytes are scales and quants alike, are small
	if kv == graph.Q8_0 {
		size = 1.0 / 64
	}
	for i := range pool.Blocks() {
		for j := 0; j < len(block); j += 2 {
			v := f16.FromFloat32(float32(size * rng.NormFloat64()))
			block[j], block[j+1] = byte(v), byte(v>>8)
		}
		if _, err := pool.Load(block, int32(i)); err != nil {
			b.Fatal(err)
		}
		table.Blocks = append(table.Blocks, int32(i))
	}
	tables := []device.TableDiff{table}
	for _, tokens := range []int{1, 16, most} {
		for _, depth := range []int{0, 2048, context - most} {
			in := &device.StepInput{Tables: tables, Spans: []device.Span{{Tokens: int32(tokens)}}, Logits: []int32{int32(tokens - 1)}}
			for i := range tokens {
				in.Tokens = append(in.Tokens, int32(rng.IntN(r.Graph.Vocab)))
				in.Positions = append(in.Positions, int32(depth+i))
				in.Slots[device.Full] = append(in.Slots[device.Full], int32(depth+i))
			}
			tables = nil
			b.Run(fmt.Sprintf("tokens%d/depth%d", tokens, depth), func(b *testing.B) {
				var times []float64
				for b.Loop() {
					start := time.Now()
					if _, err := r.Program.Launch(in); err != nil {
						b.Fatal(err)
					}
					in.Tables = nil
					times = append(times, time.Since(start).Seconds())
				}
				slices.Sort(times)
				b.ReportMetric(1e3*times[len(times)/2], "ms/step")
				b.ReportMetric(1e3*times[0], "best-ms/step")
				b.ReportMetric(float64(tokens)/times[len(times)/2], "tok/s")
			})
		}
	}
}
