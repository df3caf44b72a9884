package cpu_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// openModel compiles a real model, as it is served.
func openModel(t *testing.T, name, make string) *devicetest.Runner {
	t.Helper()
	path := filepath.Join(golden.Root(t), "models", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the model is not here; `make %s` fetches it", make)
	}
	if k, err := kernels.Select(); err != nil || k.Tier == kernels.Generic {
		t.Skipf("generic kernels (%v) take minutes for this; the tiny models cover them", err)
	}
	return devicetest.Open(t, cpu.Backend{}, path, device.Options{KV: graph.F16, ContextLength: 1024, MaxRows: 64})
}

func openSmolLM2(t *testing.T) *devicetest.Runner {
	t.Helper()
	return openModel(t, "SmolLM2-135M-Instruct.Q4_1.gguf", "model")
}

func openGemma3(t *testing.T) *devicetest.Runner {
	t.Helper()
	return openModel(t, "gemma-3-270m-q4_k_m.gguf", "model-gemma")
}

func TestSmolLM2KL(t *testing.T)         { klIsNear(t, openSmolLM2(t), golden.SmolLM2(t), 1) }
func TestSmolLM2Perplexity(t *testing.T) { perplexityIsNear(t, openSmolLM2(t), golden.SmolLM2(t), nil) }

// TestGemma3KL looks at every fourth position, but for the full counts: a row has
// 262,144 logits.
func TestGemma3KL(t *testing.T) {
	step := 4
	if os.Getenv("HOLDFAST_LONG") != "" {
		step = 1
	}
	klIsNear(t, openGemma3(t), golden.Gemma3(t), step)
}

// TestGemma3Perplexity is of the full counts: it takes a minute of two cores.
func TestGemma3Perplexity(t *testing.T) {
	if os.Getenv("HOLDFAST_LONG") == "" {
		t.Skip("HOLDFAST_LONG=1 runs it; TestGemma3KL looks at the same logits")
	}
	ref := golden.Gemma3(t)
	perplexityIsNear(t, openGemma3(t), ref, ref.Tokens[:1])
}

// klIsNear: the distributions that we serve are as near to transformers in
// float32 on the dequantised weights as the peer's are, and near in themselves.
// With a step of more than 1 it looks at so many fewer positions, and leaves out
// the peer, whose figure is of all.
func klIsNear(t *testing.T, r *devicetest.Runner, ref *golden.Reference, step int) {
	n, same, scored, sum := len(ref.TopIDs), 0, 0, 0.0
	for pos := 0; pos < n; pos += r.Options.MaxRows {
		in := r.Input(1, true, devicetest.Part{Tokens: ref.Tokens[pos:min(pos+r.Options.MaxRows, n)]})
		in.Logits = slices.DeleteFunc(in.Logits, func(i int32) bool { return (pos+int(i))%step != 0 })
		for i, row := range r.Launch(in) {
			at := pos + int(in.Logits[i])
			sum += golden.KL(ref.TopIDs[at], ref.TopLogits[at], ref.LogSumExp[at], row)
			if row[ref.TopIDs[at][0]] == slices.Max(row) {
				same++
			}
			scored++
		}
	}
	kl, peer := sum/float64(scored), ref.Peer.Best(512)
	t.Logf("mean KL over %d positions: %.6f; the peer's best, over all: %.6f (ratio %.3f); same first choice: %.4f",
		scored, kl, peer, kl/peer, float64(same)/float64(scored))
	if !(kl <= 3e-3) || step == 1 && !(kl <= 1.1*peer) {
		t.Errorf("mean KL is %.6f; it must be at most 0.003 and 1.1 times the peer's %.6f", kl, peer)
	}
}

// perplexityIsNear: on the committed text, within 1 % of llama-perplexity. bos is
// what takes the place of each chunk's first token, if anything does.
func perplexityIsNear(t *testing.T, r *devicetest.Runner, ref *golden.Reference, bos []int32) {
	ppl, scored := golden.Perplexity(ref.Tokens, 512, func(chunk []int32, from int) [][]float32 {
		r.Forget(0)
		chunk = append(slices.Clone(bos), chunk[len(bos):]...)
		if from > 0 {
			r.Launch(r.Input(1, false, devicetest.Part{Row: 0, Tokens: chunk[:from]}))
		}
		return r.Feed(0, 1, chunk[from:len(chunk)-1], r.Options.MaxRows)
	})
	peer := ref.Peer.Perplexity[0].Perplexity
	t.Logf("perplexity over %d tokens: %.4f; llama-perplexity: %.4f; transformers: %.4f", scored, ppl, peer, ref.Perplexity)
	if scored != ref.Peer.Perplexity[0].Scored || !(ppl/peer < 1.01 && peer/ppl < 1.01) {
		t.Errorf("perplexity %.4f over %d tokens is not within 1 %% of llama-perplexity's %.4f over %d", ppl, scored, peer, ref.Peer.Perplexity[0].Scored)
	}
}
