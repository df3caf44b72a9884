package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The tests of this file measure what the server costs beside its model. In make
// test they hold it to states alone, at small counts; make bench-surface and make
// test-long have full counts, and the former keeps the figures.

// figure prints a figure and, for make bench-surface, adds it to a table.
func figure(t *testing.T, what, value, bar string) {
	t.Helper()
	t.Logf("%s: %s (bar: %s)", what, value, bar)
	path := os.Getenv("HOLDFAST_FIGURES")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "| %s | %s | %s |\n", what, value, bar)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Error(err)
	}
}

// residentMB is the memory that the server has in use, in MB.
func (s *server) residentMB() float64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		s.t.Fatalf("no VmRSS in %s", status)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		s.t.Fatal(err)
	}
	return float64(kb) * 1024 / 1e6
}

// percentile returns the value that so many percent of all do not exceed.
func percentile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)*percent/100, len(all)-1)]
}

// TestIdleConnections keeps connections open that have asked once.
func TestIdleConnections(t *testing.T) {
	n := 2000
	if long() {
		n = 10000
	}
	s := serve(t, "--model", tinyModel, "--max-connections", fmt.Sprint(n+10))
	s.ask(chatBody("tiny-chat", "hi", `,"max_tokens":1`))
	before := s.residentMB()
	for range n {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v, %v", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
	s.until("holdfast_connections", n+1)
	after := s.residentMB()
	figure(t, fmt.Sprintf("%d idle connections", n), fmt.Sprintf("%.0f MB resident, %.0f MB without them", after, before), "under 200 MB")
	if most := before + float64(n)*0.012; after > most {
		t.Errorf("%d idle connections take %.1f MB: %.1f kB each, want at most 12", n, after-before, (after-before)*1e3/float64(n))
	}
}

// TestOverload offers five times what the server can do: it turns away what it
// has no room for, at once, and takes no memory for it.
func TestOverload(t *testing.T) {
	seconds := 1
	if long() {
		seconds = 10
	}
	const rows, waiting = 4, 16
	body := chatBody("tiny-chat", "hi", `,"ignore_eos":true,"max_tokens":100`)
	s := serve(t, "--model", tinyModel, "--max-sequences", fmt.Sprint(rows), "--max-queued-tokens", fmt.Sprint(waiting*30))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()

	start, answered := time.Now(), 0
	for time.Since(start) < time.Duration(seconds)*time.Second/4 {
		answered += rows
		s.together(client, rows, body)
	}
	capacity := float64(answered) / time.Since(start).Seconds()
	before := s.residentMB()

	type answer struct {
		status int
		took   time.Duration
	}
	answers := make(chan answer, 1<<20)
	var wg sync.WaitGroup
	var refusals atomic.Int64
	places := make(chan struct{}, 500) // fewer than the server's connections, more than it has room for
	gap := time.Duration(float64(time.Second) / (5 * capacity))
	start = time.Now()
	end := start.Add(time.Duration(seconds) * time.Second)
	offered := 0
	// A capacity measured while the machine did other things is too small: then
	// more is offered, until something is refused.
	for ; time.Now().Before(end) || refusals.Load() == 0; offered++ {
		time.Sleep(min(time.Until(start.Add(time.Duration(offered)*gap)), time.Until(end)))
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			sent := time.Now()
			res, err := client.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode == 429 {
				refusals.Add(1)
				if res.Header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
			}
			answers <- answer{res.StatusCode, time.Since(sent)}
		})
	}
	lasted := time.Since(start)
	wg.Wait()
	close(answers)
	took := map[int][]time.Duration{}
	for a := range answers {
		took[a.status] = append(took[a.status], a.took)
	}
	after := s.residentMB()
	refused := took[429]
	if len(refused) == 0 || len(took[200]) == 0 || len(took) != 2 {
		t.Errorf("%d requests: %d answered, %d refused, of %d statuses", offered, len(took[200]), len(refused), len(took))
	}
	figure(t, fmt.Sprintf("429 at %.1f requests/s, of which %.1f can be served", float64(offered)/lasted.Seconds(), capacity),
		fmt.Sprintf("%d of %d, p50 %v, p99 %v", len(refused), offered, percentile(refused, 50).Round(10*time.Microsecond), percentile(refused, 99).Round(10*time.Microsecond)), "under 10 ms")
	figure(t, "memory meanwhile", fmt.Sprintf("%.0f MB before, %.0f MB after", before, after), "flat")
	if after > before+50 {
		t.Errorf("%.0f MB before, %.0f MB after", before, after)
	}
}

// together has so many clients ask, and waits for all.
func (s *server) together(client *http.Client, n int, body string) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			res, err := client.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
			if err != nil {
				s.t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		})
	}
	wg.Wait()
}

// malformed are bodies that cost a server what they can.
func malformed() []string {
	deep := strings.Repeat(`[`, 100000)
	var keys strings.Builder
	for i := range 200000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	return []string{
		``, `{`, `[]`, `{"model":1}`, `{"model":"m"}`, `{"model":"m","model":"n"}`, "{\"model\":\"\xff\"}", `{"model":"\ud800"}`,
		chatBody("tiny-chat", "hi", `,"temperature":1e400`), chatBody("tiny-chat", "hi", `,"n":100000000`), chatBody("tiny-chat", "hi", `,"stop":`+deep+`}`),
		chatBody("tiny-chat", "hi", `,"x":`+deep), `{` + keys.String() + `"x":0}`, chatBody("nobody", strings.Repeat("long ", 100000), ""),
		chatBody("tiny-chat", "hi", `,"logit_bias":{"x":1}`), chatBody("tiny-chat", "hi", `,"tools":[{}]`),
	}
}

// TestWitness watches the time between two tokens of a stream, alone and beside
// clients that send what is malformed.
func TestWitness(t *testing.T) {
	rounds, tokens := 2, 30
	model, name := tinyModel, "tiny-chat"
	if long() {
		needReal(t)
		rounds, tokens = 25, 100
		model, name = realModel, realName
	}
	s := serveApart(t, "--model", model)
	bodies := malformed()
	var alone, beside []time.Duration
	sent, took := 0, time.Duration(0)
	for range rounds {
		alone = append(alone, s.gaps(name, tokens)...)
		ctx, stop := context.WithCancel(t.Context())
		count := make(chan int, 1)
		go func() { count <- s.pester(ctx, bodies) }()
		began := time.Now()
		beside = append(beside, s.gaps(name, tokens)...)
		took += time.Since(began)
		stop()
		sent += <-count
	}
	if sent == 0 || len(alone) < rounds*(tokens-1)/2 || len(beside) < rounds*(tokens-1)/2 {
		t.Errorf("%d malformed requests, %d and %d gaps", sent, len(alone), len(beside))
	}
	a, b := percentile(alone, 99), percentile(beside, 99)
	figure(t, fmt.Sprintf("p99 between tokens of a stream, beside %d malformed requests, %.0f a second", sent, float64(sent)/took.Seconds()),
		fmt.Sprintf("%v, alone %v (%+.0f %%); p50 %v, alone %v", b.Round(10*time.Microsecond), a.Round(10*time.Microsecond), 100*(float64(b)/float64(a)-1),
			percentile(beside, 50).Round(10*time.Microsecond), percentile(alone, 50).Round(10*time.Microsecond)), "at most 20 % more")
}

// gaps streams a completion and returns the times between its events.
func (s *server) gaps(model string, tokens int) (gaps []time.Duration) {
	s.t.Helper()
	res, err := http.Post(s.url+"/v1/chat/completions", "application/json",
		strings.NewReader(chatBody(model, "Tell a story.", fmt.Sprintf(`,"stream":true,"temperature":0,"ignore_eos":true,"max_tokens":%d`, tokens))))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var last time.Time
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if !strings.Contains(lines.Text(), `"content":`) {
			continue
		}
		now := time.Now()
		if !last.IsZero() {
			gaps = append(gaps, now.Sub(last))
		}
		last = now
	}
	return gaps
}

// pester sends malformed requests, a hundred a second at most, and returns how many
// were answered, each with an error of the client's.
func (s *server) pester(ctx context.Context, bodies []string) (n int) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Error(err)
		return 0
	}
	defer func() { conn.Close() }()
	answers := bufio.NewReader(conn)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; n == 0 || ctx.Err() == nil; n++ { // a fast stream may be over by now
		<-tick.C
		body := bodies[n%len(bodies)]
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = io.WriteString(conn, body)
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			s.t.Errorf("malformed request %d: %v", n, err)
			return n
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode < 400 || res.StatusCode > 499 {
			s.t.Errorf("malformed request %d: status %d", n, res.StatusCode)
		}
		if res.Close {
			conn.Close()
			if conn, err = net.Dial("tcp", strings.TrimPrefix(s.url, "http://")); err != nil {
				s.t.Error(err)
				return n
			}
			answers.Reset(conn)
		}
	}
	return n
}
