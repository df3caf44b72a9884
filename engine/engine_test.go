package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/leaktest"
	"github.com/holdfast-run/holdfast/sampler"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// greedy is the parameters of a request that takes the largest logit.
var greedy = sampler.Params{TopP: 1}

// open starts an engine over the tiny chat model. adjust may change what was
// planned before it is compiled.
func open(t *testing.T, cfg Config, adjust func(*loaded)) *Engine {
	t.Helper()
	return openPath(t, golden.TinyChat(t), cfg, adjust)
}

func openPath(t *testing.T, path string, cfg Config, adjust func(*loaded)) *Engine {
	t.Helper()
	cfg.ModelPath = path
	l, err := load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if adjust != nil {
		adjust(l)
	}
	e := &Engine{info: l.info, plan: l.plan, file: l.file}
	if err := e.assemble(t.Context(), l, cfg); err != nil {
		t.Fatal(err)
	}
	e.run()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// result reads a generation to its end.
func result(g *Generation) (text string, finish FinishReason, err error) {
	var b strings.Builder
	for {
		d, err := g.Next()
		if errors.Is(err, io.EOF) {
			return b.String(), finish, nil
		}
		if err != nil {
			return b.String(), finish, err
		}
		b.WriteString(d.Text)
		finish = d.Finish
	}
}

func generate(t *testing.T, e *Engine, r Request) (string, FinishReason) {
	t.Helper()
	g, err := e.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	text, finish, err := result(g)
	if err != nil {
		t.Fatal(err)
	}
	return text, finish
}

// TestGreedyEqualsReference: both backends continue as transformers does, where all
// layers see everything and where most have a window.
func TestGreedyEqualsReference(t *testing.T) {
	greedyEqualsReference(t, golden.TinyCase(t, "tiny-chat"), nil)
	// Its best tokens lead by less than what f16 rounds off.
	greedyEqualsReference(t, golden.TinyCase(t, "tiny-hybrid"), func(l *loaded) { l.opts.KV = graph.F32 })
}

func greedyEqualsReference(t *testing.T, c golden.Case, adjust func(*loaded)) {
	for _, device := range []string{"cpu", "ref"} {
		t.Run(c.Name+"/"+device, func(t *testing.T) {
			e := openPath(t, c.Path, Config{Device: device, MaxSequences: 2}, adjust)
			want := e.Tokenizer().Decode(c.Tokens[c.Prompt:], false)
			got, finish := generate(t, e, Request{Tokens: c.Tokens[:c.Prompt], MaxTokens: len(c.Tokens) - c.Prompt, Params: greedy})
			if got != want || finish != FinishLength {
				t.Errorf("got  %q, %s\nwant %q, length", got, finish, want)
			}
		})
	}
}

// TestCompanyDoesNotMatter: many requests at once, through a pool so small that
// sequences are preempted, give what each gives alone.
func TestCompanyDoesNotMatter(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	request := func(i int) Request {
		r := Request{Tokens: slices.Clone(c.Tokens[:5+i]), MaxTokens: 50 + i, Params: greedy}
		switch i % 3 {
		case 1:
			r.Params = sampler.Params{Temperature: 1, TopP: 0.9, TopK: 40, Seed: uint64(i)}
		case 2: // what looks back must survive preemption
			r.Params = sampler.Params{
				Temperature: 0.8, TopP: 1, MinP: 0.02, Seed: uint64(i),
				RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2, MinTokens: 20,
				LogitBias: []sampler.Bias{{Token: 70, Value: 2}}, BadWords: [][]int32{{80, 81}, {90}},
			}
		}
		return r
	}
	const n = 24
	alone := open(t, Config{MaxSequences: 1, Threads: 1}, nil)
	var want [n]string
	for i := range want {
		want[i], _ = generate(t, alone, request(i))
	}

	// Six blocks hold one long sequence or six short ones, and all requests come
	// at once: what runs must outgrow the pool, however fast the loop is.
	e := open(t, Config{MaxSequences: 8, Threads: 2}, func(l *loaded) { l.opts.Blocks[device.Full] = 6 })
	var all [n]*Generation
	for i := range all {
		all[i] = e.prepare(t.Context(), request(i), 0)
	}
	e.loop.mu.Lock()
	e.loop.inbox = append(e.loop.inbox, all[:]...)
	e.loop.queued += n
	e.loop.mu.Unlock()
	e.loop.notify()
	var wg sync.WaitGroup
	var preempted atomic.Int64
	for i, g := range all {
		wg.Go(func() {
			defer g.Close()
			got, _, err := result(g)
			if err != nil || got != want[i] {
				t.Errorf("request %d: %q (%v), alone %q", i, got, err, want[i])
			}
			preempted.Add(int64(g.seq.Preempted)) // the loop is done with it
		})
	}
	wg.Wait()
	if preempted.Load() == 0 {
		t.Error("nothing was preempted")
	}
	if s := e.Stats(); s.CompletionTokens < n*50 {
		t.Errorf("%d tokens counted", s.CompletionTokens)
	}
}

// TestEnds: end tokens, stop tokens, and what holds them off.
func TestEnds(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	made := c.Tokens[c.Prompt:]
	at := slices.IndexFunc(made, func(id int32) bool { return !slices.Contains(made[:10], id) }) // drawn first after ten others
	if at < 10 {
		t.Fatalf("the golden continuation has no such token: %d", at)
	}
	ask := func(r Request) Usage {
		r.Tokens = c.Tokens[:c.Prompt]
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if _, _, err := result(g); err != nil {
			t.Fatal(err)
		}
		return g.Usage()
	}
	eog := e.Tokenizer().EOG()[0]
	toEOG := sampler.Params{TopP: 1, LogitBias: []sampler.Bias{{Token: eog, Value: 100}}}
	held := toEOG
	held.MinTokens = 5
	for name, c := range map[string]struct {
		r    Request
		want int // tokens drawn
	}{
		"stop token":            {Request{MaxTokens: 40, Params: greedy, StopIDs: made[at : at+1]}, at + 1},
		"end token":             {Request{MaxTokens: 40, Params: toEOG}, 1},
		"end token held off":    {Request{MaxTokens: 40, Params: held}, 6},
		"end token passed over": {Request{MaxTokens: 12, Params: toEOG, IgnoreEOS: true}, 12},
	} {
		if got := ask(c.r); got.CompletionTokens != c.want {
			t.Errorf("%s: %d tokens, want %d", name, got.CompletionTokens, c.want)
		}
	}
}

// TestPrefixCache: a prompt whose beginning is known starts behind it and gives
// what it gives on a fresh engine.
func TestPrefixCache(t *testing.T) {
	long := make([]int32, 150)
	for i := range long {
		long[i] = int32(3 + i*7%250)
	}
	request := Request{Tokens: long, MaxTokens: 30, Params: greedy}
	want, _ := generate(t, open(t, Config{}, nil), request)

	e := open(t, Config{}, nil)
	for _, n := range []int{100, 150, 150} { // blocks of 32: nothing, then 96, then 128 are known
		g, err := e.Generate(t.Context(), Request{Tokens: long[:n], MaxTokens: 30, Params: greedy})
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := result(g)
		g.Close()
		if n == 150 && (err != nil || got != want) {
			t.Errorf("%q (%v), fresh %q", got, err, want)
		}
		waitIdle(t, e)
	}
	if s := e.Stats(); s.CachedTokens != 96+128 || s.BlocksCached == 0 {
		t.Errorf("%d tokens were found, %d blocks are kept", s.CachedTokens, s.BlocksCached)
	}
}

// patience is how long a test waits for what must come: nothing is held to it.
const patience = 5 * time.Minute

// waitIdle waits for the loop to hold nothing.
func waitIdle(t *testing.T, e *Engine) Stats {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if s := e.Stats(); s.BlocksUsed == 0 && s.Running == 0 && s.Waiting == 0 {
			return s
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never idle: %+v", e.Stats())
	return Stats{}
}

// TestLeavesBeforeSubmit has a request's client leave before the loop knows of the
// request, and the loop come round in between.
func TestLeavesBeforeSubmit(t *testing.T) {
	e := open(t, Config{MaxSequences: 1}, nil)
	r := Request{Tokens: []int32{1, 2, 3}, MaxTokens: 2, Params: greedy, IgnoreEOS: true}
	gone := e.prepare(t.Context(), r, 0)
	gone.Close()
	generate(t, e, r) // the loop comes round
	if err := e.loop.submit(gone); err != nil {
		t.Fatal(err)
	}
	if _, _, err := result(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	generate(t, e, r)
	if s := waitIdle(t, e); s.Cancelled != 1 {
		t.Errorf("%d cancelled, want 1", s.Cancelled)
	}
}

func TestCancelFreesBlocks(t *testing.T) {
	var rows atomic.Int64
	gate := make(chan struct{})
	e := open(t, Config{MaxSequences: 2}, func(l *loaded) {
		l.backend = echo.Backend{Fault: func(*device.StepInput, int, sampler.Row) bool {
			if rows.Add(1) > 100 { // no machine is so fast that a request ends before it is cancelled
				<-gate
			}
			return false
		}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var all []*Generation
	for range 6 { // two run, four wait
		g, err := e.Generate(ctx, Request{Tokens: []int32{1, 2, 3}, Params: greedy, IgnoreEOS: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	if _, err := all[0].Next(); err != nil {
		t.Fatal(err)
	}
	all[5].Close()
	cancel()
	cancelled := func(g *Generation) bool {
		g.mail.mu.Lock()
		defer g.mail.mu.Unlock()
		return g.mail.stopped
	}
	for _, g := range all { // the context's end reaches each on a goroutine of its own, which says so
		for !cancelled(g) {
			<-g.mail.more
		}
	}
	close(gate)
	for i, g := range all {
		if _, _, err := result(g); !errors.Is(err, context.Canceled) {
			t.Errorf("generation %d ended with %v", i, err)
		}
		g.Close()
	}
	if s := waitIdle(t, e); s.Cancelled != 6 {
		t.Errorf("%d counted as cancelled", s.Cancelled)
	}
}

func TestRefusals(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{ContextLength: 64}, nil)
	try := func(r Request) error {
		g, err := e.Generate(t.Context(), r)
		if err == nil {
			g.Close()
		}
		return err
	}
	var long *ContextLengthError
	if err := try(Request{Tokens: make([]int32, 64), Params: greedy}); !errors.As(err, &long) || long.Prompt != 64 || long.Limit != 64 {
		t.Errorf("a full context: %v", err)
	}
	if err := try(Request{Tokens: make([]int32, 60), MaxTokens: 5, Params: greedy}); !errors.As(err, &long) {
		t.Errorf("prompt and completion too long: %v", err)
	}
	for name, r := range map[string]Request{
		"empty prompt":   {Params: greedy},
		"foreign token":  {Tokens: []int32{1 << 20}, Params: greedy},
		"negative token": {Tokens: []int32{-1}, Params: greedy},
		"foreign bias":   {Tokens: c.Tokens[:3], Params: sampler.Params{TopP: 1, LogitBias: []sampler.Bias{{Token: 1 << 19, Value: 1}}}},
		"foreign stop":   {Tokens: c.Tokens[:3], Params: greedy, StopIDs: []int32{1 << 19}},
		"temperature":    {Tokens: c.Tokens[:3], Params: sampler.Params{Temperature: -1, TopP: 1}},
	} {
		if err := try(r); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := try(Request{Tokens: make([]int32, 63), MaxTokens: 1, Params: greedy}); err != nil {
		t.Errorf("a prompt that just fits: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	gate := make(chan struct{})
	e := open(t, Config{MaxSequences: 1}, func(l *loaded) { // no machine is so fast that it empties the queue meanwhile
		l.backend = echo.Backend{Fault: func(*device.StepInput, int, sampler.Row) bool { <-gate; return false }}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var err error
	for range 2 * maxQueue {
		if _, err = e.Generate(ctx, Request{Tokens: make([]int32, 100), Params: greedy}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("after %d requests: %v", 2*maxQueue, err)
	}
	close(gate)
	cancel()
	waitIdle(t, e)
	generate(t, e, Request{Tokens: make([]int32, 5), MaxTokens: 2, Params: greedy})
}

func TestDrain(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	g, err := e.Generate(t.Context(), Request{Tokens: c.Tokens[:c.Prompt], MaxTokens: 50, Params: greedy})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := e.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, finish, err := result(g); err != nil || finish != FinishLength {
		t.Errorf("the accepted request ended with %q, %v", finish, err)
	}
	if err := e.Ready(); !errors.Is(err, ErrStopped) {
		t.Errorf("ready after the drain: %v", err)
	}
	if _, err := e.Generate(t.Context(), Request{Tokens: c.Tokens[:5], Params: greedy}); !errors.Is(err, ErrStopped) {
		t.Errorf("accepted after the drain: %v", err)
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	cfg := Config{ModelPath: golden.TinyChat(t)}
	e, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g, err := e.Generate(t.Context(), Request{Tokens: make([]int32, 5), Params: greedy})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := result(g); err != nil && !errors.Is(err, ErrStopped) {
		t.Errorf("ended with %v", err)
	}
}

// TestStopStrings: text ends before the first stop string, and nothing of one is
// shown however the tokens fall.
func TestStopStrings(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	whole, _ := generate(t, e, Request{Tokens: c.Tokens[:c.Prompt], MaxTokens: 40, Params: greedy})
	for n := 1; n < 6; n++ {
		for at := 1; at+n < len(whole); at += 3 {
			stop := whole[at : at+n]
			got, finish := generate(t, e, Request{Tokens: c.Tokens[:c.Prompt], MaxTokens: 40, Params: greedy, Stop: []string{"never there", stop}})
			if want := whole[:strings.Index(whole, stop)]; got != want || finish != FinishStop {
				t.Fatalf("stop %q: %q, %s; want %q", stop, got, finish, want)
			}
		}
	}
	waitIdle(t, e)
}

func TestOpenErrors(t *testing.T) {
	path := golden.TinyChat(t)
	for name, cfg := range map[string]Config{
		"missing file":  {ModelPath: path + ".none"},
		"not a model":   {ModelPath: strings.TrimSuffix(path, ".gguf") + ".golden"},
		"device":        {ModelPath: path, Device: "abacus"},
		"threads":       {ModelPath: path, Threads: -1},
		"context":       {ModelPath: path, ContextLength: 1 << 30},
		"max sequences": {ModelPath: path, MaxSequences: maxSequences + 1},
	} {
		e, err := Open(t.Context(), cfg)
		if err == nil {
			e.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
	}
}

func TestMakePlan(t *testing.T) {
	p, err := MakePlan(Config{ModelPath: golden.TinyChat(t), ContextLength: 64, MaxSequences: 3})
	if err != nil {
		t.Fatal(err)
	}
	if p.Blocks != 6 || p.ContextLength != 64 || p.MaxSequences != 3 || p.Total <= 0 || p.BytesPerToken <= 0 {
		t.Errorf("%+v", p)
	}
	// 2 layers, 2 KV heads of 16, K and V in F16
	if want := int64(2 * 2 * 16 * 2 * 2); p.BytesPerToken != want {
		t.Errorf("a token takes %d bytes, want %d", p.BytesPerToken, want)
	}
}

func TestTooLittleMemory(t *testing.T) {
	defer func(f func() int64) { availableMemory = f }(availableMemory)
	availableMemory = func() int64 { return 100 << 10 }
	_, err := MakePlan(Config{ModelPath: golden.TinyChat(t)})
	if !errors.Is(err, device.ErrNoMemory) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a plan larger than the memory: %v", err)
	}
}
