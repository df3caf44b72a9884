package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// quantised names the tiny models whose activations become int8: their error
// is of that, not of float32.
var quantised = map[string]bool{
	"q8_0": true, "q4_0": true, "q4_1": true, "q5_0": true, "q5_1": true, "q4_k": true, "q5_k": true, "q6_k": true,
}

// TestTinyGoldens compares every tiny model with transformers in float32.
func TestTinyGoldens(t *testing.T) {
	for _, c := range golden.Tiny(t) {
		t.Run(c.Name, func(t *testing.T) {
			r := devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{})
			logits := r.Feed(0, 1, c.Tokens, 50)
			var worst, most, diff2, want2 float64
			for i, pos := range c.Positions {
				for id, want := range c.Logits[i] {
					d := float64(logits[pos][id] - want)
					worst, most = max(worst, math.Abs(d)), max(most, math.Abs(float64(want)))
					diff2, want2 = diff2+d*d, want2+float64(want)*float64(want)
				}
			}
			if quantised[c.Name] {
				// Two layers of random weights make about 0.035 of int8's
				// rounding, whatever the type; a wrong scale makes 0.1 and more.
				if ratio := math.Sqrt(diff2 / want2); !(ratio < 0.06) {
					t.Errorf("logits differ by %.2g of their size", ratio)
				}
			} else if bound := 2e-5 * max(1, most); !(worst < bound) {
				t.Errorf("logits differ by up to %g, bound %g (largest logit %g)", worst, bound, most)
			}
		})
	}
}

// sameBits reports whether rows are the first of want, bit for bit.
func sameBits(rows, want [][]float32) bool {
	if len(rows) > len(want) {
		return false
	}
	for i, row := range rows {
		if len(row) != len(want[i]) {
			return false
		}
		for j, x := range row {
			if math.Float32bits(x) != math.Float32bits(want[i][j]) {
				return false
			}
		}
	}
	return true
}

// sequence returns n random tokens.
func sequence(vocab, n int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = int32(rng.IntN(vocab))
	}
	return tokens
}

// TestScheduleInvariance: the bits of every row of logits are the same for any
// chunking, thread count, tier and company, for KV of each type.
func TestScheduleInvariance(t *testing.T) {
	for _, name := range []string{"q4_1", "q6_k", "f16", "gqa4-d64", "gqa8-d128", "bias-untied", "mha-odd", "window", "gemma2", "gemma3", "phi3", "qwen2", "qwen3", "granite"} {
		for _, kv := range []graph.DType{graph.F16, graph.F32, graph.Q8_0} {
			if kv == graph.F32 && name != "q4_1" && name != "gqa8-d128" || kv == graph.Q8_0 && name != "gqa4-d64" && name != "gqa8-d128" {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", name, kv), func(t *testing.T) {
				c := golden.TinyCase(t, name)
				a, b := sequence(c.Vocab, 290, 1), sequence(c.Vocab, 150, 2)
				open := func(threads int) *devicetest.Runner {
					return devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{Threads: threads, KV: kv, MaxRows: 512, Blocks: [device.PoolKinds]int{64}, ContextLength: 300})
				}
				r := open(1)
				wantA, wantB := r.Feed(0, 2, a, 290), r.Feed(1, 2, b, 150)
				best := kernels.Tiers()[len(kernels.Tiers())-1]
				for _, tier := range kernels.Tiers() {
					t.Setenv(kernels.TierVariable, tier.String())
					if tier == kernels.Generic { // slow: a beginning is enough, the kernels' own tests do the rest
						if r := open(2); !sameBits(r.Feed(0, 2, a[:50], 33), wantA) {
							t.Errorf("tier %v: other bits", tier)
						}
						continue
					}
					counts := []int{1, 2, 3}
					if tier != best { // the others run the same plan
						counts = []int{2}
					}
					for _, threads := range counts {
						r := open(threads)
						for _, chunk := range []int{1, 7, 64} {
							if chunk == 1 && threads != 2 {
								continue
							}
							if !sameBits(r.Feed(0, 2, a, chunk), wantA) {
								t.Errorf("tier %v, %d threads, chunks of %d: other bits", tier, threads, chunk)
							}
							r.Forget(0)
						}
						if rowsA, rowsB := together(r, a, b); !sameBits(rowsA, wantA) || !sameBits(rowsB, wantB) {
							t.Errorf("tier %v, %d threads: other bits in company", tier, threads)
						}
					}
				}
			})
		}
	}
}

// TestWindow: blocks that the window has left behind may hold anything, where all
// layers have one and where some see everything.
func TestWindow(t *testing.T) {
	for _, name := range []string{"window", "gemma2", "gemma3"} {
		c := golden.TinyCase(t, name)
		tokens := sequence(c.Vocab, 390, 4)
		open := func(maxTokens int) *devicetest.Runner {
			return devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{KV: graph.F16, MaxRows: 512, MaxTokens: maxTokens})
		}
		want := open(512).Feed(0, 1, tokens, 390) // each position has a block of its own
		for _, chunk := range []int{1, 7, 32} {
			if !sameBits(open(32).Feed(0, 1, tokens, chunk), want) {
				t.Errorf("%s, chunks of %d: other bits with blocks that are used again", name, chunk)
			}
		}
	}
}

// together feeds two sequences in the same steps, in chunks of changing size.
func together(r *devicetest.Runner, a, b []int32) (rowsA, rowsB [][]float32) {
	r.Forget(0)
	r.Forget(1)
	for n := 1; len(a)+len(b) > 0; n = n%37 + 3 {
		pa, pb := a[:min(n, len(a))], b[:min(40-n, len(b))]
		a, b = a[len(pa):], b[len(pb):]
		var parts []devicetest.Part
		if len(pb) > 0 {
			parts = append(parts, devicetest.Part{Row: 1, Tokens: pb})
		}
		if len(pa) > 0 {
			parts = append(parts, devicetest.Part{Row: 0, Tokens: pa})
		}
		rows := r.Launch(r.Input(2, true, parts...))
		rowsB, rowsA = append(rowsB, rows[:len(pb)]...), append(rowsA, rows[len(pb):]...)
	}
	return rowsA, rowsB
}

// TestPool: a block saved, loaded elsewhere or copied gives the same bits.
func TestPool(t *testing.T) {
	t.Run("F16", func(t *testing.T) { movesBlocks(t, "q4_1", graph.F16) })
	t.Run("Q8_0", func(t *testing.T) { movesBlocks(t, "gqa4-d64", graph.Q8_0) })
}

func movesBlocks(t *testing.T, model string, kv graph.DType) {
	c := golden.TinyCase(t, model)
	r := devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{KV: kv, Blocks: [device.PoolKinds]int{8}, ContextLength: 96})
	pool := r.Program.Pool(device.Full)
	tokens := sequence(c.Vocab, 40, 3)
	r.Feed(0, 1, tokens[:39], 39) // blocks 7 and 6
	want := r.Feed(0, 1, tokens[39:], 1)

	host := make([]byte, pool.BlockBytes())
	if _, err := pool.Save(7, host); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Copy(6, 2); err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, pool.BlockBytes())
	for i := range junk {
		junk[i] = 0xff
	}
	for _, b := range []int32{1, 6, 7} {
		if _, err := pool.Load(junk, b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Load(host, 1); err != nil {
		t.Fatal(err)
	}
	in := &device.StepInput{
		Tokens: tokens[39:], Positions: []int32{39}, Slots: [device.PoolKinds][]int32{{2*device.BlockTokens + 7}},
		Spans: []device.Span{{Row: 5, Start: 0, Tokens: 1}}, Logits: []int32{0}, KeepLogits: true,
		Tables: []device.TableDiff{{Row: 5, Blocks: []int32{1, 2}}},
	}
	if got := r.Launch(in); !sameBits(got, want) {
		t.Error("other bits after save, load and copy")
	}
	if _, err := pool.Load(host[1:], 1); err == nil {
		t.Error("a short slab was loaded")
	}
	if _, err := pool.Save(8, host); err == nil {
		t.Error("a block outside of the pool was saved")
	}
}
