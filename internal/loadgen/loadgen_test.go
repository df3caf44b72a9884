package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const address = "http://server.test"

func config(arrivals []Arrival) Config {
	return Config{URL: address, Arrivals: arrivals, Open: true, Timeout: time.Hour, IgnoreEOS: true, Seed: 1}
}

// mustRun offers a load in a bubble of its own and returns the report.
func mustRun(t *testing.T, cfg Config, f *fake) (r *Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = run(t.Context(), cfg, f); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

// TestTimes holds what is measured of a stream whose times are known.
func TestTimes(t *testing.T) {
	f := &fake{template: 10, answer: func(_ int, r request, a *answer) {
		a.say(`{"choices":[{"delta":{"role":"assistant","content":""}}]}`)
		a.wait(100 * time.Millisecond)
		a.token("a")
		a.wait(20 * time.Millisecond)
		a.token("b")
		a.wait(40 * time.Millisecond)
		a.say(`{"choices":[{"delta":{"reasoning_content":"c"}}]}`)
		a.wait(time.Second) // after the last token: nobody's time
		a.end(10+len(strings.Fields(r.Messages[0].Content)), 3, 3)
	}}
	cfg := config([]Arrival{{0, 34, 3}})
	cfg.TTFT, cfg.ITL = 100*time.Millisecond, 40*time.Millisecond
	r := mustRun(t, cfg, f)
	want := &Report{
		URL: address, Model: "first", Loop: "open", Seed: 1, Requests: 1, Completed: 1, Errors: map[string]int{}, Seconds: 1.16,
		PromptTokens: 34, CachedTokens: 3, OutputTokens: 3, Good: 1,
		GoodTTFT: 100, GoodITL: 40,
		TTFT: Spread{100, 100, 100, 100, 100}, ITL: Spread{30, 20, 40, 40, 40}, TPOT: Spread{30, 30, 30, 30, 30},
		E2E:    Spread{160, 160, 160, 160, 160},
		starts: []float64{0}, firsts: []float64{100}, gaps: []float64{20, 40},
	}
	want.OutputRate, want.RequestRate, want.Goodput = 3/r.Seconds, 1/r.Seconds, 1/r.Seconds
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	asked := f.asked[0]
	if !asked.IgnoreEOS || asked.MaxTokens != 3 || asked.Temperature != 0 || asked.Model != "first" || asked.StreamOptions == nil || !asked.StreamOptions.IncludeUsage {
		t.Errorf("%+v", asked)
	}
	for _, miss := range []func(*Config){
		func(c *Config) { c.TTFT-- },
		func(c *Config) { c.ITL-- },
	} {
		cfg := cfg
		miss(&cfg)
		if r := mustRun(t, cfg, f); r.Good != 0 || r.Goodput != 0 || r.Completed != 1 {
			t.Errorf("missed a limit: %+v", r)
		}
	}
}

// TestOmission is what an open loop is for: a server that answers one request
// after another and stalls once is charged for all that had to wait, although
// the generator could send them late only.
func TestOmission(t *testing.T) {
	f := &fake{answer: func(i int, _ request, a *answer) {
		if i == 0 {
			a.wait(900 * time.Millisecond)
		}
		a.wait(100 * time.Millisecond)
		a.token("a")
		a.end(30, 0, 1)
	}}
	cfg := config(Spaced(10, 10, false, 1, 30, 1))
	cfg.Concurrency = 1
	r := mustRun(t, cfg, f)
	// All ten are answered 100 ms apart from second 1 on, and were meant to
	// start 100 ms apart from second 0 on.
	if want := (Spread{1000, 1000, 1000, 1000, 1000}); math.Abs(r.TTFT.Mean-1000) > 1e-6 || r.TTFT.P50 != want.P50 || r.TTFT.Max != want.Max {
		t.Errorf("TTFT %+v", r.TTFT)
	}
	if r.Late.Max != 900 || r.Late.P50 != 900 || f.most != 1 {
		t.Errorf("late %+v, %d at once", r.Late, f.most)
	}
	if r.Offered != 10 || r.Loop != "open" {
		t.Errorf("%+v", r)
	}
	// Without a limit nobody waits for a place, and one request is slow.
	cfg.Concurrency, f.asked = 0, nil
	if r := mustRun(t, cfg, f); r.Late.Max != 0 || r.TTFT.Max != 1000 || r.TTFT.P90 != 100 || f.most < 2 {
		t.Errorf("TTFT %+v late %+v, %d at once", r.TTFT, r.Late, f.most)
	}
}

func TestClosedLoop(t *testing.T) {
	f := &fake{answer: func(_ int, _ request, a *answer) {
		a.wait(time.Second)
		a.token("a")
		a.end(30, 0, 1)
	}}
	cfg := config(Spaced(12, 0, false, 1, 30, 1))
	cfg.Open, cfg.Concurrency = false, 4
	r := mustRun(t, cfg, f)
	if f.most != 4 || r.Seconds != 3 || r.TTFT.Max != 1000 || r.Completed != 12 || r.Loop != "closed" || r.Concurrency != 4 {
		t.Errorf("%d at once, %+v", f.most, r)
	}
}

func TestFailures(t *testing.T) {
	f := &fake{
		refuse: func(i int) (int, string) {
			return map[int]int{0: 429, 1: 503, 2: 429}[i], `{"error":{"message":"later"}}`
		},
		answer: func(i int, _ request, a *answer) {
			switch i {
			case 3: // ends without a word
				a.token("a")
			case 4:
				a.token("a")
				a.say(`{"error":{"message":"the device failed"}}`)
			case 5:
				a.end(30, 0, 0)
			case 6:
				a.wait(2 * time.Hour)
			case 7:
				a.say("{")
			default:
				a.token("a")
				a.end(30, 0, 1)
			}
		},
	}
	cfg := config(Spaced(10, 1, false, 1, 30, 2))
	r := mustRun(t, cfg, f)
	want := map[string]int{"429": 2, "503": 1, failCut: 1, failStream: 2, failEmpty: 1, failTimeout: 1}
	if !reflect.DeepEqual(r.Errors, want) || r.Completed != 2 || r.ShortOutputs != 2 || r.OutputTokens != 2 || len(r.FirstFailures) != len(want) {
		t.Errorf("%+v", r)
	}
	if r.TTFT.Max != 0 || r.Good != 2 {
		t.Errorf("%+v", r)
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil || !strings.Contains(table.String(), "429        2\n") {
		t.Errorf("%v\n%s", err, table.String())
	}
	if !slices.ContainsFunc(r.FirstFailures, func(s string) bool { return strings.Contains(s, "the device failed") }) {
		t.Errorf("%q", r.FirstFailures)
	}
}

// TestClosedConnections offers a load to a server that closes each connection
// after one answer, when the next request is already there.
func TestClosedConnections(t *testing.T) {
	type used struct{ requests int }
	var closed atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(used{}).(*used)
		if c.requests++; c.requests > 1 {
			closed.Add(1)
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || len(r.Header["Idempotency-Key"]) != 0 {
			w.WriteHeader(500)
		}
		if bytes.Contains(body, []byte(`"stream":true`)) {
			fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n")
			return
		}
		fmt.Fprintf(w, `{"usage":{"prompt_tokens":%d}}`, bytes.Count(body, []byte(" ")))
	}))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, used{}, new(used))
	}
	s.Start()
	defer s.Close()
	cfg := config(Spaced(5, 0, false, 1, 30, 1))
	cfg.URL, cfg.Model, cfg.Open, cfg.Concurrency = s.URL, "m", false, 1
	r, err := Run(t.Context(), cfg)
	if err != nil || r.Completed != 5 || closed.Load() == 0 {
		t.Errorf("%v, %+v, %d closed", err, r, closed.Load())
	}
}

func TestInterrupted(t *testing.T) {
	for _, open := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f := &fake{answer: func(_ int, _ request, a *answer) {
				cancel()
				a.wait(time.Hour)
			}}
			cfg := config(Spaced(10, 1, false, 1, 30, 2))
			cfg.Open, cfg.Concurrency = open, 2
			if _, err := run(ctx, cfg, f); !errors.Is(err, context.Canceled) {
				t.Errorf("open %v: %v", open, err)
			}
		})
	}
}

// TestPrompts holds that prompts have the length asked for, as the server counts,
// depend on the seed alone, and share nothing.
func TestPrompts(t *testing.T) {
	reply := func(_ int, r request, a *answer) {
		a.token("a")
		a.end(20+len(strings.Fields(r.Messages[0].Content)), 0, 1)
	}
	arrivals := Spaced(50, 100, true, 1, 134, 1)
	arrivals[7].Prompt = 1000
	f, again := &fake{template: 20, answer: reply}, &fake{template: 20, answer: reply}
	r := mustRun(t, config(arrivals), f)
	if want := 49*134 + 1000; r.PromptTokens != want {
		t.Errorf("%d tokens, want %d", r.PromptTokens, want)
	}
	mustRun(t, config(arrivals), again)
	if !reflect.DeepEqual(f.asked, again.asked) {
		t.Error("the same seed made other prompts")
	}
	seen := map[string]bool{}
	for _, q := range f.asked {
		start := strings.Join(strings.Fields(q.Messages[0].Content)[:4], " ")
		if seen[start] {
			t.Errorf("two prompts begin with %q", start)
		}
		seen[start] = true
	}
	wordy := &fake{template: 20, perWord: 3, answer: func(_ int, r request, a *answer) {
		a.token("a")
		a.end(20+3*len(strings.Fields(r.Messages[0].Content)), 0, 1)
	}}
	if r := mustRun(t, config(arrivals), wordy); r.PromptTokens != 49*134+1001 {
		t.Errorf("%d tokens of words of three", r.PromptTokens)
	}
	cfg := config(arrivals)
	cfg.Seed = 2
	other := &fake{template: 20, answer: reply}
	if mustRun(t, cfg, other); other.asked[0].Messages[0].Content == f.asked[0].Messages[0].Content {
		t.Error("another seed made the same prompt")
	}
	cfg.Arrivals = Spaced(1, 1, false, 1, 20, 1)
	if _, err := run(t.Context(), cfg, f); err == nil || !strings.Contains(err.Error(), "template alone takes 20") {
		t.Errorf("%v", err)
	}
}

func TestWords(t *testing.T) {
	if got := slices.Compact(slices.Sorted(slices.Values(words))); len(got) != 512 || len(words) != 512 {
		t.Errorf("%d words, %d different ones", len(words), len(got))
	}
}

func TestSpaced(t *testing.T) {
	const n = 20000
	even := Spaced(n, 4, false, 1, 1, 1)
	if even[0].At != 0 || even[1].At != 250*time.Millisecond || even[n-1].At != (n-1)*250*time.Millisecond {
		t.Errorf("%v %v %v", even[0], even[1], even[n-1])
	}
	random := Spaced(n, 4, true, 1, 1, 1)
	short := 0 // gaps below the mean: 1 - 1/e of them
	for i := 1; i < n; i++ {
		if gap := random[i].At - random[i-1].At; gap < 0 {
			t.Fatal("time goes back")
		} else if gap < 250*time.Millisecond {
			short++
		}
	}
	if mean := random[n-1].At.Seconds() / (n - 1); math.Abs(mean-0.25) > 0.01 || math.Abs(float64(short)/n-0.632) > 0.02 {
		t.Errorf("mean %v, %d of %d below it", mean, short, n)
	}
	if !reflect.DeepEqual(random, Spaced(n, 4, true, 1, 1, 1)) || reflect.DeepEqual(random, Spaced(n, 4, true, 2, 1, 1)) {
		t.Error("arrivals do not depend on the seed alone")
	}
}

func TestReadTrace(t *testing.T) {
	got, err := ReadTrace(strings.NewReader(`{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}

{"timestamp": 30535.5, "input_length": 1, "output_length": 2}
`))
	if want := []Arrival{{0, 6955, 52}, {3053500 * time.Microsecond, 1, 2}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{
		`{"timestamp": 1}`, `{"input_length": 1, "output_length": 1}`, `{"timestamp":0,"input_length":0,"output_length":1}`, `[]`, `{`, `x`,
		`{"timestamp":0,"input_length":1,"output_length":1}` + "\n" + `{"timestamp":-1,"input_length":1,"output_length":1}`,
		`{"timestamp":0,"input_length":1,"output_length":1}` + "\n" + `{"timestamp":1e300,"input_length":1,"output_length":1}`,
		`{"timestamp":0,"input_length":1e99,"output_length":1}`,
		strings.Repeat(" ", maxTraceLine+1),
	} {
		if got, err := ReadTrace(strings.NewReader(bad)); err == nil {
			t.Errorf("%.80q: %v", bad, got)
		}
	}
}

func TestStretch(t *testing.T) {
	a := []Arrival{{At: 0}, {At: 3 * time.Second}, {At: 4 * time.Second}}
	Stretch(a, 4)
	if a[0].At != 0 || a[1].At != 375*time.Millisecond || a[2].At != 500*time.Millisecond {
		t.Errorf("%v", a)
	}
	a = []Arrival{{}, {}, {}}
	if Stretch(a, 4); a[1].At != 250*time.Millisecond || a[2].At != 500*time.Millisecond {
		t.Errorf("%v", a)
	}
	Stretch(a[:1], 4)
}

func TestValidate(t *testing.T) {
	good := config([]Arrival{{0, 1, 1}})
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, break_ := range []func(*Config){
		func(c *Config) { c.URL = "127.0.0.1:8080" },
		func(c *Config) { c.URL = "" },
		func(c *Config) { c.Arrivals = nil },
		func(c *Config) { c.Open = false },
		func(c *Config) { c.Concurrency = -1 },
		func(c *Config) { c.Concurrency = maxConcurrency + 1 },
		func(c *Config) { c.Arrivals = []Arrival{{-1, 1, 1}} },
		func(c *Config) { c.Arrivals = []Arrival{{0, 0, 1}} },
		func(c *Config) { c.Arrivals = []Arrival{{0, 1, 0}} },
		func(c *Config) { c.Arrivals = []Arrival{{1, 1, 1}, {0, 1, 1}} },
		func(c *Config) { c.Arrivals = Spaced(100, 1, false, 1, 1, 1<<20) },
	} {
		c := good
		break_(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%+v", c)
		}
	}
}

func TestSpread(t *testing.T) {
	x := make([]float64, 100)
	for i := range x {
		x[i] = float64(100 - i)
	}
	if got, want := spread(x), (Spread{50.5, 50, 90, 99, 100}); math.Abs(got.Mean-want.Mean) > 1e-9 || got.P50 != 50 || got.P90 != 90 || got.P99 != 99 || got.Max != 100 {
		t.Errorf("%+v", got)
	}
	if got := spread(nil); got != (Spread{}) {
		t.Errorf("%+v", got)
	}
	if got := spread([]float64{7}); got != (Spread{7, 7, 7, 7, 7}) {
		t.Errorf("%+v", got)
	}
}

// TestReport holds that the report has JSON's numbers and charts of all requests.
func TestReport(t *testing.T) {
	f := &fake{answer: func(i int, _ request, a *answer) {
		for range 3 {
			a.wait(time.Duration(i+1) * time.Millisecond)
			a.token("a")
		}
		a.end(30, 0, 3)
	}}
	r := mustRun(t, config(Spaced(5, 100, false, 1, 30, 3)), f)
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`"output_tok_s":`, `"ttft_ms":{"mean":`, `"itl_ms":`, `"goodput_requests_s":`, `"errors":{}`, `"cached_tokens":0`} {
		if !strings.Contains(string(data), s) {
			t.Errorf("no %s in %s", s, data)
		}
	}
	charts := r.Charts()
	gaps := charts[1].Series[0].Y
	if len(charts[0].Series[0].X) != 5 || len(gaps) != 1000 || gaps[999] != r.ITL.Max || gaps[989] != r.ITL.P99 || !slices.IsSorted(gaps) {
		t.Errorf("%+v", charts)
	}
	if got := new(Report).Charts(); len(got[1].Series[0].X) != 0 {
		t.Error("gaps of nothing")
	}
}
