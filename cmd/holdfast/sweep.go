package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
)

// batchSpeed is the speed of decoding a batch.
type batchSpeed struct {
	Batch int       `json:"batch"`     // sequences
	Speed float64   `json:"tok_s"`     // of all together, median
	All   []float64 `json:"all_tok_s"` // of each round
}

// canSweep fails if the KV of a batch does not fit the plan: sequences that are
// preempted and computed again would be measured otherwise.
func canSweep(p engine.Plan, most, tokens int) error {
	need := most * ((tokens + p.BlockTokens) / p.BlockTokens) // one token more: the prompt's
	if tokens < p.ContextLength && need <= p.Blocks {
		return nil
	}
	return fmt.Errorf("sweep: %d sequences of %d tokens need %d blocks of KV, the plan has %d: lower --sweep, --batch or --decode", most, tokens, need, p.Blocks)
}

// sweep decodes batches of least sequences, of twice as many, and so on to most,
// each of so many tokens.
func sweep(ctx context.Context, e *engine.Engine, least, most, tokens, rounds int) ([]batchSpeed, error) {
	rng := rand.New(rand.NewPCG(2, 3))
	var all []batchSpeed
	for batch := least; ; batch = min(2*batch, most) {
		s := batchSpeed{Batch: batch}
		for round := range rounds + 1 {
			speed, err := decodeBatch(ctx, e, batch, tokens, rng)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				s.All = append(s.All, speed)
			}
		}
		s.Speed = median(s.All)
		all = append(all, s)
		if batch == most {
			return all, nil
		}
	}
}

// decodeBatch starts sequences from one token each, so that every step is one of
// decoding, and returns tokens per second.
func decodeBatch(ctx context.Context, e *engine.Engine, batch, tokens int, rng *rand.Rand) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // one that fails ends the others
	ended := make(chan error, batch)
	start := time.Now()
	for range batch {
		r := engine.Request{
			ID: "bench", Tokens: []int32{rng.Int32N(int32(e.Info().VocabSize))}, MaxTokens: tokens,
			IgnoreEOS: true, Params: sampler.Params{TopP: 1},
		}
		go func() { ended <- finish(ctx, e, r) }()
	}
	var failed error
	for range batch {
		if err := <-ended; err != nil && failed == nil {
			failed = err
			cancel()
		}
	}
	return float64(batch*tokens) / time.Since(start).Seconds(), failed
}

// finish runs a request to its end.
func finish(ctx context.Context, e *engine.Engine, r engine.Request) error {
	g, err := e.Generate(ctx, r)
	if err != nil {
		return err
	}
	defer g.Close()
	for {
		if _, err := g.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
