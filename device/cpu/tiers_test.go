package cpu_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"runtime"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// logitsHash is of the logits of 40 tokens of tiny models, one behind the other:
// quantised weights with and without minima and super-blocks, float weights,
// grouped heads. It is the same on every tier and architecture, and changes only
// with the numerics class's name. quantHash is that of other models, whose heads are
// of 32 and more dimensions, with KV of Q8_0.
const (
	logitsHash = "48f07e7e1ce7f44fe4e8eccf3108c205"
	quantHash  = "cb14ba5b6dbf4b18188378a33d1a108f"
)

func TestLogitsHash(t *testing.T) {
	checkHash(t, graph.F16, logitsHash, "q4_1", "q6_k", "f16", "gqa4-d64")
}

func TestLogitsHashQuantKV(t *testing.T) {
	checkHash(t, graph.Q8_0, quantHash, "gqa4-d64", "gqa8-d128", "rope-llama3")
}

func checkHash(t *testing.T, kv graph.DType, want string, models ...string) {
	for _, tier := range kernels.Tiers() {
		t.Setenv(kernels.TierVariable, tier.String())
		h := sha256.New()
		for _, name := range models {
			c := golden.TinyCase(t, name)
			r := devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{KV: kv, ContextLength: 64})
			for _, row := range r.Feed(0, 1, sequence(c.Vocab, 40, 9), 13) {
				for _, x := range row {
					var b [4]byte
					binary.LittleEndian.PutUint32(b[:], math.Float32bits(x))
					h.Write(b[:])
				}
			}
		}
		if got := hex.EncodeToString(h.Sum(nil)[:16]); got != want {
			t.Errorf("%s, tier %v: the logits' hash is %s, want %s", runtime.GOARCH, tier, got, want)
		}
	}
}

// TestBatchSizes: a row of logits has the same bits whatever the number of rows
// that it is computed with, for every type of weights and the default model.
func TestBatchSizes(t *testing.T) {
	const n = 64
	check := func(t *testing.T, open func(threads int) *devicetest.Runner, threads []int) {
		var want [][]float32
		for _, th := range threads {
			r := open(th)
			tokens := sequence(r.Graph.Vocab, n, 11)
			for _, m := range []int{64, 32, 31, 16, 8, 7, 3, 2, 1} {
				got := r.Feed(0, 1, tokens, m)
				if want == nil {
					want = got
				}
				if !sameBits(got, want) {
					t.Errorf("%d threads, %d rows a step: other bits", th, m)
				}
				r.Forget(0)
			}
		}
	}
	for _, name := range []string{"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k", "f16", "bf16"} {
		t.Run(name, func(t *testing.T) {
			c := golden.TinyCase(t, name)
			check(t, func(threads int) *devicetest.Runner {
				return devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{Threads: threads, KV: graph.F16, ContextLength: n, MaxRows: n})
			}, []int{1, 2, 3})
		})
	}
	t.Run("smollm2", func(t *testing.T) {
		check(t, func(int) *devicetest.Runner { return openSmolLM2(t) }, []int{2})
	})
}
