package engine

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
)

// TestReplay: the deltas of a turn's log are those that its reader got, however
// the turn ended.
func TestReplay(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	e := open(t, Config{}, nil)
	base := Request{Tokens: c.Tokens[:9], MaxTokens: 40, IgnoreEOS: true, TokenIDs: true,
		Params: sampler.Params{Temperature: 0.8, TopP: 1, Seed: 9}}
	live := func(r Request) (all []Delta, drawn []int32) {
		t.Helper()
		j := &memo{}
		r.Journal = j
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		for {
			d, err := g.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
			drawn = append(drawn, d.TokenIDs...)
		}
		return all, drawn
	}
	plain, drawn := live(base)
	text := ""
	for _, d := range plain {
		text += d.Text
	}
	requests := map[string]Request{"length": base}
	stop := base
	stop.Stop = []string{text[len(text)/2:][:6], "never this"}
	requests["stop string"] = stop
	keep := stop
	keep.KeepStop = true
	requests["stop string, kept"] = keep
	token := base
	token.StopIDs = []int32{drawn[20]}
	requests["stop token"] = token
	held := base
	held.Stop = []string{text[len(text)-3:] + "never"}
	requests["text held back at the end"] = held
	for name, r := range requests {
		want, drawn := live(r)
		finish := want[len(want)-1].Finish
		if got := e.Replay(r, drawn, finish); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: replayed\n%v\nwant\n%v", name, got, want)
		}
		r.TokenIDs = false
		if got := e.Replay(r, drawn, finish); got[0].TokenIDs != nil {
			t.Errorf("%s: token IDs that nobody asked for", name)
		}
	}
	waitIdle(t, e)
}

// TestEncodeChatAfter keeps what was drawn.
func TestEncodeChatAfter(t *testing.T) {
	e := open(t, Config{}, nil)
	in := chat.Input{AddGenerationPrompt: true, Messages: []chat.Message{{Role: "user", Content: "hi"}}}
	past, err := e.EncodeChat(in)
	if err != nil {
		t.Fatal(err)
	}
	drawn := e.tokenizer.Encode(nil, "o")
	past = slices.Concat(past, drawn, drawn)
	in.Messages = append(in.Messages, chat.Message{Role: "assistant", Content: "oo"}, chat.Message{Role: "user", Content: "on"})
	tokens, keep, err := e.EncodeChatAfter(in, past)
	if err != nil || keep != len(past) || !slices.Equal(tokens[:keep], past) || len(tokens) == keep {
		t.Errorf("%d of %d tokens kept of %v, %v", keep, len(past), tokens, err)
	}
}
