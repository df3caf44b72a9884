package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/sampler"
)

// losses are devices that lose everything on them at random calls, about one of so
// many, of those that are rare one of three; and what they were.
type losses struct {
	rng   *rand.Rand
	every int
	at    map[string]int // calls that lost a device
}

func newLosses(seed uint64, every int) *losses {
	return &losses{rng: rand.New(rand.NewPCG(seed, 9)), every: every, at: map[string]int{}}
}

func (l *losses) lose(call string) bool {
	every := l.every
	switch call {
	case "Copy", "Save", "Load", "Rebuild":
		every = 3
	}
	if l.rng.IntN(every) > 0 {
		return false
	}
	l.at[call]++
	return true
}

// all reports whether each of these calls has lost a device.
func (l *losses) all(calls []string) bool {
	return !slices.ContainsFunc(calls, func(call string) bool { return l.at[call] == 0 })
}

// reached fails a test that does not reach all of these calls.
func (l *losses) reached(t *testing.T, calls []string) {
	t.Helper()
	t.Logf("lost at %v", l.at)
	if !l.all(calls) {
		t.Errorf("not lost at all of %v: the test does not reach it", calls)
	}
}

// openLosing starts an engine that may rebuild its device as often as it likes.
func openLosing(t *testing.T, path string, cfg Config, b devicetest.Fragile, adjust func(*loaded)) *Engine {
	e := openPath(t, path, cfg, func(l *loaded) {
		l.backend = b
		if adjust != nil {
			adjust(l)
		}
	})
	e.loop.rebuilds.most = math.MaxInt
	return e
}

// TestLossesDoNotMatter is TestSchedulesDoNotMatter on a device that loses everything
// now and then: the same tokens, and the same bits in each row of logits. Schedules are
// those with hardly enough room, and with blocks on the host.
func TestLossesDoNotMatter(t *testing.T) {
	for name, n := range map[string]uint64{"tiny-chat": 24, "tiny-window": 6} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(filepath.Dir(golden.TinyChat(t)), name+".gguf")
			all := requests(301, 150)
			e := openPath(t, path, Config{MaxSequences: 1, Threads: 1}, nil)
			want := alone(t, e, all)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			lost := newLosses(1, 150)
			calls := []string{"Launch", "Sample", "Wait", "Copy", "Rebuild"}
			if name == "tiny-chat" { // window pools are computed again
				calls = append(calls, "Save", "Load")
			}
			var sum Stats
			for seed := uint64(0); !t.Failed() && (seed < n || !lost.all(calls) && seed < 20*n); seed++ {
				s := schedule(t, 4*seed, want, all, func(cfg Config, adjust func(*loaded)) *Engine {
					return openLosing(t, path, cfg, devicetest.Fragile{Backend: cpu.Backend{}, Lose: lost.lose}, adjust)
				})
				sum.DeviceFaults += s.DeviceFaults
				sum.DeviceRebuilds += s.DeviceRebuilds
				sum.Replayed += s.Replayed
			}
			lost.reached(t, calls)
			if s := sum; s.DeviceFaults < s.DeviceRebuilds+uint64(lost.at["Rebuild"]) || s.Replayed < s.DeviceRebuilds {
				t.Errorf("%d faults, %d rebuilds, %d sequences replayed", s.DeviceFaults, s.DeviceRebuilds, s.Replayed)
			}
		})
	}
}

// TestCanariesSurviveLosses: two steps under way, leavers, rows without a number, and
// every token still its own sequence's.
func TestCanariesSurviveLosses(t *testing.T) {
	requests, atOnce := 5_000, 512
	if long() {
		requests = 200_000
	}
	for _, overlap := range []bool{false, true} {
		lost, calls := newLosses(2, 100), []string{"Launch", "Sample", "Wait", "Copy", "Rebuild"}
		for round := 0; !t.Failed() && round < 10 && !lost.all(calls); round++ {
			canaries(t, requests, atOnce, overlap, true, func(b echo.Backend) device.Backend {
				return devicetest.Fragile{Backend: b, Lose: lost.lose}
			})
		}
		lost.reached(t, calls)
	}
}

// TestLossesOfSessions: turns whose blocks go to the disk and come from there. What a
// journal is told is what it would have been told, and nothing on the disk is what a
// device had that was lost: another engine goes on from there with the same bits.
func TestLossesOfSessions(t *testing.T) {
	for _, name := range []string{"tiny-chat", "tiny-window"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(filepath.Dir(golden.TinyChat(t)), name+".gguf")
			rng := rand.New(rand.NewPCG(3, 3))
			e := openPath(t, path, Config{MaxSequences: 1, Threads: 1}, nil)
			var all []*conversation
			for i := range 6 {
				all = append(all, converse(t, e, string(rune('a'+i)), rng, 4, 80))
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			lost := newLosses(4, 40)
			cfg := Config{Store: t.TempDir(), StoreBytes: 8 << 20, Restore: RestoreLoad, MaxSequences: 4}
			e = openLosing(t, path, cfg, devicetest.Fragile{Backend: cpu.Backend{}, Lose: lost.lose}, nil)
			for i := range 4 {
				for _, c := range all {
					cut := rng.IntN(len(c.drawn[i]) + 1)
					c.goOn(t, e, i, cut)
					if _, err := e.Park(t.Context(), c.turns[i].Principal, slices.Concat(c.turns[i].Tokens, c.drawn[i])); err != nil {
						t.Fatal(err)
					}
				}
			}
			s := e.Stats()
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if err := e.loop.pool.Check(); err != nil {
				t.Error(err)
			}
			lost.reached(t, []string{"Launch", "Wait", "Save", "Load"})
			if s.StoredBlocks == 0 || s.LoadedBlocks == 0 || s.Restores == 0 {
				t.Errorf("the disk was not used: %+v", s.TierStats)
			}
			e = openPath(t, path, cfg, nil)
			loaded := 0
			for _, c := range all {
				loaded += c.goOn(t, e, 3, 0)
			}
			if loaded == 0 {
				t.Error("nothing on the disk was of use")
			}
		})
	}
}

// TestLossWhileWriting: blocks that wait for the writer when the device is lost are not
// copied from the next one; those that the writer has are good.
func TestLossWhileWriting(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	e := open(t, Config{MaxSequences: 1, Threads: 1}, nil)
	var both []*conversation
	for i := 0; len(both) < 2; i++ {
		if c := converse(t, e, fmt.Sprint("w", i), rng, 1, 150); len(c.turns[0].Tokens) > 2*device.BlockTokens {
			both = append(both, c)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var slow, lose atomic.Bool
	gate, held := make(chan struct{}), make(chan struct{}, 1)
	cfg := Config{Store: t.TempDir(), StoreBytes: 8 << 20, Restore: RestoreLoad, MaxSequences: 1}
	plain := cfg
	cfg.fs = vfstest.Fault(vfs.OS{}, func(vfstest.Call) error {
		if slow.Load() {
			select {
			case held <- struct{}{}:
			default:
			}
			<-gate
		}
		return nil
	})
	e = openLosing(t, golden.TinyChat(t), cfg, devicetest.Fragile{Backend: cpu.Backend{}, Lose: func(call string) bool {
		return call == "Launch" && lose.CompareAndSwap(true, false)
	}}, nil)
	slow.Store(true)
	for i, c := range both {
		r := c.turns[0]
		r.Journal, r.Keep = &memo{}, true
		generate(t, e, r)
		if i == 0 {
			<-held // the writer has what there was of the first
		}
		if _, err := e.Residence(t.Context(), r.Principal, r.Tokens); err != nil { // and the loop has come round
			t.Fatal(err)
		}
	}
	lose.Store(true)
	generate(t, e, Request{Tokens: []int32{1, 2}, MaxTokens: 1, Params: greedy})
	if s := e.Stats(); s.DeviceRebuilds != 1 || s.DroppedBlocks == 0 {
		t.Errorf("%d rebuilds, %d blocks dropped", s.DeviceRebuilds, s.DroppedBlocks)
	}
	close(gate)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, plain, nil)
	for i, c := range both {
		if n := c.goOn(t, e, 0, 0); i == 0 && n == 0 {
			t.Error("what the writer had is not on the disk")
		}
	}
}

// TestMadeTensorsAreMadeAgain: of weights that are quantised at load nothing is left
// once the device has them.
func TestMadeTensorsAreMadeAgain(t *testing.T) {
	r := Request{Tokens: []int32{1, 2, 3}, MaxTokens: 20, Params: sampler.Params{Temperature: 1, TopP: 1, Seed: 3}, IgnoreEOS: true}
	cfg := Config{Quantize: graph.Q8_0}
	e := open(t, cfg, nil)
	want, _ := generate(t, e, r)
	n := 0
	e = openLosing(t, golden.TinyChat(t), cfg, devicetest.Fragile{Backend: cpu.Backend{}, Lose: func(call string) bool {
		n++
		return n == 10
	}}, nil)
	if got, _ := generate(t, e, r); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s := e.Stats(); s.DeviceRebuilds != 1 {
		t.Errorf("rebuilt %d times", s.DeviceRebuilds)
	}
}
