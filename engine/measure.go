package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast/sampler"
)

// Measurement is the speed of one round of Measure, in tokens per second.
type Measurement struct {
	Prefill float64
	Decode  float64
}

// Measure runs a prompt of random tokens, then a greedy decode from a prompt of
// one token, alone in the engine, and returns both speeds: what llama-bench
// calls pp and tg. Both stand behind depth tokens, a multiple of the block's, that
// are computed before and do not count.
func (e *Engine) Measure(ctx context.Context, depth, prompt, decode int) (m Measurement, err error) {
	limit := e.info.ContextLength
	if depth < 0 || prompt < 1 || decode < 1 || prompt >= limit || decode+1 >= limit || depth >= limit-max(prompt, decode+1) {
		return m, fmt.Errorf("engine: measure of %d and %d tokens behind %d in a context of %d", prompt, decode, depth, limit)
	}
	if depth%e.info.BlockTokens != 0 {
		return m, fmt.Errorf("engine: measure behind %d tokens, which is not a multiple of %d", depth, e.info.BlockTokens)
	}
	before := e.randomTokens(nil, depth, 0)
	if depth > 0 { // a run leaves its blocks to the prefix index
		if _, _, _, err := e.timed(ctx, e.randomTokens(before, 1, 0), 0); err != nil {
			return m, err
		}
	}
	for _, run := range []struct{ prompt, more int }{{prompt, 0}, {1, decode}} {
		tokens := e.randomTokens(slices.Clone(before), run.prompt, e.measured.Add(1)) // others each time: none is cached
		first, rest, cached, err := e.timed(ctx, tokens, run.more)
		switch {
		case err != nil:
			return m, err
		case cached < depth:
			return m, fmt.Errorf("engine: measure behind %d tokens: the prefix index has kept %d of them", depth, cached)
		case run.more == 0:
			m.Prefill = float64(prompt) / first.Seconds()
		default:
			m.Decode = float64(decode) / rest.Seconds()
		}
	}
	return m, nil
}

// randomTokens appends n tokens that the seed decides.
func (e *Engine) randomTokens(to []int32, n int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(1, seed))
	for range n {
		to = append(to, int32(rng.IntN(e.info.VocabSize)))
	}
	return to
}

// timed runs a request, and returns the times to its first token and to more
// tokens after it, and how many tokens of its prompt were found computed.
func (e *Engine) timed(ctx context.Context, tokens []int32, more int) (first, rest time.Duration, cached int, err error) {
	r := Request{Tokens: tokens, MaxTokens: 1 + more, Params: sampler.Params{TopP: 1}}
	if err := e.check(&r); err != nil {
		return 0, 0, 0, err
	}
	g := e.prepare(ctx, r, 0)
	defer g.Close()
	g.seq.Stop = nil // an end token must not cut the run short
	start := time.Now()
	if err := e.loop.submit(g); err != nil {
		return 0, 0, 0, err
	}
	if err := g.await(1); err != nil {
		return 0, 0, 0, err
	}
	first = time.Since(start)
	err = g.await(more)
	return first, time.Since(start) - first, g.usage.CachedTokens, err
}

// await reads n tokens without looking at their text.
func (g *Generation) await(n int) error {
	for n > 0 {
		l := g.mail.take()
		g.usage.CachedTokens = l.cached
		switch {
		case l.ok:
			n--
		case l.err != nil:
			return l.err
		default:
			<-g.mail.more
		}
	}
	return nil
}
