package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/loadgen"
)

type benchServeCmd struct {
	URL          string        `name:"url" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The server, without /v1. Default ${default}."`
	Model        string        `name:"model-name" placeholder:"NAME" help:"Model to ask for. Default: the first that the server lists."`
	Rate         float64       `placeholder:"R" help:"Requests that start each second, whether or not the server keeps up. Default: none, a closed loop of --concurrency streams."`
	Poisson      bool          `help:"Random times between requests, as of many clients who know nothing of each other, instead of even ones."`
	Trace        string        `placeholder:"FILE" help:"Times and lengths from a file of JSON lines with timestamp (ms), input_length and output_length; with --rate the times are stretched to that rate."`
	Requests     int           `placeholder:"N" help:"Requests in all; of a trace, the first so many. Default: 100, or the whole trace."`
	Concurrency  int           `placeholder:"N" help:"Streams of the closed loop, by default 1; most requests at once of an open loop, by default unbounded."`
	PromptTokens int           `default:"128" placeholder:"N" help:"Tokens of each prompt, the model's template among them. Default ${default}."`
	OutputTokens int           `default:"64" placeholder:"N" help:"Tokens of each completion. Default ${default}."`
	IgnoreEOS    bool          `name:"ignore-eos" default:"true" negatable:"" help:"Ask for completions of the full length; switch it off for servers that refuse 'ignore_eos'."`
	SLOTTFT      time.Duration `name:"slo-ttft" placeholder:"DURATION" help:"Goodput counts requests whose first token came within this."`
	SLOITL       time.Duration `name:"slo-itl" placeholder:"DURATION" help:"Goodput counts requests with the 99th percentile of gaps within this."`
	Seed         uint64        `default:"1" placeholder:"N" help:"Seed of prompts and times: the same seed, the same load. Default ${default}."`
	Timeout      time.Duration `default:"10m" placeholder:"DURATION" help:"Give a request up after this. Default ${default}."`
	JSON         bool          `name:"json" help:"Print a JSON object."`
	SVG          string        `name:"svg" placeholder:"FILE" help:"Write a plot of first tokens and gaps there."`
}

// Help is shown by 'holdfast bench serve --help'.
func (benchServeCmd) Help() string {
	return `Sends streaming chat requests to any server with OpenAI's API and prints times to the first token (TTFT), gaps between tokens (ITL), the mean time of a token (TPOT), whole times (E2E), tokens per second, goodput, and errors by their codes. Prompts are random words, different in each request: what the server found computed all the same is printed as tokens from a prefix cache. The same --seed makes the same prompts, which a server may still know from an earlier run.

With --rate or --trace the loop is open: every time counts from the moment at which the request was meant to start, so that a server which stalls is charged for those that had to wait. An API key is taken from the variable OPENAI_API_KEY.

The exit code is 0 if at least one request was answered, however many were not: the report says so.

Examples:
  holdfast bench serve --rate 4 --poisson --slo-ttft 1s --slo-itl 200ms
  holdfast bench serve --concurrency 32 --requests 256 --prompt-tokens 134 --json
  holdfast bench serve --trace trace.jsonl --svg run.svg`
}

// Validate is called by the flag parser.
func (c *benchServeCmd) Validate() error {
	if c.Requests < 0 || c.Requests > loadgen.MaxRequests {
		return fmt.Errorf("--requests is %d; give 1 to %d", c.Requests, loadgen.MaxRequests)
	}
	if c.Rate < 0 || c.Rate > 1e6 || c.Rate != 0 && c.Rate < 1e-6 {
		return fmt.Errorf("--rate is %v; give requests per second, at most 1000000", c.Rate)
	}
	if c.Poisson && (c.Rate == 0 || c.Trace != "") {
		return fmt.Errorf("--poisson spreads requests around --rate, and a trace has times of its own; give --rate and no --trace")
	}
	if c.Timeout <= 0 || c.SLOTTFT < 0 || c.SLOITL < 0 {
		return fmt.Errorf("--timeout, --slo-ttft and --slo-itl must be positive")
	}
	return nil
}

// Run offers the load and prints the report.
func (c *benchServeCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	arrivals, err := c.arrivals()
	if err != nil {
		return err
	}
	cfg := loadgen.Config{
		URL: c.URL, Model: c.Model, Key: os.Getenv("OPENAI_API_KEY"),
		Arrivals: arrivals, Open: c.Rate > 0 || c.Trace != "", Concurrency: c.Concurrency,
		IgnoreEOS: c.IgnoreEOS, Seed: c.Seed, Timeout: c.Timeout, TTFT: c.SLOTTFT, ITL: c.SLOITL,
	}
	if !cfg.Open {
		cfg.Concurrency = max(1, cfg.Concurrency)
	}
	r, err := loadgen.Run(ctx, cfg)
	if err != nil {
		return fmt.Errorf("bench serve: %w", err)
	}
	if c.SVG != "" {
		if err := writeSVG(c.SVG, r.Charts()...); err != nil {
			return err
		}
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(r)
	} else {
		err = r.Table(std.out)
	}
	if err == nil && r.Completed == 0 {
		return fmt.Errorf("bench serve: no request was answered: %s", strings.Join(r.FirstFailures, "; "))
	}
	return err
}

// arrivals makes the load.
func (c *benchServeCmd) arrivals() ([]loadgen.Arrival, error) {
	if c.Trace == "" {
		return loadgen.Spaced(cmp.Or(c.Requests, 100), c.Rate, c.Poisson, c.Seed, c.PromptTokens, c.OutputTokens), nil
	}
	file, err := os.Open(c.Trace)
	if err != nil {
		return nil, fmt.Errorf("bench serve: %w", err)
	}
	defer file.Close()
	arrivals, err := loadgen.ReadTrace(file)
	if err != nil {
		return nil, fmt.Errorf("bench serve: %s: %w", c.Trace, err)
	}
	if c.Requests > 0 {
		arrivals = arrivals[:min(len(arrivals), c.Requests)]
	}
	if c.Rate > 0 {
		loadgen.Stretch(arrivals, c.Rate)
	}
	return arrivals, nil
}
