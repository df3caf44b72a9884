package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
	"github.com/holdfast-run/holdfast/sampler"
)

// TestTimeIsOver: a request whose time ends in the queue or while it runs gets
// an error that says which time it was, and those beside it go on.
func TestTimeIsOver(t *testing.T) {
	e := open(t, Config{MaxSequences: 1}, func(l *loaded) {
		l.backend = echo.Backend{Fault: func(*device.StepInput, int, sampler.Row) bool {
			time.Sleep(time.Millisecond) // a slow device: what follows is not over before its time is
			return false
		}}
	})
	ask := func(r Request) *Generation {
		r.Tokens, r.MaxTokens, r.Params, r.IgnoreEOS = []int32{1, 2, 3}, 400, greedy, true
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		return g
	}
	running := ask(Request{Time: 20 * time.Millisecond})
	queued := ask(Request{QueueTime: time.Nanosecond})
	patient := ask(Request{Time: time.Hour, QueueTime: time.Hour})
	if _, _, err := result(queued); !errors.Is(err, ErrQueueTime) {
		t.Errorf("queued: %v", err)
	}
	if _, _, err := result(running); !errors.Is(err, ErrTime) {
		t.Errorf("running: %v", err)
	}
	if _, finish, err := result(patient); err != nil || finish != FinishLength {
		t.Errorf("patient: %s, %v", finish, err)
	}
	if s := waitIdle(t, e); s.Expired != 2 {
		t.Errorf("%d requests expired, want 2", s.Expired)
	}
}

// TestWedged: a step that does not come back is noticed.
func TestWedged(t *testing.T) {
	gate := make(chan struct{})
	e := open(t, Config{}, func(l *loaded) {
		l.backend = echo.Backend{Fault: func(*device.StepInput, int, sampler.Row) bool { <-gate; return false }}
	})
	wedged := make(chan struct{})
	go e.loop.watch(8*time.Millisecond, wedged)
	g, err := e.Generate(t.Context(), Request{Tokens: []int32{1}, MaxTokens: 1, Params: greedy})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	<-wedged
	if err := e.loop.ready(time.Now().Add(stuckAfter)); err == nil {
		t.Error("a loop that hangs is ready")
	}
	close(gate)
	if _, _, err := result(g); err != nil {
		t.Error(err)
	}
}
