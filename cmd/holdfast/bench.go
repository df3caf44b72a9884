package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/plot"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
)

// benchCmd measures in this process, or a server.
type benchCmd struct {
	Local benchLocalCmd `cmd:"" default:"withargs" help:"Measure a model in this process (the default)."`
	Serve benchServeCmd `cmd:"" help:"Offer a load to a server and measure what its clients feel."`
}

// Help is shown by 'holdfast bench --help'.
func (benchCmd) Help() string {
	return `Measures a model in this process, or a server with all that lies between it and its clients. Without the name of either it is the first, and takes its flags.

Examples:
  holdfast bench --model m.gguf --threads 2
  holdfast bench serve --concurrency 32 --requests 256`
}

type benchLocalCmd struct {
	modelFlags
	Prefill int    `default:"512" placeholder:"N" help:"Tokens of the prompt. Default ${default}."`
	Decode  int    `default:"128" placeholder:"N" help:"Tokens that are made, one after another. Default ${default}."`
	Rounds  int    `default:"3" placeholder:"N" help:"How often all is measured, after one round that does not count. Default ${default}."`
	Depth   int    `placeholder:"N" help:"Measure both behind N tokens of context, a multiple of 32, that do not count. Default 0."`
	Batch   int    `placeholder:"N" help:"Decode a batch of N sequences as well."`
	Sweep   int    `placeholder:"N" help:"Decode batches of 1, 2, 4 … N sequences as well."`
	JSON    bool   `name:"json" help:"Print a JSON object."`
	SVG     string `name:"svg" placeholder:"FILE" help:"Write a plot of the batches there; needs --sweep."`
}

// Help is shown by 'holdfast bench local --help'.
func (benchLocalCmd) Help() string {
	return `Measures one sequence in this process, without HTTP: the speed at which a prompt of random tokens passes, and the speed of greedy decoding from one token. Beside them stands the speed at which the same number of threads read memory and do nothing else, in the same rounds: what one sequence's decoding cannot exceed; and the rate of a chain of additions, each of which waits for the one before: the clock, less what the host of a virtual machine takes. All are medians over the rounds.

With --batch or --sweep, batches of sequences decode --decode tokens each as well, and the sum of their speeds is printed.

Examples:
  holdfast bench --model models/SmolLM2-135M-Instruct.Q4_1.gguf --threads 2
  holdfast bench --model m.gguf --sweep 32 --svg batches.svg`
}

// maxSweep is the largest batch of a sweep.
const maxSweep = 1024

// Validate is called by the flag parser.
func (c *benchLocalCmd) Validate() error {
	if err := c.modelFlags.Validate(); err != nil {
		return err
	}
	if c.Prefill < 1 || c.Decode < 1 || c.Rounds < 1 {
		return fmt.Errorf("--prefill, --decode and --rounds must be 1 or more")
	}
	if c.Depth < 0 {
		return fmt.Errorf("--depth is %d; give 0 or more", c.Depth)
	}
	if c.Sweep < 0 || c.Sweep > maxSweep || c.Batch < 0 || c.Batch > maxSweep {
		return fmt.Errorf("--sweep is %d and --batch %d; give 1 to %d", c.Sweep, c.Batch, maxSweep)
	}
	if c.Sweep > 0 && c.Batch > 0 {
		return fmt.Errorf("--sweep and --batch do not go together: the sweep has its batches")
	}
	if c.SVG != "" && c.Sweep == 0 {
		return fmt.Errorf("--svg plots the batches of --sweep; give that too")
	}
	return nil
}

// benchResult is what bench prints.
type benchResult struct {
	Model   string       `json:"model"`
	Device  string       `json:"device"`
	Class   string       `json:"class"`
	Threads int          `json:"threads"`
	Prefill float64      `json:"prefill_tok_s"`
	Decode  float64      `json:"decode_tok_s"`
	Read    float64      `json:"read_gb_s,omitempty"` // bare reading of memory
	Clock   float64      `json:"clock_ghz"`           // additions in a chain, of the slower thread
	Step    int64        `json:"step_bytes"`          // what a step of the decode reads: weights, and KV in the mean
	Depth   int          `json:"depth_tokens"`
	Prompt  int          `json:"prefill_tokens"`
	Made    int          `json:"decode_tokens"`
	All     []float64    `json:"all_tok_s"` // prefill and decode of each round, in turns
	Sweep   []batchSpeed `json:"sweep,omitempty"`
}

// Run measures and prints.
func (c *benchLocalCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cfg := c.config()
	least, most := 1, c.Sweep
	if c.Batch > 0 {
		least, most = c.Batch, c.Batch
	}
	cfg.MaxSequences = max(1, most)
	e, err := openModel(ctx, cfg, nil, false)
	if err != nil {
		return err
	}
	defer e.Close()
	r := benchResult{
		Model: e.Info().ID, Device: e.Info().Device, Class: e.Info().Class, Threads: e.MemoryPlan().Threads,
		Depth: c.Depth, Prompt: c.Prefill, Made: c.Decode, Step: stepBytes(e.MemoryPlan(), c.Depth+c.Decode/2),
	}
	if err := canSweep(e.MemoryPlan(), most, c.Decode); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	memory, err := newReader(r.Threads)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	var prefill, decode, read, ghz []float64
	for round := range c.Rounds + 1 {
		m, err := e.Measure(ctx, c.Depth, c.Prefill, c.Decode)
		if err != nil {
			return fmt.Errorf("bench: %s", trim(err))
		}
		speed, rate := memory.speed(), sysinfo.Clock(r.Threads)
		if round > 0 {
			prefill, decode = append(prefill, m.Prefill), append(decode, m.Decode)
			read, ghz = append(read, speed), append(ghz, rate)
			r.All = append(r.All, m.Prefill, m.Decode)
		}
	}
	if err := memory.close(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	r.Prefill, r.Decode, r.Read, r.Clock = median(prefill), median(decode), median(read)/1e9, median(ghz)/1e9
	if most > 0 {
		if r.Sweep, err = sweep(ctx, e, least, most, c.Decode, c.Rounds); err != nil {
			return fmt.Errorf("bench: %s", trim(err))
		}
	}
	if err := c.plot(r); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(r)
	}
	_, err = fmt.Fprint(std.out, r.table())
	return err
}

// weightsItem is what every backend calls them in its plan.
const weightsItem = "weights"

// stepBytes is what one step reads of a model's weights and of the KV of so many
// tokens; windows make it less.
func stepBytes(p engine.Plan, tokens int) int64 {
	n := int64(tokens) * p.BytesPerToken
	for _, it := range p.Items {
		if it.Name == weightsItem {
			n += it.Bytes
		}
	}
	return n
}

func (r *benchResult) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s (%s), %d threads", r.Model, r.Device, r.Class, r.Threads)
	if r.Depth > 0 {
		fmt.Fprintf(&b, ", behind %d tokens", r.Depth)
	}
	b.WriteByte('\n')
	fmt.Fprintf(&b, "prefill %4d  %8.1f tok/s\ndecode  %4d  %8.1f tok/s, %.0f %% of the reading below\n", r.Prompt, r.Prefill, r.Made, r.Decode,
		100*r.Decode*float64(r.Step)/(1e9*r.Read))
	fmt.Fprintf(&b, "memory        %8.1f GB/s, read by the same number of threads\n", r.Read)
	fmt.Fprintf(&b, "clock         %8.2f GHz, of the slower of as many threads\n", r.Clock)
	if len(r.Sweep) > 0 {
		fmt.Fprintf(&b, "\nbatch      tok/s  of each\n")
	}
	for _, s := range r.Sweep {
		fmt.Fprintf(&b, "%5d  %9.1f  %7.1f\n", s.Batch, s.Speed, s.Speed/float64(s.Batch))
	}
	return b.String()
}

// plot writes the sweep as a plot, if one is wanted.
func (c *benchLocalCmd) plot(r benchResult) error {
	if c.SVG == "" {
		return nil
	}
	all, each := plot.Series{Name: "all together"}, plot.Series{Name: "each"}
	for _, s := range r.Sweep {
		n := float64(s.Batch)
		all.X, all.Y = append(all.X, n), append(all.Y, s.Speed)
		each.X, each.Y = append(each.X, n), append(each.Y, s.Speed/n)
	}
	title := fmt.Sprintf("Decoding, %s, %d threads", r.Model, r.Threads)
	return writeSVG(c.SVG, plot.Chart{Title: title, X: "sequences in the batch", Y: "tok/s", Series: []plot.Series{all, each}})
}

func writeSVG(path string, charts ...plot.Chart) error {
	var b bytes.Buffer
	if err := plot.SVG(&b, charts...); err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("plot: %w: give another --svg", err)
	}
	return nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
