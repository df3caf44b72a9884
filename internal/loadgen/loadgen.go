// Package loadgen offers a load to a server that speaks OpenAI's protocol and
// measures what its clients feel: the time to the first token, the gaps between
// tokens, tokens and good requests per second.
//
// With a rate the loop is open: requests start when the schedule says, whether
// or not the server keeps up, and every time counts from that moment, not from
// the one at which the generator got round to sending. A server that stalls for
// a second is so charged for all requests that should have started meanwhile.
// Without a rate the loop is closed: a number of streams, each of which sends
// its next request when the one before has ended.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Config says what load is offered, and to whom.
type Config struct {
	URL   string // of the server, without /v1
	Model string // the name to ask for; empty takes the first that the server lists
	Key   string // API key; empty for none

	Arrivals    []Arrival // what is sent, in order of time
	Open        bool      // by the clock; otherwise by streams, and the times of the arrivals mean nothing
	Concurrency int       // streams of a closed loop; most requests at once of an open one, 0 for no limit
	IgnoreEOS   bool      // ask the server to go on past the model's end tokens
	Seed        uint64    // of the prompts
	Timeout     time.Duration

	TTFT time.Duration // a request is good if its first token comes within this …
	ITL  time.Duration // … and the 99th percentile of its gaps is within this; 0 for no limit
}

// Arrival is one request of a load.
type Arrival struct {
	At     time.Duration // since the start
	Prompt int           // tokens
	Output int           // tokens
}

// Limits of a load, so that what is kept of it fits in memory.
const (
	MaxRequests    = 1_000_000
	maxGaps        = 50_000_000 // requests times tokens
	maxConcurrency = 10_000
)

// Validate says what is wrong with a load.
func (c *Config) Validate() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("url: %q: give an address as in http://127.0.0.1:8080", c.URL)
	}
	if len(c.Arrivals) == 0 || len(c.Arrivals) > MaxRequests {
		return fmt.Errorf("requests: %d: give 1 to %d", len(c.Arrivals), MaxRequests)
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency || c.Concurrency == 0 && !c.Open {
		return fmt.Errorf("concurrency: %d: give 1 to %d", c.Concurrency, maxConcurrency)
	}
	tokens := 0
	for i, a := range c.Arrivals {
		if a.At < 0 || a.Prompt < 1 || a.Output < 1 || a.Prompt > 1<<20 || a.Output > 1<<20 {
			return fmt.Errorf("request %d: starts at %v with %d and %d tokens: times are 0 or more, tokens 1 to %d", i+1, a.At, a.Prompt, a.Output, 1<<20)
		}
		if i > 0 && a.At < c.Arrivals[i-1].At {
			return fmt.Errorf("request %d: starts before request %d: sort them by time", i+1, i)
		}
		tokens += a.Output
	}
	if tokens > maxGaps {
		return fmt.Errorf("requests: %d tokens would be made, at most %d can be measured: ask for fewer", tokens, maxGaps)
	}
	return nil
}

// Run offers the load and returns what came of it. What fails becomes a number
// in the report; Run itself fails if the server cannot be used at all.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxIdleConnsPerHost: max(cfg.Concurrency, 1000),
		DisableCompression:  true,
		ReadBufferSize:      16 << 10,
	}
	defer transport.CloseIdleConnections()
	return run(ctx, cfg, transport)
}

func run(ctx context.Context, cfg Config, transport http.RoundTripper) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &client{cfg: cfg, http: &http.Client{Transport: transport, CheckRedirect: noRedirects}}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	samples := make([]sample, len(cfg.Arrivals))
	start := time.Now()
	if cfg.Open {
		offer(ctx, c, start, samples)
	} else {
		stream(ctx, c, start, samples)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return summarise(c.cfg, samples), nil
}

// offer is the open loop: each request starts at its time. If there is a limit
// on those at once, a request that has to wait for its place waits on its own
// clock.
func offer(ctx context.Context, c *client, start time.Time, samples []sample) {
	var places chan struct{}
	if c.cfg.Concurrency > 0 {
		places = make(chan struct{}, c.cfg.Concurrency)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	clock := time.NewTimer(0)
	defer clock.Stop()
	for i, a := range c.cfg.Arrivals {
		clock.Reset(time.Until(start.Add(a.At)))
		select {
		case <-clock.C:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			if places != nil {
				select {
				case places <- struct{}{}:
					defer func() { <-places }()
				case <-ctx.Done():
					return
				}
			}
			samples[i] = c.measure(ctx, i, start, start.Add(a.At))
		})
	}
}

// stream is the closed loop.
func stream(ctx context.Context, c *client, start time.Time, samples []sample) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range c.cfg.Concurrency {
		wg.Go(func() {
			for i := range next {
				samples[i] = c.measure(ctx, i, start, time.Now())
			}
		})
	}
	for i := range samples {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
}

// noRedirects keeps a measurement from being one of two servers.
func noRedirects(*http.Request, []*http.Request) error { return errors.New("the server redirects") }
