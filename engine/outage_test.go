package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
)

// broken is an engine on a device that is lost when the test says so, and comes back
// when it says so.
type broken struct {
	*Engine
	t       *testing.T
	lose    chan struct{} // a token: the next launch loses the device
	begun   chan struct{} // a rebuild has
	outcome chan error    // of the rebuild that waits
	alive   chan struct{} // a token: it gets on; another comes back when it has said so
	log     *bytes.Buffer
}

func openBroken(t *testing.T, cfg Config) *broken {
	b := &broken{t: t, lose: make(chan struct{}, 100), begun: make(chan struct{}, 1), outcome: make(chan error), alive: make(chan struct{}), log: &bytes.Buffer{}}
	cfg.Log = slog.New(slog.NewTextHandler(b.log, nil))
	b.Engine = open(t, cfg, func(l *loaded) {
		l.backend = devicetest.Fragile{
			Backend: echo.Backend{Overlap: true},
			Lose: func(call string) bool {
				if call != "Launch" {
					return false
				}
				select {
				case <-b.lose:
					return true
				default:
					return false
				}
			},
			Rebuild: func(ctx context.Context, progress func(done, total int64)) error {
				b.begun <- struct{}{}
				for {
					select {
					case err := <-b.outcome:
						return err
					case <-b.alive:
						progress(1, 2)
						b.alive <- struct{}{}
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			},
		}
	})
	return b
}

// ask begins a request, whose tokens are those of every other one.
func (b *broken) ask(r Request) *Generation {
	b.t.Helper()
	r.Tokens, r.MaxTokens, r.Params, r.IgnoreEOS = []int32{1, 2, 3}, 40, greedy, true
	g, err := b.Generate(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(g.Close)
	return g
}

// TestOutage: while the device is away the engine is not ready, and takes requests
// all the same; times end, clients leave. Once it is back all have what they would
// have had.
func TestOutage(t *testing.T) {
	b := openBroken(t, Config{MaxSequences: 2})
	want, _ := generate(t, b.Engine, Request{Tokens: []int32{1, 2, 3}, MaxTokens: 40, Params: greedy, IgnoreEOS: true})
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	b.lose <- struct{}{}
	running := b.ask(Request{})
	<-b.begun
	if err := b.Ready(); !errors.Is(err, ErrDevice) || !errors.Is(err, device.ErrLost) || !strings.Contains(err.Error(), "being rebuilt") {
		t.Errorf("ready while the device is rebuilt: %v", err)
	}
	late := b.ask(Request{})
	brief := b.ask(Request{Time: time.Millisecond})
	if _, _, err := result(brief); !errors.Is(err, ErrTime) {
		t.Errorf("a request whose time is over: %v", err)
	}
	leaver := b.ask(Request{})
	leaver.Close()
	for b.Stats().Cancelled == 0 {
		time.Sleep(time.Millisecond)
	}
	b.outcome <- nil
	for _, g := range []*Generation{running, late} {
		if got, finish, err := result(g); err != nil || got != want || finish != FinishLength {
			t.Errorf("%q, %s, %v, want %q", got, finish, err, want)
		}
	}
	if err := b.Ready(); err != nil {
		t.Error("not ready again:", err)
	}
	if s := waitIdle(t, b.Engine); s.DeviceFaults != 1 || s.DeviceRebuilds != 1 || s.Replayed != 1 || s.Expired != 1 {
		t.Errorf("%+v", s)
	}
	if log := b.log.String(); strings.Count(log, "lost everything") != 1 || strings.Count(log, "is rebuilt") != 1 {
		t.Errorf("the log says: %s", log)
	}
}

// TestLostForGood: a rebuild that fails, or one too many, ends all requests with an
// error, and later ones too. The engine says so, and closes.
func TestLostForGood(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		losses int // rebuilds end with another loss, but for the last
		faults uint64
		most   int
	}{
		{name: "no memory", err: device.ErrNoMemory, losses: 1, faults: 1, most: mostRebuilds},
		{name: "lost again and again", err: device.ErrLost, losses: mostRebuilds, faults: mostRebuilds + 1, most: mostRebuilds},
		{name: "none is allowed", faults: 1, most: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := openBroken(t, Config{MaxSequences: 1})
			b.loop.rebuilds.most = c.most
			b.lose <- struct{}{}
			running, waiting := b.ask(Request{}), b.ask(Request{})
			for range c.losses {
				<-b.begun
				b.outcome <- c.err
			}
			cause := device.ErrLost
			if c.err != nil {
				cause = c.err
			}
			for _, g := range []*Generation{running, waiting, b.ask(Request{})} {
				if text, _, err := result(g); text != "" || !errors.Is(err, ErrDevice) || !errors.Is(err, cause) {
					t.Errorf("%q, %v", text, err)
				}
			}
			if err := b.Ready(); !errors.Is(err, ErrDevice) || !errors.Is(err, ErrGivenUp) || !strings.Contains(err.Error(), "restart the process") {
				t.Error("ready:", err)
			}
			s := waitIdle(t, b.Engine)
			for end := time.Now().Add(patience); s.LastStepAge != 0 && time.Now().Before(end); s = b.Stats() { // until it parks
				time.Sleep(time.Millisecond)
			}
			if s.DeviceFaults != c.faults || s.DeviceRebuilds != 0 || s.LastStepAge != 0 {
				t.Errorf("%+v", s)
			}
			if err := b.loop.pool.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBackendCannotRebuild: of one that cannot, the first loss is for good.
func TestBackendCannotRebuild(t *testing.T) {
	b := openBroken(t, Config{})
	b.loop.rebuilds.do = nil
	b.lose <- struct{}{}
	if _, _, err := result(b.ask(Request{})); !errors.Is(err, ErrDevice) || !errors.Is(err, device.ErrLost) {
		t.Error(err)
	}
}

// TestRebuildsAllowed: so many within the time, and then as many again.
func TestRebuildsAllowed(t *testing.T) {
	r := rebuilds{most: 3, do: func(context.Context, func()) error { return nil }}
	minute := int64(time.Minute)
	for i, c := range []struct {
		at   int64
		want bool
	}{{0, true}, {4 * minute, true}, {9 * minute, true}, {10*minute - 1, false}, {10 * minute, true}, {11 * minute, false}, {14 * minute, true}, {300 * minute, true}} {
		if got := r.allow(c.at); got != c.want {
			t.Errorf("%d: at minute %d: %v", i, c.at/minute, got)
		}
	}
}

// TestStopInOutage: who drains waits for the device, who closes does not; the rebuild
// is told, and its goroutine ends.
func TestStopInOutage(t *testing.T) {
	b := openBroken(t, Config{})
	b.lose <- struct{}{}
	g := b.ask(Request{})
	<-b.begun
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := b.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("drained without the device:", err)
	}
	b.outcome <- nil
	if err := b.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if _, finish, err := result(g); err != nil || finish != FinishLength {
		t.Error(finish, err)
	}

	b = openBroken(t, Config{})
	b.lose <- struct{}{}
	g = b.ask(Request{})
	<-b.begun
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := result(g); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}

// TestRebuildHangs: the watchdog sees a rebuild that does not get on, and none that
// does.
func TestRebuildHangs(t *testing.T) {
	b := openBroken(t, Config{})
	b.lose <- struct{}{}
	g := b.ask(Request{})
	<-b.begun
	was := b.loop.lastNs.Load()
	later := time.Now().Add(wedgedAfter)
	if b.loop.age(later) < wedgedAfter {
		t.Error("a rebuild that hangs is no step that takes long")
	}
	b.alive <- struct{}{}
	<-b.alive
	if b.loop.lastNs.Load() <= was {
		t.Error("a rebuild that gets on is taken for one that hangs")
	}
	b.outcome <- nil
	if _, _, err := result(g); err != nil {
		t.Error(err)
	}
}
