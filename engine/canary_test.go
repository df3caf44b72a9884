package engine

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/scheduler"
)

// TestCanaries runs requests with contents of their own, thousands at a time
// and some leaving early, on a device that echoes: a token that comes from
// another's is noticed.
func TestCanaries(t *testing.T) {
	requests, atOnce := 100_000, 1024
	if long() {
		requests, atOnce = 1_000_000, 4096
	}
	for _, overlap := range []bool{false, true} {
		for _, tight := range []bool{false, true} {
			name := map[bool]string{false: "in turn", true: "overlapping"}[overlap] + map[bool]string{false: "", true: ", few blocks"}[tight]
			t.Run(name, func(t *testing.T) { canaries(t, requests/4, atOnce, overlap, tight, nil) })
		}
	}
}

// canaries runs requests, so many at once: all in one batch, or with blocks for
// some only. On a device that loses everything, wrap makes it one.
func canaries(t *testing.T, requests, atOnce int, overlap, tight bool, wrap func(echo.Backend) device.Backend) {
	var rows atomic.Uint64
	var hit sync.Map // requests with a row that had no number: a second one would end them
	e := open(t, Config{HostBlocks: 64}, func(l *loaded) {
		b := echo.Backend{Overlap: overlap, Fault: func(_ *device.StepInput, _ int, late sampler.Row) bool {
			if rows.Add(1)%50_000 != 0 {
				return false
			}
			_, again := hit.LoadOrStore(late.Params.Seed, true)
			return !again
		}}
		if l.backend = b; wrap != nil {
			l.backend = wrap(b)
		}
		l.opts.MaxRows, l.opts.MaxTokens, l.opts.Blocks[device.Full] = atOnce, 4*atOnce, 8*atOnce
		if tight {
			l.opts.Blocks[device.Full] = 512
		}
	})
	e.loop.rebuilds.most = math.MaxInt
	e.loop.limit = 2 * atOnce
	unseen := func(s Stats) bool {
		if wrap != nil {
			return s.DeviceRebuilds == 0 || s.Copies == 0 || overlap && s.Ghosts == 0
		}
		return tight && (s.Preemptions == 0 || !overlap && s.Offloads == 0) || s.Copies == 0 || s.Retries == 0 || overlap && s.Ghosts == 0
	}
	var next, tokens, left atomic.Uint64
	var readers sync.WaitGroup
	for range atOnce {
		readers.Go(func() {
			for {
				i := next.Add(1)
				if i > uint64(requests) && (i > uint64(20*requests) || !unseen(e.Stats())) || t.Failed() {
					return
				}
				n, gone := canary(t, e, i)
				tokens.Add(uint64(n))
				if gone {
					left.Add(1)
				}
			}
		})
	}
	readers.Wait()
	s := waitIdle(t, e)
	t.Logf("%d requests, %d tokens, %d left early; %d steps, %d preemptions, %d offloaded, %d copies on write, %d ghosts, %d run again, %d rebuilds",
		next.Load()-uint64(atOnce), tokens.Load(), left.Load(), s.Steps, s.Preemptions, s.Offloads, s.Copies, s.Ghosts, s.Retries, s.DeviceRebuilds)
	if unseen(s) || left.Load() == 0 {
		t.Error("something never happened")
	}
}

// canary runs request i and checks each of its tokens. It reports how many
// came, and whether it left before the end.
func canary(t *testing.T, e *Engine, i uint64) (tokens int, gone bool) {
	rng := rand.New(rand.NewPCG(i, 3))
	vocab := e.info.VocabSize
	prompt := make([]int32, 1+rng.IntN(90))
	if rng.IntN(4) == 0 {
		prompt = make([]int32, 64+rng.IntN(26)) // begins like others: tokens 0
	}
	for j := range prompt {
		if len(prompt) < 64 || j >= 64 {
			prompt[j] = int32(rng.IntN(vocab))
		}
	}
	r := Request{Tokens: prompt, MaxTokens: 1 + rng.IntN(60), Params: sampler.Params{Temperature: 1, TopP: 1, Seed: i}}
	if rng.IntN(20) == 0 {
		r.N = 2 + rng.IntN(2)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all, err := e.GenerateChoices(ctx, r)
	if err != nil {
		t.Errorf("request %d: %v", i, err)
		return 0, false
	}
	leaveAt := -1
	if rng.IntN(5) == 0 {
		leaveAt = rng.IntN(r.MaxTokens + 1)
	}
	for choice, g := range all {
		hash := uint64(0)
		for _, token := range prompt {
			hash = echo.Mix(hash, token)
		}
		for n := 0; ; n++ {
			if tokens == leaveAt {
				if gone = true; rng.IntN(2) == 0 {
					cancel()
				}
				break
			}
			l := g.mail.take()
			for !l.ok && l.err == nil && l.reason == scheduler.None {
				<-g.mail.more
				l = g.mail.take()
			}
			if !l.ok {
				if l.err != nil || n != r.MaxTokens && l.reason != scheduler.Stopped {
					t.Errorf("request %d ended after %d of %d tokens: %v", i, n, r.MaxTokens, l.err)
				}
				break
			}
			if want := echo.Next(hash, i, uint32(choice), vocab); l.token != want {
				t.Errorf("request %d, choice %d: token %d is %d, want %d", i, choice, n, l.token, want)
				return tokens, gone
			}
			hash = echo.Mix(hash, l.token)
			tokens++
			if slices.Contains(g.seq.Stop, l.token) {
				break
			}
		}
		g.Close()
	}
	return tokens, gone
}

// TestFaultsAreRunAgain: a row without a number is computed once more; one that
// stays so ends with an error, and nobody else notices.
func TestFaultsAreRunAgain(t *testing.T) {
	for _, always := range []bool{false, true} {
		var once atomic.Bool
		e := open(t, Config{}, func(l *loaded) {
			l.backend = echo.Backend{Fault: func(in *device.StepInput, row int, _ sampler.Row) bool {
				bad := in.Tokens[in.Logits[row]] == 7 && (always || once.CompareAndSwap(false, true))
				return bad
			}}
		})
		vocab := e.info.VocabSize
		ask := func(last int32) (tokens []int32, err error) {
			g, err := e.Generate(t.Context(), Request{Tokens: []int32{1, 2, 3, last}, MaxTokens: 1, Params: greedy, IgnoreEOS: true})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			l := g.mail.take()
			for !l.ok && l.err == nil {
				<-g.mail.more
				l = g.mail.take()
			}
			return []int32{l.token}, l.err
		}
		want := func(last int32) []int32 {
			hash := uint64(0)
			for _, token := range []int32{1, 2, 3, last} {
				hash = echo.Mix(hash, token)
			}
			return []int32{echo.Next(hash, 0, 0, vocab)}
		}
		got, err := ask(7)
		if always != errors.Is(err, ErrDevice) || !always && !slices.Equal(got, want(7)) {
			t.Errorf("always %v: drew %v, %v", always, got, err)
		}
		if got, err := ask(8); err != nil || !slices.Equal(got, want(8)) {
			t.Errorf("always %v: another drew %v, %v", always, got, err)
		}
		if s := waitIdle(t, e); s.Retries != 1 {
			t.Errorf("always %v: %d rows run again", always, s.Retries)
		}
	}
}
