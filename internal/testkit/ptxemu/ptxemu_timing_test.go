package ptxemu

import "testing"

// benchmarkLoop times a kernel whose threads run a loop of n rounds on one
// worker, and reports lane instructions a second.
func benchmarkLoop(b *testing.B, name string, perRound int) {
	x := load(b, "timing")
	out := alloc(x, make([]float32, 256))
	const rounds = 2000
	for b.Loop() {
		x.run(name, Config{Block: Dim3{X: 256}, Workers: 1}, out, int32(rounds))
	}
	b.ReportMetric(float64(b.N)*256*rounds*float64(perRound)/b.Elapsed().Seconds()/1e6, "Mlane-instr/s")
}

// The loops' lengths are those of the PTX: 16 instructions and 3 of the loop.
func BenchmarkFloat(b *testing.B)   { benchmarkLoop(b, "loop_float", 19) }
func BenchmarkInteger(b *testing.B) { benchmarkLoop(b, "loop_integer", 19) }
func BenchmarkShared(b *testing.B)  { benchmarkLoop(b, "loop_shared", 19) }
func BenchmarkMatrix(b *testing.B)  { benchmarkLoop(b, "loop_mma", 4) }
