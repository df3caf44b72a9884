package engine

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/holdfast-run/holdfast/scheduler"
)

// traceSteps is how many of the newest steps the loop remembers.
const traceSteps = 4096

// stepTrace is one step: when the loop was where, in nanoseconds of its clock, and what
// the step had.
type stepTrace struct {
	scheduled         int64 // the scheduler was asked
	launched, queued  int64 // Launch began and returned
	sampling, sampled int64 // the same of Sample
	waiting, landed   int64 // the same of Wait
	delivered         int64 // its tokens were handed out
	prefill, decode   int   // tokens: of spans, and single ones
	running, inQueue  int   // sequences, then
}

// tracer keeps the newest steps. The loop owns it; what others read is copied under
// the loop's lock.
type tracer struct {
	steps [traceSteps]stepTrace
	count uint64 // of all steps
}

func (t *tracer) add(s *stepTrace) {
	t.steps[t.count%traceSteps] = *s
	t.count++
}

// describe notes what a batch has.
func (s *stepTrace) describe(b *scheduler.Batch, running, waiting int) {
	s.running, s.inQueue = running, waiting
	for _, it := range b.Items {
		if it.Tokens == 1 {
			s.decode++
		} else {
			s.prefill += it.Tokens
		}
	}
}

// traceEvent is an event of the Trace Event Format, which Chrome's about:tracing and
// Perfetto read (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
// Times are microseconds.
type traceEvent struct {
	Name     string         `json:"name"`
	Phase    string         `json:"ph"`
	Start    float64        `json:"ts"`
	Duration float64        `json:"dur,omitempty"`
	Process  int            `json:"pid"`
	Thread   int            `json:"tid"`
	Args     map[string]any `json:"args,omitempty"`
}

// Tracks of a trace.
const (
	hostTrack = iota + 1
	stepTrack // steps overlap, so that every other one has a track of its own
)

// WriteTrace writes the newest steps, at most 4,096, as JSON for Chrome's about:tracing or
// ui.perfetto.dev: what the host did in each step, and each step from its launch
// to its tokens. It has no prompt and no token. It may be called by any goroutine.
func (e *Engine) WriteTrace(w io.Writer) error {
	l := e.loop
	l.mu.Lock()
	t := l.trace
	l.mu.Unlock()
	events := []traceEvent{trackName(hostTrack, "step loop"), trackName(stepTrack, "even steps"), trackName(stepTrack+1, "odd steps")}
	for i := t.count - min(t.count, traceSteps); i < t.count; i++ {
		events = t.steps[i%traceSteps].events(events, i)
	}
	return json.NewEncoder(w).Encode(map[string]any{"displayTimeUnit": "ms", "traceEvents": events})
}

func trackName(track int, name string) traceEvent {
	return traceEvent{Name: "thread_name", Phase: "M", Process: 1, Thread: track, Args: map[string]any{"name": name}}
}

// events appends a step's.
func (s *stepTrace) events(to []traceEvent, number uint64) []traceEvent {
	span := func(name string, track int, from, until int64, args map[string]any) {
		if until > from {
			to = append(to, traceEvent{Name: name, Phase: "X", Start: float64(from) / 1e3, Duration: float64(until-from) / 1e3, Process: 1, Thread: track, Args: args})
		}
	}
	span(fmt.Sprint("step ", number), stepTrack+int(number%2), s.launched, s.delivered, map[string]any{
		"prefill_tokens": s.prefill, "decode_tokens": s.decode, "running": s.running, "waiting": s.inQueue,
	})
	span("schedule", hostTrack, s.scheduled, s.launched, nil)
	span("launch", hostTrack, s.launched, s.queued, nil)
	span("sample", hostTrack, s.sampling, s.sampled, nil)
	span("wait", hostTrack, s.waiting, s.landed, nil)
	span("deliver", hostTrack, s.landed, s.delivered, nil)
	return to
}
