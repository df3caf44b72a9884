package cpu_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// openSmolLM2 compiles the default model, as it is served.
func openSmolLM2(t *testing.T) *devicetest.Runner {
	t.Helper()
	path := filepath.Join(golden.Root(t), "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Skip("the model is not here; `make model` fetches it")
	}
	if k, err := kernels.Select(); err != nil || k.Tier == kernels.Generic {
		t.Skipf("generic kernels (%v) take minutes for this; the tiny models cover them", err)
	}
	return devicetest.Open(t, cpu.Backend{}, path, device.Options{KV: graph.F16, ContextLength: 1024, MaxRows: 64})
}

// TestSmolLM2KL: the distributions that we serve are as near to transformers in
// float32 on the dequantised weights as the peer's are, and near in themselves.
func TestSmolLM2KL(t *testing.T) {
	r, ref := openSmolLM2(t), golden.SmolLM2(t)
	n := len(ref.TopIDs)
	var rows [][]float32
	kl := golden.MeanKL(ref, func(pos int) []float32 {
		if pos%r.Options.MaxRows == 0 {
			rows = r.Feed(0, 1, ref.Tokens[pos:min(pos+r.Options.MaxRows, n)], r.Options.MaxRows)
		}
		return rows[pos%r.Options.MaxRows]
	})
	peer := ref.Peer.Best(512)
	t.Logf("mean KL over %d positions: %.6f; the peer's best: %.6f (ratio %.3f)", n, kl, peer, kl/peer)
	if !(kl <= 3e-3) || !(kl <= 1.1*peer) {
		t.Errorf("mean KL is %.6f; it must be at most 0.003 and 1.1 times the peer's %.6f", kl, peer)
	}
}

// TestSmolLM2Perplexity: on the committed text, within 1 % of llama-perplexity.
func TestSmolLM2Perplexity(t *testing.T) {
	r, ref := openSmolLM2(t), golden.SmolLM2(t)
	ppl, scored := golden.Perplexity(ref.Tokens, 512, func(chunk []int32, from int) [][]float32 {
		r.Forget(0)
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
