package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/kvcache"
)

// wideHeads returns a copy of a tiny model whose heads are half as many and twice as
// wide, 32 dimensions: quantised KV wants that. What it computes means nothing, as
// before.
func wideHeads(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(golden.TinyChat(t)), name+".gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range map[string][2]uint32{
		"attention.head_count": {4, 2}, "attention.head_count_kv": {2, 1},
		"attention.key_length": {16, 32}, "attention.value_length": {16, 32}, "rope.dimension_count": {16, 32},
	} {
		const kindUint32 = 4
		field := binary.LittleEndian.AppendUint32([]byte("llama."+key), kindUint32)
		was, is := binary.LittleEndian.AppendUint32(slices.Clone(field), values[0]), binary.LittleEndian.AppendUint32(slices.Clone(field), values[1])
		if bytes.Count(data, was) != 1 {
			t.Fatalf("%s has no %s of %d", name, key, values[0])
		}
		data = bytes.Replace(data, was, is, 1)
	}
	path := filepath.Join(t.TempDir(), name+".gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startQuantKV returns what opens a tiny model with KV of Q8_0.
func startQuantKV(t *testing.T, name string) func(Config, func(*loaded)) *Engine {
	path := wideHeads(t, name)
	return func(cfg Config, adjust func(*loaded)) *Engine {
		cfg.KV = graph.Q8_0
		return openPath(t, path, cfg, adjust)
	}
}

// TestQuantKVSchedulesDoNotMatter is TestSchedulesDoNotMatter with KV of Q8_0.
func TestQuantKVSchedulesDoNotMatter(t *testing.T) {
	n := 60
	if long() {
		n = 1000
	}
	metamorphic(t, n, 301, 150, startQuantKV(t, "tiny-chat"))
}

// TestQuantKVResumeIsExact is TestResumeIsExact with KV of Q8_0.
func TestQuantKVResumeIsExact(t *testing.T) {
	n := 40
	if long() {
		n = 1000
	}
	t.Run("full", func(t *testing.T) { cuts(t, n, 4, 60, startQuantKV(t, "tiny-chat")) })
	t.Run("window", func(t *testing.T) { cuts(t, n, 3, 100, startQuantKV(t, "tiny-window")) })
}

// TestKVTypesAreStrangers: blocks in a store that KV of one type wrote are not there
// for another, which computes what it would without them; its own it finds.
func TestKVTypesAreStrangers(t *testing.T) {
	path, store := wideHeads(t, "tiny-chat"), t.TempDir()
	r := Request{Tokens: make([]int32, 130), MaxTokens: 20, Params: greedy, IgnoreEOS: true, Principal: "p", Keep: true}
	for i := range r.Tokens {
		r.Tokens[i] = int32(i * i % 290)
	}
	run := func(kv graph.DType, store string) (tokens []int32, restored int) {
		cfg := Config{KV: kv, Threads: 1, Restore: RestoreLoad}
		if store != "" {
			cfg.Store, cfg.StoreBytes = store, 8<<20
		}
		e, one, j := openPath(t, path, cfg, nil), r, &memo{}
		one.Journal = j
		generate(t, e, one)
		s := waitIdle(t, e)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return j.tokens, int(s.RestoredTokens)
	}
	types := []graph.DType{graph.F16, graph.Q8_0, graph.F32}
	for round, want := range []int{0, 128} { // the second time, each finds its own
		for _, kv := range types {
			alone, _ := run(kv, "")
			tokens, restored := run(kv, store)
			if restored != want || !slices.Equal(tokens, alone) {
				t.Errorf("round %d: %v restored %d tokens of %d and drew %v, alone %v", round, kv, restored, want, tokens, alone)
			}
		}
	}
	roots, classes := map[kvcache.Hash]bool{}, map[string]bool{}
	for _, kv := range types {
		e := openPath(t, path, Config{KV: kv}, nil)
		id, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		roots[id.Root()], classes[id.Class] = true, true
		id.Class = "" // the type tells them apart by itself
		roots[id.Root()] = true
	}
	if len(roots) != 2*len(types) || len(classes) != len(types) {
		t.Errorf("%d identities and %d classes of %d types", len(roots), len(classes), len(types))
	}
}

// TestQuantKVPlan: the plan counts a token's bytes, heads that do not fit are refused
// by name, and so is a GPU.
func TestQuantKVPlan(t *testing.T) {
	path := wideHeads(t, "tiny-chat")
	bytesOf := func(kv graph.DType) int64 {
		plan, err := MakePlan(Config{ModelPath: path, KV: kv})
		if err != nil {
			t.Fatal(err)
		}
		return plan.BytesPerToken
	}
	if half, quant := bytesOf(graph.F16), bytesOf(graph.Q8_0); half != 2*2*32*2 || quant != 2*2*34 || bytesOf(graph.Invalid) != half {
		t.Errorf("%d bytes a token of F16, %d of Q8_0", half, quant)
	}
	_, err := MakePlan(Config{ModelPath: golden.TinyChat(t), KV: graph.Q8_0})
	if err == nil || !strings.Contains(err.Error(), "Q8_0") || !strings.Contains(err.Error(), "have 16") {
		t.Errorf("heads of 16 dimensions: %v", err)
	}
	l, err := load(Config{ModelPath: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.file.Close()
	o := l.opts
	o.KV = graph.Q8_0
	var unsupported *cuda.UnsupportedError
	if _, err := (&cuda.Backend{}).Plan(l.graph, l.file, o); !errors.As(err, &unsupported) {
		t.Errorf("a GPU with KV of Q8_0: %v", err)
	}
}
