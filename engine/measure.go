package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
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
// calls pp and tg.
func (e *Engine) Measure(ctx context.Context, prompt, decode int) (m Measurement, err error) {
	if prompt < 1 || decode < 1 || prompt >= e.info.ContextLength || decode+1 >= e.info.ContextLength {
		return m, fmt.Errorf("engine: measure of %d and %d tokens in a context of %d", prompt, decode, e.info.ContextLength)
	}
	if m.Prefill, err = e.pace(ctx, prompt, 0); err != nil {
		return m, err
	}
	m.Decode, err = e.pace(ctx, 1, decode)
	return m, err
}

// pace returns the speed at which a prompt's tokens pass, or, if more tokens
// than the first are asked for, at which those come.
func (e *Engine) pace(ctx context.Context, prompt, more int) (tokensPerSecond float64, err error) {
	rng := rand.New(rand.NewPCG(1, e.measured.Add(1))) // another prompt each time: none is cached
	tokens := make([]int32, prompt)
	for i := range tokens {
		tokens[i] = int32(rng.IntN(e.info.VocabSize))
	}
	r := Request{Tokens: tokens, MaxTokens: 1 + more, Params: sampler.Params{TopP: 1}}
	if err := e.check(&r); err != nil {
		return 0, err
	}
	g := e.prepare(ctx, r, 0)
	defer g.Close()
	g.seq.Stop = nil // an end token must not cut the run short
	start := time.Now()
	if err := e.loop.submit(g); err != nil {
		return 0, err
	}
	if err := g.await(1); err != nil {
		return 0, err
	}
	first := time.Now()
	if more == 0 {
		return float64(prompt) / first.Sub(start).Seconds(), nil
	}
	if err := g.await(more); err != nil {
		return 0, err
	}
	return float64(more) / time.Since(first).Seconds(), nil
}

// await reads n tokens without looking at their text.
func (g *Generation) await(n int) error {
	for n > 0 {
		l := g.mail.take()
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
