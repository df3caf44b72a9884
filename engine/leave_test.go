package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
	"github.com/holdfast-run/holdfast/weights"
)

// stepper is a backend whose launches wait until a test lets them go on.
type stepper struct {
	device.Backend
	at chan int      // a launch is here, of so many sequences
	on chan struct{} // lets it go on; closed: all
}

func (b stepper) Compile(ctx context.Context, g *graph.Graph, w *weights.File, o device.Options) (device.Program, error) {
	p, err := b.Backend.Compile(ctx, g, w, o)
	return steppedProgram{p, b}, err
}

type steppedProgram struct {
	device.Program
	stepper stepper
}

func (p steppedProgram) Launch(in *device.StepInput) (device.Ticket, error) {
	select {
	case p.stepper.at <- len(in.Spans):
		<-p.stepper.on
	case <-p.stepper.on:
	}
	return p.Program.Launch(in)
}

// step lets the launch that waits go on until the next one waits, and returns how many
// sequences that is of.
func (b stepper) step() int {
	b.on <- struct{}{}
	return <-b.at
}

// TestLeaversAreGoneAfterAStep counts steps, which a slow machine does not change: a
// hundred clients leave in the queue, in decode and in prefill while a step is under
// way. The next one computes nothing of them, and at its end their blocks are free.
func TestLeaversAreGoneAfterAStep(t *testing.T) {
	for _, overlap := range []bool{false, true} { // then a step is launched before the one before it has ended
		t.Run(fmt.Sprint("overlap ", overlap), func(t *testing.T) { leaversInSteps(t, overlap) })
	}
}

func leaversInSteps(t *testing.T, overlap bool) {
	const n, chunk = 100, 128
	b := stepper{echo.Backend{Overlap: overlap}, make(chan int), make(chan struct{})}
	e := open(t, Config{}, func(l *loaded) {
		l.backend = b
		l.opts.MaxRows, l.opts.MaxTokens, l.opts.Blocks[device.Full] = n+1, chunk, 4*n
	})
	defer close(b.on)
	asked := int32(0)
	ask := func(tokens, more int) *Generation {
		t.Helper()
		r := Request{Tokens: make([]int32, tokens), MaxTokens: more, Params: greedy, IgnoreEOS: true}
		asked++
		r.Tokens[0], r.Tokens[1] = asked%200, asked/200 // each its own
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	many := func() (all []*Generation) {
		for range n {
			all = append(all, ask(3, 100))
		}
		return all
	}
	// leave has clients leave, and checks that only so many that stay are computed on.
	leave := func(phase string, all []*Generation, stay int) {
		t.Helper()
		was := e.Stats()
		for _, g := range all {
			g.Close()
		}
		if spans := b.step(); spans != stay {
			t.Errorf("%s: the next step is of %d sequences, want %d", phase, spans, stay)
		}
		b.step()
		s := e.Stats()
		blocks := stay + int(s.Steps+3)/device.BlockTokens // the one that stays to the end has a token more after each step
		if s.Running != stay || s.Waiting != 0 || s.BlocksUsed > blocks || s.Cancelled != was.Cancelled+uint64(len(all)) {
			t.Errorf("%s: at its end %d run, %d wait, %d blocks are used, %d left; want %d, 0, at most %d, %d",
				phase, s.Running, s.Waiting, s.BlocksUsed, s.Cancelled-was.Cancelled, stay, blocks, len(all))
		}
	}
	state := func(phase string, running, waiting int) {
		t.Helper()
		s := e.Stats()
		// As long as it takes to compute a hundred prompts; longer where a machine that
		// stalled has the scheduler think that each takes long.
		for i := 0; i < 8 || i < 40 && (s.Running != running || s.Waiting != waiting); i++ {
			b.step()
			s = e.Stats()
		}
		if s.Running != running || s.Waiting != waiting {
			t.Fatalf("%s: %d run and %d wait, want %d and %d", phase, s.Running, s.Waiting, running, waiting)
		}
	}

	stays := ask(3, 500)
	defer stays.Close()
	<-b.at
	decoding := many()
	state("decode", n+1, 0)
	queued := many()
	state("queue", n+1, n)
	leave("queue", queued, n+1)
	leave("decode", decoding, 1)
	for i := range n {
		g := ask(3*chunk, 100)
		b.step()
		b.step()
		if s := e.Stats(); s.Running != 2 {
			t.Fatalf("prefill %d: %d run", i, s.Running)
		}
		leave(fmt.Sprint("prefill ", i), []*Generation{g}, 1)
		if t.Failed() {
			return
		}
	}
	if s := e.Stats(); s.Cancelled != 3*n {
		t.Errorf("%d left, want %d", s.Cancelled, 3*n)
	}
}
