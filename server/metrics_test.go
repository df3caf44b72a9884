package server

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/session"
)

// untilMetric reads the metrics until they have a line: a turn's end is counted after
// its answer, and sessions are not counted anew for each reader.
func (s *testServer) untilMetric(line string) {
	s.t.Helper()
	conn := s.dial()
	for end := time.Now().Add(patience); ; {
		_, text := conn.do(get("/metrics"))
		if strings.Contains(text, "\n"+line+"\n") {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("no line %q in\n%s", line, text)
		}
	}
}

// TestSessionMetrics: sessions by state, turns by end, and the log.
func TestSessionMetrics(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	for _, state := range session.States {
		s.untilMetric(`holdfast_sessions{state="` + string(state) + `"} 0`)
	}
	s.untilMetric("holdfast_log_syncs_total 0")
	one, two := s.create("{}"), s.create("{}")
	s.create(`{"durability":"memory"}`)
	s.chat(one.ID, "", "hi")
	s.chat(one.ID, "", "hi")
	must[api.Session](s, "POST", sessionPrefix+two.ID+"/park", "")
	for _, line := range []string{
		`holdfast_sessions{state="idle"} 2`, `holdfast_sessions{state="parked"} 1`, `holdfast_turns_total{end="committed"} 2`, `holdfast_turns_total{end="interrupted"} 0`,
		"holdfast_sessions_behind 0", "holdfast_log_segments 1", "holdfast_log_failures_total 0", "holdfast_log_failing 0",
	} {
		s.untilMetric(line)
	}
	if _, text := s.dial().do(get("/metrics")); strings.Contains(text, "holdfast_log_syncs_total 0\n") || strings.Contains(text, "holdfast_log_bytes_total 0\n") {
		t.Errorf("the log has not grown:\n%s", text)
	}
}

// TestCensus: counting takes at most a hundredth of the time.
func TestCensus(t *testing.T) {
	var c census
	counts, now := 0, time.Unix(0, 0)
	take := func() int {
		got := c.take(func() session.Status {
			counts++
			now = now.Add(10 * time.Millisecond)
			return session.Status{Open: counts}
		}, func() time.Time { return now })
		return got.Open
	}
	if n := take(); n != 1 {
		t.Errorf("the first count is %d", n)
	}
	now = now.Add(999 * time.Millisecond)
	if n := take(); n != 1 {
		t.Errorf("counted again after less than a second: %d", n)
	}
	now = now.Add(time.Millisecond)
	if n := take(); n != 2 {
		t.Errorf("not counted again after a second: %d", n)
	}
}

// TestMetricsAreDocumented compares what is served with docs/METRICS.md.
func TestMetricsAreDocumented(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	s.chat(s.create("{}").ID, "", "hi")
	_, text := s.dial().do(get("/metrics"))
	served, told := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z_:]*)`).FindAllStringSubmatch(text, -1) {
		name := m[1]
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, part); ok && strings.HasSuffix(base, "_seconds") {
				name = base
			}
		}
		served[name] = true
	}
	doc, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`((?:holdfast_|vllm:|go_)[a-z_]+)(?:\\{[a-z,]+\\})?`").FindAllStringSubmatch(string(doc), -1) {
		told[m[1]] = true
	}
	if got, want := slices.Sorted(maps.Keys(served)), slices.Sorted(maps.Keys(told)); !slices.Equal(got, want) {
		t.Errorf("served\n%q\ndocumented\n%q", got, want)
	}
}
