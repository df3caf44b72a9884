package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
)

// memo is a Journal in memory.
type memo struct {
	mu               sync.Mutex
	tokens           []int32
	flushed, written int
	shown            chan int      // what Await is asked for
	pass             chan struct{} // lets Await return, if not nil

	flushes bool // Await fails if the loop has not flushed and written what it is asked for
}

func (m *memo) Append(token int32) {
	m.mu.Lock()
	m.tokens = append(m.tokens, token)
	m.mu.Unlock()
}

func (m *memo) Flush() {
	m.mu.Lock()
	m.flushed = len(m.tokens)
	m.mu.Unlock()
}

func (m *memo) Write() {
	m.mu.Lock()
	m.written = m.flushed
	m.mu.Unlock()
}

func (m *memo) Await(ctx context.Context, tokens int) error {
	m.mu.Lock()
	written := m.written
	m.mu.Unlock()
	if m.flushes && written < tokens {
		return fmt.Errorf("token %d is to be shown, %d are being written", tokens, written)
	}
	if m.shown != nil {
		m.shown <- tokens
	}
	if m.pass == nil {
		return nil
	}
	select {
	case <-m.pass:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestFlushedBeforeMail: a reader that wakes finds its token on the way to the disk, and
// has nothing to hand over itself.
func TestFlushedBeforeMail(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			r := Request{Tokens: c.Tokens[:3+i], MaxTokens: 40, Params: greedy, IgnoreEOS: true, Journal: &memo{flushes: true}}
			g, err := e.Generate(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer g.Close()
			for {
				d, err := g.Next()
				if err != nil {
					t.Error(err)
				}
				if err != nil || d.Finish != "" {
					return
				}
			}
		})
	}
	all.Wait()
}

// TestInterruptedTurn: a turn that is cut off after any of its tokens and goes
// on gives the tokens, the text and the end of the one that never stopped.
func TestInterruptedTurn(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	requests := []Request{
		{Tokens: c.Tokens[:5], MaxTokens: 40, Params: greedy, IgnoreEOS: true},
		{Tokens: c.Tokens[:9], MaxTokens: 40, Params: sampler.Params{
			Temperature: 0.8, TopP: 1, MinP: 0.02, Seed: 9, RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2, MinTokens: 20}},
	}
	for i, r := range requests {
		whole := &memo{}
		r.Journal = whole
		want, finish := generate(t, e, r)
		if i == 0 && len(want) > 20 { // and one with a stop string that stands in two tokens, mostly
			s := r
			s.Stop = []string{want[len(want)/2 : len(want)/2+4]}
			requests = append(requests, s)
		}
		for cut := range len(whole.tokens) + 1 {
			rest := &memo{}
			r.Journal, r.Drawn = rest, whole.tokens[:cut]
			text, why := generate(t, e, r)
			if all := slices.Concat(r.Drawn, rest.tokens); text != want || why != finish || !slices.Equal(all, whole.tokens) && len(r.Stop) == 0 {
				t.Errorf("request %d, cut after %d: %q, %s; want %q, %s; drew %v, want %v", i, cut, text, why, want, finish, all, whole.tokens)
			}
		}
	}
	waitIdle(t, e)
}

// TestNothingIsShownBeforeItIsLogged: a piece of text waits for its tokens in
// the journal, the loop does not.
func TestNothingIsShownBeforeItIsLogged(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	j := &memo{shown: make(chan int, 100), pass: make(chan struct{})}
	g, err := e.Generate(t.Context(), Request{Tokens: c.Tokens[:5], MaxTokens: 8, Params: greedy, IgnoreEOS: true, Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	waitIdle(t, e) // the loop is done with it, though nothing was read
	deltas := make(chan Delta)
	go func() {
		for {
			d, err := g.Next()
			if err != nil {
				close(deltas)
				return
			}
			deltas <- d
		}
	}()
	last := 0
	for {
		n := <-j.shown
		select {
		case d := <-deltas:
			t.Fatalf("%q was shown before its tokens were logged", d.Text)
		default:
		}
		j.pass <- struct{}{}
		d := <-deltas
		if d.Tokens != n || n <= last && d.Finish == "" {
			t.Errorf("a piece up to token %d waited for %d, after %d", d.Tokens, n, last)
		}
		if last = n; d.Finish != "" {
			break
		}
	}
	if _, open := <-deltas; open {
		t.Error("a piece behind the last")
	}
}
