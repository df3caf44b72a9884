package gpucheck

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
)

// small are options of a program for which little has to be emulated.
func small(rows, tokens, context, blocks int) device.Options {
	return device.Options{KV: graph.F16, MaxRows: rows, MaxTokens: tokens, ContextLength: context, Blocks: [device.PoolKinds]int{blocks}}
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

// Tolerances of the tiny models. Activations are BF16 (2^-9 a rounding), and so are
// the weights of types without kernels; two layers make 0.02 of the logits' size of
// it, and more layers more, as the root of their number. docs/NUMERICS.md has them too.
const (
	tolerance = 0.02 // root of the mean square error, by the logits' own
	farthest  = 0.5  // largest error of a logit; logits are 3 in the root mean square
)

// long reports whether everything is to run: on a GPU, where it takes no time, too.
func long() bool { return *onGPU || os.Getenv("HOLDFAST_LONG") != "" }

// compare holds a tiny model's logits, of its first positions, to the golden rows, and
// tokens to the golden first choice wherever that leads by more than 4 times the root
// mean square tolerance.
func compare(t *testing.T, c golden.Case, layers int, logits [][]float32) (ratio, agree float64) {
	t.Helper()
	tolerance := tolerance * math.Sqrt(max(1, float64(layers)/2))
	var worst, diff2, want2 float64
	rows := 0
	for i, pos := range c.Positions {
		if int(pos) >= len(logits) {
			continue
		}
		rows++
		for id, want := range c.Logits[i] {
			d := float64(logits[pos][id] - want)
			worst = max(worst, math.Abs(d))
			diff2, want2 = diff2+d*d, want2+float64(want)*float64(want)
		}
	}
	ratio = math.Sqrt(diff2 / want2)
	if !(ratio < tolerance) || !(worst < farthest) {
		t.Errorf("logits differ by %.4f of their size, bound %.4f, and one by %.3f, bound %.3f", ratio, tolerance, worst, farthest)
	}
	size := math.Sqrt(want2 / float64(rows*c.Vocab))
	for pos, row := range logits {
		best := 0
		for id, x := range row {
			if x > row[best] {
				best = id
			}
		}
		if int32(best) == c.Argmax[pos] {
			agree++
		} else if gap := float64(c.Gap[pos]); gap > 4*tolerance*size {
			t.Errorf("position %d: token %d, the reference has %d, ahead by %.3f", pos, best, c.Argmax[pos], gap)
		}
	}
	agree /= float64(len(logits))
	if agree < 0.9 {
		t.Errorf("the reference's first choice at %.2f of the positions, want 0.9", agree)
	}
	return ratio, agree
}

// TestTinyGoldens compares every tiny model, of all families, with transformers in
// float32, at every position.
func TestTinyGoldens(t *testing.T) {
	for i, c := range golden.Tiny(t) {
		t.Run(c.Name, func(t *testing.T) {
			if !long() && slices.Contains([]string{"q4_1", "q5_0", "q5_1", "q5_k", "rope-linear", "tiny-window", "tiny-hybrid"}, c.Name) {
				t.Skip("as another of the tiny models on the device; with -gpu, and with HOLDFAST_LONG=1")
			}
			n := len(c.Tokens)
			if !long() {
				n = min(n, 96) // twice the window of those that have one
			}
			r := devicetest.Open(t, invariant(t, uint64(i)), c.Path, small(128, 128, n, 2*(n+31)/32))
			ratio, agree := compare(t, c, len(r.Graph.KV), r.Feed(0, 1, c.Tokens[:n], 128))
			t.Logf("logits differ by %.4f of their size; the reference's first choice at %.3f of the positions", ratio, agree)
		})
	}
}

// TestScheduleInvariance: in batch-invariant mode the bits of every row of logits are
// the same for any chunking and company, by graph or kernel by kernel, in whatever
// order streams and warps run.
func TestScheduleInvariance(t *testing.T) {
	names := []string{"q4_0", "gqa4-d64"}
	if long() {
		names = append(names, "q4_k", "window", "q8_0")
	}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			c := golden.TinyCase(t, name)
			a, b := sequence(c.Vocab, 45, 1), sequence(c.Vocab, 40, 2)
			o := small(64, 64, 64, 8)
			r := devicetest.Open(t, invariant(t, uint64(10+i)), c.Path, o)
			wantA, wantB := r.Feed(0, 2, a, 45), r.Feed(1, 2, b, 40)
			for _, chunk := range []int{1, 7} {
				r.Forget(0)
				if n := 45 / (4 - 3*chunk/7); !sameBits(r.Feed(0, 2, a[:n], chunk), wantA) {
					t.Errorf("chunks of %d: other bits", chunk)
				}
			}
			if rowsA, rowsB := together(r, a, b); !sameBits(rowsA, wantA) || !sameBits(rowsB, wantB) {
				t.Error("other bits in company")
			}
		})
	}
}

// together feeds two sequences in the same steps, in chunks of changing size.
func together(r *devicetest.Runner, a, b []int32) (rowsA, rowsB [][]float32) {
	r.Forget(0)
	r.Forget(1)
	for n := 1; len(a)+len(b) > 0; n = n%17 + 6 {
		pa, pb := a[:min(n, len(a))], b[:min(20-n, len(b))]
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

// TestBuckets: rows of a graph that a step does not fill write nothing and change
// nothing, in a pool of which every block is used.
func TestBuckets(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	const rows = 5 // graphs of 1, 2, 4 and 5 rows
	r := devicetest.Open(t, invariant(t, 7), c.Path, small(rows, 16, 32, rows))
	for n := rows; n > 0; n -= 2 {
		var want [rows][][]float32
		for row := rows - n; row < rows; row++ { // the last of them has block 0
			r.Forget(row)
			tokens := sequence(c.Vocab, 6, uint64(row))
			r.Feed(row, rows, tokens[:3], 3)
			want[row] = r.Feed(row, rows, tokens[3:], 1)
		}
		for row := rows - n; row < rows; row++ {
			r.Forget(row)
			r.Feed(row, rows, sequence(c.Vocab, 6, uint64(row))[:3], 3)
		}
		for i := range 3 {
			var parts []devicetest.Part
			for row := rows - n; row < rows; row++ {
				parts = append(parts, devicetest.Part{Row: row, Tokens: sequence(c.Vocab, 6, uint64(row))[3+i : 4+i]})
			}
			for k, got := range r.Launch(r.Input(rows, true, parts...)) {
				if row := rows - n + k; !sameBits([][]float32{got}, want[row][i:]) {
					t.Errorf("%d rows: row %d has other bits than alone", n, row)
				}
			}
		}
	}
}

// TestGather: of spans of several tokens whose last alone has logits, each row is that
// of its span.
func TestGather(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	r := devicetest.Open(t, invariant(t, 8), c.Path, small(16, 16, 32, 4))
	var want [][]float32
	var parts []devicetest.Part
	for row, n := range []int{3, 1, 4} {
		tokens := sequence(c.Vocab, n, uint64(row))
		want = append(want, r.Feed(row, 3, tokens, n)[n-1])
		r.Forget(row)
		parts = append(parts, devicetest.Part{Row: row, Tokens: tokens})
	}
	if !sameBits(r.Launch(r.Input(3, false, parts...)), want) {
		t.Error("other bits than alone")
	}
}

// TestNoLogits: a step may want none, as the chunks of a prompt but its last do.
func TestNoLogits(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	r := devicetest.Open(t, invariant(t, 6), c.Path, small(8, 8, 32, 4))
	want := r.Feed(0, 1, c.Tokens[:8], 8)[7]
	r.Forget(0)
	for i := 0; i < 7; i += 3 { // a chunk, another, then one token: by graph, if it had logits
		in := r.Input(1, false, devicetest.Part{Tokens: c.Tokens[i:min(i+3, 7)]})
		in.Logits = nil
		if rows := r.Launch(in); len(rows) != 0 {
			t.Fatalf("%d rows of logits", len(rows))
		}
	}
	if got := r.Launch(r.Input(1, false, devicetest.Part{Tokens: c.Tokens[7:8]})); !sameBits(got, [][]float32{want}) {
		t.Error("other bits")
	}
}

// TestFast: without batch invariance, large steps take other kernels, or cuBLASLt,
// and stay within the tolerance.
func TestFast(t *testing.T) {
	for _, name := range []string{"q8_0", "bias-untied", "bf16"} {
		for _, blas := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/cuBLASLt %v", name, blas), func(t *testing.T) {
				c := golden.TinyCase(t, name)
				b := fast(t, 4, blas)
				n := len(c.Tokens)
				r := devicetest.Open(t, b, c.Path, small(128, 128, n, 8))
				compare(t, c, len(r.Graph.KV), r.Feed(0, 1, c.Tokens, 128))
				if got := r.Program.Class(); !strings.HasSuffix(got, "-fast") {
					t.Errorf("class %q", got)
				}
			})
		}
	}
}

// TestWindow: blocks that the window has left behind may hold anything.
func TestWindow(t *testing.T) {
	c := golden.TinyCase(t, "window")
	tokens := sequence(c.Vocab, 150, 4)
	b := invariant(t, 20)
	want := devicetest.Open(t, b, c.Path, small(160, 160, 160, 10)).Feed(0, 1, tokens, 150)
	if got := devicetest.Open(t, b, c.Path, small(32, 32, 160, 10)).Feed(0, 1, tokens, 32); !sameBits(got, want) {
		t.Error("other bits with blocks that are used again")
	}
}

// TestPool: a block saved, loaded elsewhere or copied gives the same bits, in the
// order in which it was asked for, waited for or not.
func TestPool(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := golden.TinyCase(t, "q4_0")
			o := small(8, 64, 96, 12)
			r := devicetest.Open(t, invariant(t, seed), c.Path, o)
			pool := r.Program.Pool(device.Full)
			tokens := sequence(c.Vocab, 40, 3)
			last := pool.Blocks() - 1
			r.Launch(r.Input(1, false, devicetest.Part{Tokens: tokens[:39]})) // the two last blocks
			want := r.Launch(r.Input(1, false, devicetest.Part{Tokens: tokens[39:]}))

			host := make([]byte, pool.BlockBytes())
			save, err := pool.Save(int32(last), host)
			if err != nil {
				t.Fatal(err)
			}
			copied, err := pool.Copy(int32(last-1), 2)
			if err != nil {
				t.Fatal(err)
			}
			junk := make([]byte, pool.BlockBytes())
			for i := range junk {
				junk[i] = 0xff
			}
			for b := range int32(pool.Blocks()) { // more blocks than may be on their way
				if b != 2 {
					if _, err := pool.Load(junk, b); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := pool.Load(host, 1); err != nil { // what Save has to have written
				t.Fatal(err)
			}
			in := &device.StepInput{
				Tokens: tokens[39:], Positions: []int32{39}, Slots: [device.PoolKinds][]int32{{2*device.BlockTokens + 7}, nil},
				Spans: []device.Span{{Row: 5, Start: 0, Tokens: 1}}, Logits: []int32{0}, KeepLogits: true,
				Tables: []device.TableDiff{{Row: 5, Blocks: []int32{1, 2}}},
			}
			if got := r.Launch(in); !sameBits(got, want) {
				t.Error("other bits after save, load and copy")
			}
			for _, ticket := range []device.Ticket{save, copied} {
				if _, err := ticket.Wait(); err != nil {
					t.Error(err)
				}
			}
			again := make([]byte, pool.BlockBytes())
			if ticket, err := pool.Save(1, again); err != nil {
				t.Error(err)
			} else if _, err := ticket.Wait(); err != nil || string(again) != string(host) {
				t.Error("another block came back", err)
			}
			// Each block its own bytes, more than may be on their way; then what was saved
			// is loaded from where Save is still to write it.
			fill := make([]byte, pool.BlockBytes())
			for b := range int32(pool.Blocks()) {
				for i := range fill {
					fill[i] = byte(int32(i) * (b + 1))
				}
				if _, err := pool.Load(fill, b); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := pool.Save(3, again); err != nil {
				t.Fatal(err)
			}
			if _, err := pool.Load(again, 4); err != nil {
				t.Fatal(err)
			}
			for b := range int32(pool.Blocks()) {
				ticket, err := pool.Save(b, again)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := ticket.Wait(); err != nil {
					t.Fatal(err)
				}
				factor := b + 1
				if b == 4 {
					factor = 4
				}
				for i := range again {
					if again[i] != byte(int32(i)*factor) {
						t.Fatalf("block %d has other bytes than were loaded", b)
					}
				}
			}
			if _, err := pool.Load(host[1:], 1); err == nil {
				t.Error("a short slab was loaded")
			}
			if _, err := pool.Save(int32(pool.Blocks()), host); err == nil {
				t.Error("a block outside of the pool was saved")
			}
		})
	}
}
