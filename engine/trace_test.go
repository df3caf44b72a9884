package engine

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestTrace: every step is there once, its phases follow one another, and the tokens are
// those that were computed.
func TestTrace(t *testing.T) {
	e := open(t, Config{MaxSequences: 2}, nil)
	const prompt, made = 70, 9
	generate(t, e, Request{Tokens: make([]int32, prompt), MaxTokens: made, IgnoreEOS: true, Params: greedy})
	waitIdle(t, e)

	var b bytes.Buffer
	if err := e.WriteTrace(&b); err != nil {
		t.Fatal(err)
	}
	var got struct{ TraceEvents []traceEvent }
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	steps, tokens, host := 0, 0, 0.0
	for _, ev := range got.TraceEvents {
		switch {
		case ev.Phase != "X":
		case strings.HasPrefix(ev.Name, "step "):
			steps++
			tokens += int(ev.Args["prefill_tokens"].(float64) + ev.Args["decode_tokens"].(float64))
		case ev.Thread != hostTrack || ev.Start < host:
			t.Errorf("%s at %v, after one that ended at %v", ev.Name, ev.Start, host)
		default:
			host = ev.Start + ev.Duration - 0.001 // of rounding
		}
	}
	if want := prompt + made - 1; tokens != want || steps < made || uint64(steps) != e.loop.trace.count {
		t.Errorf("%d steps of %d tokens, want %d tokens in %d steps", steps, tokens, want, e.loop.trace.count)
	}
}

// TestTraceOfMany: only the newest steps are kept.
func TestTraceOfMany(t *testing.T) {
	var l loop
	for i := range traceSteps + 10 {
		l.trace.add(&stepTrace{launched: int64(i) * 10, delivered: int64(i)*10 + 5})
	}
	var b bytes.Buffer
	if err := (&Engine{loop: &l}).WriteTrace(&b); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, `"step 9"`) || !strings.Contains(text, `"step 10"`) || !strings.Contains(text, `"step 4105"`) {
		t.Errorf("not the newest %d steps: %.300s", traceSteps, text)
	}
}
