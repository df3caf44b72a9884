package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
)

type benchCmd struct {
	modelFlags
	Prefill int  `default:"512" placeholder:"N" help:"Tokens of the prompt. Default ${default}."`
	Decode  int  `default:"128" placeholder:"N" help:"Tokens that are made, one after another. Default ${default}."`
	Rounds  int  `default:"3" placeholder:"N" help:"How often both are measured, after one round that does not count. Default ${default}."`
	JSON    bool `name:"json" help:"Print a JSON object."`
}

// Help is shown by 'holdfast bench --help'.
func (benchCmd) Help() string {
	return `Measures one sequence in this process, without HTTP: the speed at which a prompt of random tokens passes, and the speed of greedy decoding from one token. The numbers are medians over the rounds, in tokens per second.

Example:
  holdfast bench --model models/SmolLM2-135M-Instruct.Q4_1.gguf --threads 2`
}

// Validate is called by the flag parser.
func (c *benchCmd) Validate() error {
	if err := c.modelFlags.Validate(); err != nil {
		return err
	}
	if c.Prefill < 1 || c.Decode < 1 || c.Rounds < 1 {
		return fmt.Errorf("--prefill, --decode and --rounds must be 1 or more")
	}
	return nil
}

// benchResult is what bench prints.
type benchResult struct {
	Model   string    `json:"model"`
	Device  string    `json:"device"`
	Class   string    `json:"class"`
	Threads int       `json:"threads"`
	Prefill float64   `json:"prefill_tok_s"`
	Decode  float64   `json:"decode_tok_s"`
	Prompt  int       `json:"prefill_tokens"`
	Made    int       `json:"decode_tokens"`
	All     []float64 `json:"all_tok_s"` // prefill and decode of each round, in turns
}

// Run measures and prints.
func (c *benchCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cfg := c.config()
	cfg.MaxSequences = 1
	e, err := openModel(ctx, cfg, nil, false)
	if err != nil {
		return err
	}
	defer e.Close()
	r := benchResult{
		Model: e.Info().ID, Device: e.Info().Device, Class: e.Info().Class, Threads: e.MemoryPlan().Threads,
		Prompt: c.Prefill, Made: c.Decode,
	}
	var prefill, decode []float64
	for round := range c.Rounds + 1 {
		m, err := e.Measure(ctx, c.Prefill, c.Decode)
		if err != nil {
			return fmt.Errorf("bench: %s", trim(err))
		}
		if round > 0 {
			prefill, decode = append(prefill, m.Prefill), append(decode, m.Decode)
			r.All = append(r.All, m.Prefill, m.Decode)
		}
	}
	r.Prefill, r.Decode = median(prefill), median(decode)
	if c.JSON {
		return json.NewEncoder(std.out).Encode(r)
	}
	_, err = fmt.Fprintf(std.out, "%s on %s (%s), %d threads\nprefill %4d  %8.1f tok/s\ndecode  %4d  %8.1f tok/s\n",
		r.Model, r.Device, r.Class, r.Threads, c.Prefill, r.Prefill, c.Decode, r.Decode)
	return err
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
