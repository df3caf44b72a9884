package engine

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	driver "github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	"github.com/holdfast-run/holdfast/sampler"
)

// onGPU starts engines on an emulated GPU, in batch-invariant mode.
func onGPU(t *testing.T, path string, seed uint64) (start func(Config, func(*loaded)) *Engine, emu *cudaemu.Emulator) {
	d, emu := cudatest.Start(t, cudaemu.Options{Seed: seed})
	return func(cfg Config, adjust func(*loaded)) *Engine {
		cfg.ContextLength = 128
		return openPath(t, path, cfg, func(l *loaded) {
			l.backend = &cuda.Backend{Driver: d, BatchInvariant: true}
			l.opts.MaxTokens = 64
			if adjust != nil {
				adjust(l)
			}
		})
	}, emu
}

// few is what requests makes, but little of it: every step is emulated.
func few(vocab int) []Request {
	rng := rand.New(rand.NewPCG(9, 9))
	text := func(n int) []int32 {
		tokens := make([]int32, n)
		for i := range tokens {
			tokens[i] = int32(rng.IntN(vocab))
		}
		return tokens
	}
	shared := text(70)
	drawn := sampler.Params{Temperature: 1, TopP: 0.9, TopK: 40, Seed: 5}
	back := sampler.Params{Temperature: 0.8, TopP: 1, MinP: 0.02, Seed: 6, RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2, MinTokens: 3}
	return []Request{
		{ID: "0", Tokens: text(3), MaxTokens: 12, Params: greedy, IgnoreEOS: true},
		{ID: "1", Tokens: append(slices.Clone(shared[:40]), text(5)...), MaxTokens: 6, Params: drawn, IgnoreEOS: true},
		{ID: "2", Tokens: append(slices.Clone(shared), text(3)...), MaxTokens: 5, Params: back, IgnoreEOS: true},
		{ID: "3", Tokens: slices.Clone(shared[:66]), MaxTokens: 4, Params: drawn, IgnoreEOS: true, N: 2},
		{ID: "4", Tokens: text(30), MaxTokens: 9, Params: back, IgnoreEOS: true},
		{ID: "5", Tokens: text(33), MaxTokens: 3, Params: greedy, IgnoreEOS: true},
	}
}

// TestSchedulesDoNotMatterCUDA is TestSchedulesDoNotMatter through device/cuda on the
// emulator, two steps under way. By default it is one schedule, which reaches what it
// is for however fast the machine: all requests at once, on four blocks that four of
// them outgrow together.
func TestSchedulesDoNotMatterCUDA(t *testing.T) {
	start, _ := onGPU(t, golden.TinyChat(t), 1)
	all := few(301)
	for i := range 4 {
		all = append(all, Request{ID: fmt.Sprint("grows ", i), Tokens: all[4].Tokens[:28+i%3], MaxTokens: 8, Params: all[i].Params, IgnoreEOS: true})
	}
	e := start(Config{MaxSequences: 1}, nil)
	want := alone(t, e, all)
	cached := e.Stats().CachedTokens
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e = start(Config{MaxSequences: 4, HostBlocks: 4}, func(l *loaded) { l.opts.Blocks[device.Full] = 4 })
	grow := 6 % len(all) // those that grow come first
	got := together(t, e, slices.Concat(all[grow:], all[:grow]))
	waitIdle(t, e)
	s := e.Stats()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	compare(t, 0, want, got)
	t.Logf("%d preemptions, %d offloaded, %d prompts split, %d tokens from the cache", s.Preemptions, s.Offloads, s.Splits, cached)
	for what, n := range map[string]uint64{"preemption": s.Preemptions, "offload": s.Offloads, "cached token": cached} {
		if n == 0 {
			t.Errorf("no %s: the schedule does not reach it", what)
		}
	}
	for seed := uint64(0); long() && seed < 100 && !t.Failed(); seed++ {
		schedule(t, seed, want, all, start)
	}
}

// TestGreedyEqualsReferenceCUDA: the golden text, in both modes of the GPU.
func TestGreedyEqualsReferenceCUDA(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	start, _ := onGPU(t, golden.TinyChat(t), 2)
	e := start(Config{MaxSequences: 2}, nil)
	const n = 16
	want := e.Tokenizer().Decode(c.Tokens[c.Prompt:c.Prompt+n], false)
	if got, finish := generate(t, e, Request{Tokens: c.Tokens[:c.Prompt], MaxTokens: n, Params: greedy}); got != want || finish != FinishLength {
		t.Errorf("got  %q, %s\nwant %q, length", got, finish, want)
	}
	if info := e.Info(); info.Class != "cuda-1-sm90" {
		t.Errorf("%+v", info)
	}
}

// TestFaultsCUDA: faults of the emulated GPU, in prefill, in decoding graphs, in copies
// and while it is rebuilt, change no token and no bit of a logits row of requests that
// are greedy, drawn and look back, on so few blocks that some give way. The GPU's memory
// is what it was. With HOLDFAST_LONG=1 every launch fails once.
func TestFaultsCUDA(t *testing.T) {
	start, emu := onGPU(t, golden.TinyChat(t), 3)
	some := few(301)
	all := []Request{some[0]}
	for i := range 4 { // which outgrow four blocks together
		all = append(all, Request{ID: fmt.Sprint("grows ", i), Tokens: some[4].Tokens[:28+i%3], MaxTokens: 6, Params: some[i].Params, IgnoreEOS: true, N: 1 + i/3})
	}
	run := func(faults map[string][]int) (*traces, Stats) {
		e := start(Config{MaxSequences: 4, HostBlocks: 2}, func(l *loaded) { l.opts.Blocks[device.Full] = 4 })
		defer e.Close()
		e.loop.rebuilds.most = math.MaxInt
		memory := emu.Memory().Used()
		for symbol, calls := range faults {
			for _, n := range calls {
				emu.Inject(symbol, n, driver.IllegalAddress)
			}
		}
		got := together(t, e, all)
		s := waitIdle(t, e)
		if now := emu.Memory().Used(); now != memory {
			t.Errorf("%v: %d bytes of the GPU are used, %d before", faults, now, memory)
		}
		return got, s
	}
	launches := emu.Calls("cuGraphLaunch")
	want, s := run(nil)
	if s.DeviceFaults != 0 || s.Preemptions == 0 {
		t.Fatalf("%+v", s)
	}
	launches = emu.Calls("cuGraphLaunch") - launches
	check := func(least uint64, faults map[string][]int) {
		t.Helper()
		got, s := run(faults)
		compare(t, 0, want, got)
		if s.DeviceFaults < least || s.Replayed == 0 {
			t.Errorf("%v: %d faults, %d sequences computed again", faults, s.DeviceFaults, s.Replayed)
		}
		t.Logf("%d faults, %d rebuilds, %d sequences computed again, %d preemptions", s.DeviceFaults, s.DeviceRebuilds, s.Replayed, s.Preemptions)
	}
	check(4, map[string][]int{"cuLaunchKernelEx": {7}, "cuGraphLaunch": {2, 6}, "cuMemcpyDtoHAsync_v2": {9}, "cuMemcpyHtoDAsync_v2": {60}})
	for n := 1; long() && n <= launches; n++ {
		check(1, map[string][]int{"cuGraphLaunch": {n}})
	}
}

// TestFaultIsReportedCUDA: the log names what failed on the GPU, once.
func TestFaultIsReportedCUDA(t *testing.T) {
	start, emu := onGPU(t, golden.TinyChat(t), 3)
	var log bytes.Buffer
	e := start(Config{MaxSequences: 1, Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)
	emu.Inject("cuGraphLaunch", 1, driver.ECCUncorrectable)
	generate(t, e, Request{Tokens: []int32{5, 6}, MaxTokens: 2, Params: greedy, IgnoreEOS: true})
	waitIdle(t, e)
	if got := log.String(); strings.Count(got, `kernel="decode graph of 1 rows"`) != 1 || !strings.Contains(got, "CUDA_ERROR_ECC_UNCORRECTABLE") {
		t.Error(got)
	}
}

// TestAutoWithoutGPU: the CPU stands in, and the plan says why.
func TestAutoWithoutGPU(t *testing.T) {
	plan, err := MakePlan(Config{ModelPath: golden.TinyChat(t), Device: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Device == "cuda" {
		t.Skip("this machine has a GPU that can be used")
	}
	if plan.Device != "cpu" || !strings.Contains(plan.Reason, "no usable GPU") {
		t.Errorf("device %s, %q", plan.Device, plan.Reason)
	}
	if _, err := MakePlan(Config{ModelPath: golden.TinyChat(t), Device: "cuda"}); !errors.Is(err, cuda.ErrUnusable) {
		t.Error(err)
	}
}

// TestHostMemoryCUDA: blocks of preempted sequences are in page-locked memory, or in
// other memory, with a word about it, where that cannot be had.
func TestHostMemoryCUDA(t *testing.T) {
	for _, refused := range []bool{false, true} {
		start, emu := onGPU(t, golden.TinyChat(t), 0)
		if refused {
			emu.Inject("cuMemHostRegister_v2", 1, driver.OutOfMemory)
		}
		var log bytes.Buffer
		e := start(Config{MaxSequences: 1, HostBlocks: 2, Log: slog.New(slog.NewTextHandler(&log, nil))}, nil)
		if n := 2 * e.loop.prog.Pool(device.Full).BlockBytes(); len(e.loop.host) != n || (e.loop.slab != nil) != refused {
			t.Errorf("refused %v: %d bytes, want %d, slab %v", refused, len(e.loop.host), n, e.loop.slab != nil)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if said := strings.Contains(log.String(), "not page-locked"); said != refused || emu.Calls("cuMemHostRegister_v2") != 1 {
			t.Errorf("refused %v: %d calls, log %q", refused, emu.Calls("cuMemHostRegister_v2"), log.String())
		}
	}
}
