package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// long reports whether the tests shall run their full counts.
func long() bool { return os.Getenv("HOLDFAST_LONG") != "" }

// A trace is what one completion was: its tokens, and by position a hash of each
// row of logits that one was drawn from.
type trace struct {
	tokens []int32
	rows   map[int]uint64
}

// traces records an engine's completions by request and choice.
type traces struct {
	mu  sync.Mutex
	of  map[string]*trace
	bad []string
}

func traceName(g *Generation) string { return fmt.Sprintf("%s/%d", g.req.ID, g.choice) }

// tap is the loop's: a row that is computed again must be the same.
func (ts *traces) tap(g *Generation, next int, logits []float32) {
	b := make([]byte, 0, 4*len(logits))
	for _, x := range logits {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	h := xxh3.Hash(b)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.of[traceName(g)]
	if t == nil {
		t = &trace{rows: map[int]uint64{}}
		ts.of[traceName(g)] = t
	}
	if was, ok := t.rows[next]; ok && was != h {
		ts.bad = append(ts.bad, fmt.Sprintf("%s: the logits before position %d changed", traceName(g), next))
	}
	t.rows[next] = h
}

// read reads n tokens, or all there are.
func (ts *traces) read(g *Generation, n int) (done bool, err error) {
	for ; n != 0; n-- {
		l := g.mail.take()
		for !l.ok && l.err == nil && l.reason == scheduler.None {
			<-g.mail.more
			l = g.mail.take()
		}
		if !l.ok {
			return true, l.err
		}
		ts.mu.Lock()
		t := ts.of[traceName(g)]
		t.tokens = append(t.tokens, l.token)
		ts.mu.Unlock()
	}
	return false, nil
}

// requests are what the schedules are made of: short and long, alone and with
// shared beginnings, greedy and drawn, looking back and not, one choice and more.
func requests(vocab, longest int) []Request {
	rng := rand.New(rand.NewPCG(7, 7))
	text := func(n int) []int32 {
		tokens := make([]int32, n)
		for i := range tokens {
			tokens[i] = int32(rng.IntN(vocab))
		}
		return tokens
	}
	shared := text(longest)
	params := []sampler.Params{
		greedy,
		{Temperature: 1, TopP: 0.9, TopK: 40, Seed: 5},
		{Temperature: 0.8, TopP: 1, MinP: 0.02, Seed: 6, RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2, MinTokens: 5},
	}
	var all []Request
	for i, n := range []int{1, 5, 31, 32, 33, 64, 65, 100, longest / 2, longest} {
		r := Request{ID: fmt.Sprint(i), Tokens: text(n), MaxTokens: 3 + 7*i%40, Params: params[i%3], IgnoreEOS: true}
		if i%2 == 1 {
			r.Tokens = append(slices.Clone(shared[:n*2/3]), r.Tokens[:n-n*2/3]...)
		}
		if i%4 == 3 {
			r.N = 3
			r.Params.Temperature, r.Params.Seed = 1, uint64(i)
		}
		all = append(all, r)
	}
	return all
}

// alone runs each request by itself with room for everything.
func alone(t *testing.T, e *Engine, all []Request) *traces {
	ts := &traces{of: map[string]*trace{}}
	e.loop.tap = ts.tap
	for _, r := range all {
		for choice := range max(r.N, 1) {
			one := r
			g := e.prepare(t.Context(), one, choice)
			if err := e.loop.submit(g); err != nil {
				t.Fatal(err)
			}
			if _, err := ts.read(g, -1); err != nil {
				t.Fatal(err)
			}
			g.Close()
		}
	}
	return ts
}

// together runs all choices of all requests at once, handed over in this order.
func together(t *testing.T, e *Engine, all []Request) *traces {
	t.Helper()
	ts := &traces{of: map[string]*trace{}}
	e.loop.tap = ts.tap
	var live []*Generation
	for _, r := range all {
		for choice := range max(r.N, 1) {
			live = append(live, e.prepare(t.Context(), r, choice))
		}
	}
	if err := e.loop.submit(live...); err != nil {
		t.Fatal(err)
	}
	for _, g := range live {
		if _, err := ts.read(g, -1); err != nil {
			t.Fatal(err)
		}
		g.Close()
	}
	return ts
}

// schedule runs some of the requests as its seed says, and compares.
func schedule(t *testing.T, seed uint64, want *traces, all []Request, start func(Config, func(*loaded)) *Engine) Stats {
	rng := rand.New(rand.NewPCG(seed, 1))
	longest := 0
	for _, r := range all {
		longest = max(longest, len(r.Tokens)+r.MaxTokens)
	}
	least := (longest + device.BlockTokens - 1) / device.BlockTokens
	cfg := Config{MaxSequences: 1 + rng.IntN(8), Threads: 1 + rng.IntN(3)}
	blocks := least + rng.IntN(2*least)
	if seed%2 == 0 { // many, with hardly enough room
		cfg.MaxSequences, blocks = 4+rng.IntN(5), least
	}
	if seed%4 == 0 {
		cfg.HostBlocks = 1 + rng.IntN(2*least)
	}
	e := start(cfg, func(l *loaded) {
		l.opts.MaxTokens = max(l.opts.MaxRows, []int{16, 33, 64, 512}[rng.IntN(4)])
		l.opts.Blocks[device.Full] = blocks
	})
	got := &traces{of: map[string]*trace{}}
	e.loop.tap = got.tap
	order := rng.Perm(len(all))[:3+rng.IntN(len(all)-2)]
	var live []*Generation
	for _, i := range order {
		gs, err := e.GenerateChoices(t.Context(), all[i])
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		live = append(live, gs...)
		for rng.IntN(2) == 0 && len(live) > 0 { // let some run before the next comes
			k := rng.IntN(len(live))
			g := live[k]
			done, err := got.read(g, 1+rng.IntN(8))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if done || rng.IntN(16) == 0 { // some leave
				g.Close()
				live = slices.Delete(live, k, k+1)
			}
		}
	}
	for _, g := range live {
		if _, err := got.read(g, -1); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		g.Close()
	}
	waitIdle(t, e)
	stats := e.Stats()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.loop.pool.Check(); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	compare(t, seed, want, got)
	return stats
}

func compare(t *testing.T, seed uint64, want, got *traces) {
	for _, bad := range got.bad {
		t.Errorf("seed %d: %s", seed, bad)
	}
	for name, g := range got.of {
		w := want.of[name]
		if n := len(g.tokens); n > len(w.tokens) || !slices.Equal(g.tokens, w.tokens[:n]) {
			t.Errorf("seed %d: %s drew %v, alone %v", seed, name, g.tokens, w.tokens)
		}
		for pos, h := range g.rows {
			if w.rows[pos] != h {
				t.Errorf("seed %d: %s: other logits before position %d", seed, name, pos)
			}
		}
	}
}

// unreached names what schedules are for and have not come to. A model with a
// window computes again what others offload.
func unreached(s *Stats, windowed bool) (what []string) {
	for name, count := range map[string]uint64{
		"preemption": s.Preemptions, "eviction": s.Evictions, "copy on write": s.Copies,
		"fork": s.Forks, "split prompt": s.Splits, "cached token": s.CachedTokens, "offload": s.Offloads,
	} {
		if count == 0 && (name != "offload" || !windowed) {
			what = append(what, name)
		}
	}
	return what
}

// metamorphic runs n schedules, and goes on, since a machine's speed has a say in
// each, until they reached what they are for.
func metamorphic(t *testing.T, n int, vocab, longest int, start func(Config, func(*loaded)) *Engine) {
	all := requests(vocab, longest)
	e := start(Config{MaxSequences: 1, Threads: 1}, nil)
	want, windowed := alone(t, e, all), e.loop.opts.Window > 0
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var sum Stats
	done := 0
	for ; done < n || done < 20*n && len(unreached(&sum, windowed)) > 0; done++ {
		s := schedule(t, uint64(done), want, all, start)
		sum.Preemptions += s.Preemptions
		sum.Offloads += s.Offloads
		sum.Copies += s.Copies
		sum.Forks += s.Forks
		sum.Splits += s.Splits
		sum.Evictions += s.Evictions
		sum.CachedTokens += s.CachedTokens
		if t.Failed() {
			return
		}
	}
	t.Logf("%d schedules: %d preemptions, %d offloaded, %d evictions, %d copies on write, %d forks, %d prompts split, %d tokens from the cache",
		done, sum.Preemptions, sum.Offloads, sum.Evictions, sum.Copies, sum.Forks, sum.Splits, sum.CachedTokens)
	for _, what := range unreached(&sum, windowed) {
		t.Errorf("no %s: the schedules do not reach it", what)
	}
}

// TestSchedulesDoNotMatter: the same requests under random schedules give the
// same tokens, and the same bits in each row of logits.
func TestSchedulesDoNotMatter(t *testing.T) {
	start := func(cfg Config, adjust func(*loaded)) *Engine { return open(t, cfg, adjust) }
	vocab := start(Config{}, nil).Info().VocabSize
	metamorphic(t, 1000, vocab, 150, start)
}

// TestSchedulesDoNotMatterWindow is the same for layers that see 40 positions.
func TestSchedulesDoNotMatterWindow(t *testing.T) {
	path := filepath.Join(filepath.Dir(golden.TinyChat(t)), "tiny-window.gguf")
	start := func(cfg Config, adjust func(*loaded)) *Engine { return openPath(t, path, cfg, adjust) }
	metamorphic(t, 300, 301, 150, start)
}

// TestSchedulesDoNotMatterHybrid is the same for a model of Gemma 3's kind: some
// layers see 40 positions, one sees everything.
func TestSchedulesDoNotMatterHybrid(t *testing.T) {
	path := filepath.Join(filepath.Dir(golden.TinyChat(t)), "tiny-hybrid.gguf")
	start := func(cfg Config, adjust func(*loaded)) *Engine { return openPath(t, path, cfg, adjust) }
	metamorphic(t, 150, 301, 150, start)
}

// TestSchedulesDoNotMatterSmolLM2 is the same with the real model and kernels.
func TestSchedulesDoNotMatterSmolLM2(t *testing.T) {
	path := realModel(t)
	n := 5
	if long() {
		n = 50
	}
	start := func(cfg Config, adjust func(*loaded)) *Engine {
		cfg.ContextLength = 512
		return openPath(t, path, cfg, adjust)
	}
	metamorphic(t, n, 49152, 110, start)
}
