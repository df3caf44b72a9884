package engine

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
)

// TestLogprobs: what a generation reports of prompt and completion is what the
// device's logits say, teacher-forced in one go.
func TestLogprobs(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	prompt := c.Tokens[:20]
	e := open(t, Config{MaxSequences: 3}, nil)
	for _, r := range []Request{
		{Logprobs: true, PromptLogprobs: true, TopLogprobs: 3},
		{Logprobs: true},
		{PromptLogprobs: true, TopLogprobs: 1},
		{},
	} {
		r.Tokens, r.MaxTokens, r.IgnoreEOS = prompt, 12, true
		r.Params = sampler.Params{Temperature: 1, TopP: 1, Seed: 3}
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var made []TokenLogprob
		text := ""
		for {
			d, err := g.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, d.Logprobs...)
			text += d.Text
		}
		tokens := append([]int32(nil), g.seq.Tokens...)
		want := forced(t, tokens, r.TopLogprobs)
		if r.Logprobs != (len(made) > 0) || r.Logprobs && !reflect.DeepEqual(made, want[len(prompt):]) {
			t.Errorf("%+v: made %v\nwant %v", r, made, want[len(prompt):])
		}
		if got := g.Prompt(); r.PromptLogprobs != (got != nil) || got != nil && !reflect.DeepEqual(got, want[:len(prompt)]) {
			t.Errorf("%+v: prompt %v\nwant %v", r, got, want[:len(prompt)])
		}
		if text != e.Tokenizer().Decode(tokens[len(prompt):], false) {
			t.Errorf("text %q", text)
		}
		g.Close()
	}
}

// forced returns what is to be reported of each token but the first.
func forced(t *testing.T, tokens []int32, top int) []TokenLogprob {
	run := devicetest.Open(t, cpu.Backend{}, golden.TinyChat(t), device.Options{KV: graph.F16})
	out := []TokenLogprob{{Token: tokens[0]}}
	var scratch sampler.Scratch
	for i, row := range run.Feed(0, 1, tokens, 64)[:len(tokens)-1] {
		p, likeliest, err := sampler.Logprobs(row, tokens[i+1], top, &scratch)
		if err != nil {
			t.Fatal(err)
		}
		rank := 0
		for _, logit := range row {
			if logit >= row[tokens[i+1]] {
				rank++
			}
		}
		out = append(out, TokenLogprob{Token: tokens[i+1], Logprob: p, Rank: rank, Top: append([]sampler.Logprob(nil), likeliest...)})
	}
	return out
}

// TestLogprobsFollowText: a token's log-probability comes with the text that it
// begins, and not at all if that is cut off.
func TestLogprobsFollowText(t *testing.T) {
	e := open(t, Config{}, nil)
	tok := e.Tokenizer()
	ids := tok.Encode(nil, "Hello é world")
	for _, stop := range []string{"", "world", "lo é", "\xa9"} {
		s := textStream{detok: tok.NewDetokenizer(false)}
		if stop != "" {
			s.stops = []string{stop}
		}
		var text strings.Builder
		var shown []int32
		note := func(d Delta) {
			text.WriteString(d.Text)
			for _, l := range d.Logprobs {
				shown = append(shown, l.Token)
			}
			if got := tok.Decode(shown, false); !strings.HasPrefix(got, strings.TrimRight(text.String(), "�")) {
				t.Errorf("stop %q: the tokens shown are %q, the text %q", stop, got, text.String())
			}
		}
		for _, id := range ids {
			if s.finished {
				break
			}
			note(s.add(id, &TokenLogprob{Token: id}, false))
		}
		if !s.finished {
			note(s.flush(FinishLength))
		}
		whole := tok.Decode(ids, false)
		want, _, _ := strings.Cut(whole, stop)
		if stop == "" || !strings.Contains(whole, stop) {
			want = whole
		}
		if text.String() != want {
			t.Errorf("stop %q: text %q, want %q", stop, text.String(), want)
		}
		if want == whole && len(shown) != len(ids) {
			t.Errorf("stop %q: %d of %d tokens shown", stop, len(shown), len(ids))
		}
		if want != whole && len(shown) >= len(ids) {
			t.Errorf("stop %q: the tokens of the cut text are shown", stop)
		}
	}
}
