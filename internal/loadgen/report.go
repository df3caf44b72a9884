package loadgen

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/plot"
)

// Report is what came of a load. Times are in milliseconds.
type Report struct {
	URL         string `json:"url"`
	Model       string `json:"model"`
	Loop        string `json:"loop"` // open or closed
	Concurrency int    `json:"concurrency"`
	Seed        uint64 `json:"seed"`

	Requests  int            `json:"requests"`
	Completed int            `json:"completed"`
	Errors    map[string]int `json:"errors"` // by status, or by what happened
	Seconds   float64        `json:"seconds"`

	PromptTokens  int      `json:"prompt_tokens"`
	CachedTokens  int      `json:"cached_tokens"` // of them, found computed: prefix hits
	OutputTokens  int      `json:"output_tokens"`
	OutputRate    float64  `json:"output_tok_s"`
	RequestRate   float64  `json:"requests_s"`
	Offered       float64  `json:"offered_requests_s,omitzero"` // of an open loop
	Goodput       float64  `json:"goodput_requests_s"`
	Good          int      `json:"good"`
	GoodTTFT      float64  `json:"slo_ttft_ms,omitzero"`
	GoodITL       float64  `json:"slo_itl_ms,omitzero"`
	ShortOutputs  int      `json:"short_outputs"` // completions that ended before the length asked for
	FirstFailures []string `json:"first_failures,omitzero"`

	TTFT Spread `json:"ttft_ms"` // intended start to first text
	ITL  Spread `json:"itl_ms"`  // between two pieces of text, of all requests together
	TPOT Spread `json:"tpot_ms"` // mean time of a token after the first, by request
	E2E  Spread `json:"e2e_ms"`  // intended start to last text
	Late Spread `json:"late_ms"` // intended start to sending: waiting for a place, or a busy generator

	starts, firsts []float64 // by request: seconds, milliseconds
	gaps           []float64 // sorted
}

// Spread describes a set of times by percentiles (nearest rank).
type Spread struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// spread sorts x and describes it.
func spread(x []float64) (s Spread) {
	if len(x) == 0 {
		return s
	}
	slices.Sort(x)
	for _, v := range x {
		s.Mean += v / float64(len(x))
	}
	s.P50, s.P90, s.P99, s.Max = percentile(x, 50), percentile(x, 90), percentile(x, 99), x[len(x)-1]
	return s
}

// percentile is the least element that p percent of the sorted x do not exceed.
func percentile(x []float64, p float64) float64 {
	return x[max(0, int(math.Ceil(p/100*float64(len(x))))-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summarise counts. Only whole requests have times; those that failed are
// counted as errors, and never as good.
func summarise(cfg Config, samples []sample) *Report {
	r := &Report{
		URL: cfg.URL, Model: cfg.Model, Loop: "closed", Concurrency: cfg.Concurrency, Seed: cfg.Seed,
		Requests: len(samples), Errors: map[string]int{}, GoodTTFT: ms(cfg.TTFT), GoodITL: ms(cfg.ITL),
	}
	var tpot, e2e, late []float64
	var end time.Duration
	for i, s := range samples {
		end = max(end, s.end)
		late = append(late, ms(s.sent-s.intended))
		if s.failure != "" {
			if r.Errors[s.failure]++; r.Errors[s.failure] == 1 {
				r.FirstFailures = append(r.FirstFailures, s.failure+": "+s.reason)
			}
			continue
		}
		r.Completed++
		r.PromptTokens += s.prompt
		r.CachedTokens += s.cached
		r.OutputTokens += s.output
		if s.output < cfg.Arrivals[i].Output {
			r.ShortOutputs++
		}
		r.starts, r.firsts = append(r.starts, s.intended.Seconds()), append(r.firsts, ms(s.first-s.intended))
		e2e = append(e2e, ms(s.last-s.intended))
		if s.output > 1 {
			tpot = append(tpot, ms(s.last-s.first)/float64(s.output-1))
		}
		for _, g := range s.gaps {
			r.gaps = append(r.gaps, ms(g))
		}
		if s.good(cfg) {
			r.Good++
		}
	}
	r.TTFT, r.ITL, r.TPOT, r.E2E, r.Late = spread(slices.Clone(r.firsts)), spread(r.gaps), spread(tpot), spread(e2e), spread(late)
	if r.Seconds = end.Seconds(); r.Seconds > 0 {
		r.OutputRate = float64(r.OutputTokens) / r.Seconds
		r.RequestRate = float64(r.Completed) / r.Seconds
		r.Goodput = float64(r.Good) / r.Seconds
	}
	if cfg.Open {
		r.Loop = "open"
		if last := cfg.Arrivals[len(samples)-1].At.Seconds(); last > 0 {
			r.Offered = float64(len(samples)-1) / last
		}
	}
	return r
}

// good reports whether a whole request met the limits.
func (s *sample) good(cfg Config) bool {
	if cfg.TTFT > 0 && s.first-s.intended > cfg.TTFT {
		return false
	}
	if cfg.ITL == 0 || len(s.gaps) == 0 {
		return true
	}
	gaps := slices.Sorted(slices.Values(s.gaps))
	return gaps[max(0, (len(gaps)*99+99)/100-1)] <= cfg.ITL
}

// Table writes the report for people.
func (r *Report) Table(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-18s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("server", "%s, model %s", r.URL, r.Model)
	if r.Loop == "open" {
		row("load", "open loop, %d requests offered at %.2f/s", r.Requests, r.Offered)
	} else {
		row("load", "closed loop, %d requests in %d streams", r.Requests, r.Concurrency)
	}
	row("completed", "%d in %.2f s", r.Completed, r.Seconds)
	for _, code := range slices.SortedFunc(maps.Keys(r.Errors), func(a, b string) int {
		return cmp.Or(r.Errors[b]-r.Errors[a], strings.Compare(a, b))
	}) {
		row("  error", "%-10s %d", code, r.Errors[code])
	}
	row("tokens", "%d of prompts, of them %d from a prefix cache; %d made", r.PromptTokens, r.CachedTokens, r.OutputTokens)
	if r.ShortOutputs > 0 {
		row("", "%d completions ended before the length asked for", r.ShortOutputs)
	}
	row("output", "%.1f tok/s, %.2f requests/s", r.OutputRate, r.RequestRate)
	if r.GoodTTFT > 0 || r.GoodITL > 0 {
		row("goodput", "%.2f requests/s: %d within %s", r.Goodput, r.Good, r.limits())
	}
	fmt.Fprintf(&b, "\n%-18s %10s %10s %10s %10s %10s\n", "milliseconds", "mean", "p50", "p90", "p99", "max")
	for _, s := range []struct {
		name string
		Spread
	}{{"TTFT", r.TTFT}, {"ITL", r.ITL}, {"TPOT", r.TPOT}, {"E2E", r.E2E}, {"sent late", r.Late}} {
		fmt.Fprintf(&b, "%-18s %10.1f %10.1f %10.1f %10.1f %10.1f\n", s.name, s.Mean, s.P50, s.P90, s.P99, s.Max)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) limits() string {
	var all []string
	if r.GoodTTFT > 0 {
		all = append(all, fmt.Sprintf("TTFT %g ms", r.GoodTTFT))
	}
	if r.GoodITL > 0 {
		all = append(all, fmt.Sprintf("ITL %g ms", r.GoodITL))
	}
	return strings.Join(all, " and ")
}

// Charts returns the plots of the report: the time to the first token over the
// run, and the distribution of the gaps.
func (r *Report) Charts() []plot.Chart {
	const steps = 1000
	var percent, gap []float64
	for i := 1; i <= steps && len(r.gaps) > 0; i++ {
		percent = append(percent, 100*float64(i)/steps)
		gap = append(gap, percentile(r.gaps, 100*float64(i)/steps))
	}
	return []plot.Chart{
		{
			Title: fmt.Sprintf("Time to first token, %d of %d requests", r.Completed, r.Requests),
			X:     "intended start, s", Y: "TTFT, ms", Series: []plot.Series{{Name: "request", X: r.starts, Y: r.firsts, Points: true}},
		},
		{
			Title: fmt.Sprintf("Gaps between tokens, %.1f tok/s", r.OutputRate),
			X:     "percent of gaps", Y: "at most, ms", Series: []plot.Series{{Name: "ITL", X: percent, Y: gap}},
		},
	}
}
