package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	// As in main_test.go: what the program is built of.
	_ "github.com/holdfast-run/holdfast/internal/loadgen"
	_ "github.com/holdfast-run/holdfast/internal/plot"
)

// TestBench holds that bench prints speeds that a script can read.
func TestBench(t *testing.T) {
	out := run(t, "", "bench", "--model", tinyModel, "--prefill", "40", "--decode", "8", "--rounds", "2", "--threads", "1", "--json")
	var r struct {
		Prefill float64   `json:"prefill_tok_s"`
		Decode  float64   `json:"decode_tok_s"`
		Threads int       `json:"threads"`
		All     []float64 `json:"all_tok_s"`
		Read    float64   `json:"read_gb_s"`
		Clock   float64   `json:"clock_ghz"`
		Step    int64     `json:"step_bytes"`
		Sweep   []struct {
			Batch int     `json:"batch"`
			Speed float64 `json:"tok_s"`
		} `json:"sweep"`
	}
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil || out.code != 0 || r.Prefill <= 0 || r.Decode <= 0 || r.Threads != 1 || len(r.All) != 4 || r.Read <= 0 || r.Clock <= 0 || r.Step < 10_000 || r.Sweep != nil {
		t.Errorf("exit %d, %q (%v), stderr %q", out.code, out.stdout, err, out.stderr)
	}
	svg := filepath.Join(t.TempDir(), "sweep.svg")
	out = run(t, "", "bench", "--model", tinyModel, "--prefill", "4", "--decode", "8", "--rounds", "1", "--threads", "1", "--sweep", "6", "--json", "--svg", svg)
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil || out.code != 0 {
		t.Fatalf("exit %d, %q (%v), stderr %q", out.code, out.stdout, err, out.stderr)
	}
	var batches []int
	for _, s := range r.Sweep {
		if batches = append(batches, s.Batch); s.Speed <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if plot, err := os.ReadFile(svg); !slices.Equal(batches, []int{1, 2, 4, 6}) || err != nil || !bytes.HasPrefix(plot, []byte("<svg ")) {
		t.Errorf("batches %v, plot %.20q, %v", batches, plot, err)
	}
	table := run(t, "", "bench", "local", "--model", tinyModel, "--prefill", "4", "--decode", "4", "--rounds", "1", "--threads", "1", "--depth", "64", "--batch", "3")
	for _, s := range []string{"behind 64 tokens\n", "prefill ", "decode ", "GB/s", "GHz", "batch ", "\n    3 "} {
		if !strings.Contains(table.stdout, s) {
			t.Errorf("no %q in\n%s%s", s, table.stdout, table.stderr)
		}
	}
	if strings.Contains(table.stdout, "\n    1 ") {
		t.Errorf("a batch of 1 that nobody asked for:\n%s", table.stdout)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--prefill", "600"}, 1, "512"}, // a prompt longer than the context
		{[]string{"--prefill", "400", "--depth", "128"}, 1, "behind 128"},
		{[]string{"--prefill", "4", "--depth", "33"}, 1, "multiple of 32"},
		{[]string{"--depth", "-1"}, 2, "--depth"},
		{[]string{"--batch", "2", "--sweep", "2"}, 2, "--batch"},
	} {
		out := run(t, "", append([]string{"bench", "--model", tinyModel, "--threads", "1"}, c.args...)...)
		if out.code != c.code || !strings.Contains(out.stderr, c.says) {
			t.Errorf("%v: exit %d, %q", c.args, out.code, out.stderr)
		}
	}
}

// TestBenchServe offers loads to a server and reads the reports.
func TestBenchServe(t *testing.T) {
	s := serve(t, "--model", tinyModel, "--context", "256")
	type report struct {
		Loop      string         `json:"loop"`
		Completed int            `json:"completed"`
		Prompt    int            `json:"prompt_tokens"`
		Cached    int            `json:"cached_tokens"`
		Output    int            `json:"output_tokens"`
		Errors    map[string]int `json:"errors"`
		TTFT      struct {
			P50 float64 `json:"p50"`
		} `json:"ttft_ms"`
	}
	bench := func(code int, args ...string) (r report) {
		t.Helper()
		out := run(t, "", append([]string{"bench", "serve", "--url", s.url, "--json", "--output-tokens", "5"}, args...)...)
		if err := json.Unmarshal([]byte(out.stdout), &r); err != nil || out.code != code {
			t.Fatalf("%v: exit %d, %q (%v), stderr %q", args, out.code, out.stdout, err, out.stderr)
		}
		return r
	}
	svg := filepath.Join(t.TempDir(), "run.svg")
	closed := bench(0, "--requests", "8", "--concurrency", "4", "--prompt-tokens", "100", "--svg", svg)
	if closed.Loop != "closed" || closed.Completed != 8 || closed.Output != 40 || closed.TTFT.P50 <= 0 || len(closed.Errors) != 0 {
		t.Errorf("%+v", closed)
	}
	if closed.Prompt < 8*80 || closed.Prompt > 8*120 { // its vocabulary takes several tokens for a word
		t.Errorf("%d tokens of 8 prompts of 100", closed.Prompt)
	}
	if plot, err := os.ReadFile(svg); err != nil || bytes.Count(plot, []byte("<circle")) != 8 {
		t.Errorf("%v\n%s", err, plot)
	}
	open := bench(0, "--requests", "8", "--rate", "1000", "--poisson", "--prompt-tokens", "100", "--seed", "2")
	if open.Loop != "open" || open.Completed != 8 {
		t.Errorf("%+v", open)
	}
	trace := filepath.Join(t.TempDir(), "trace.jsonl")
	lines := `{"timestamp":0,"input_length":50,"output_length":3}` + "\n" + `{"timestamp":1,"input_length":90,"output_length":4}` + "\n"
	if err := os.WriteFile(trace, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := bench(0, "--trace", trace); r.Loop != "open" || r.Completed != 2 || r.Output != 7 {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--model-name", "nobody"}, 1, "status 404"},
		{[]string{"--requests", "2", "--output-tokens", "10000"}, 1, "no request was answered: 400"},
		{[]string{"--url", "http://127.0.0.1:1"}, 1, "is a server there?"},
		{[]string{"--url", "nowhere"}, 1, "give an address"},
		{[]string{"--trace", "/nowhere/trace"}, 1, "/nowhere/trace"},
		{[]string{"--rate", "-1"}, 2, "--rate"},
		{[]string{"--poisson"}, 2, "--rate"},
	} {
		out := run(t, "", append([]string{"bench", "serve", "--url", s.url}, c.args...)...)
		if out.code != c.code || !strings.Contains(out.stderr, c.says) || strings.Count(out.stderr, "\n") != 1 {
			t.Errorf("%v: exit %d, stderr %q", c.args, out.code, out.stderr)
		}
	}
}
