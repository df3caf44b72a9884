package engine

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/tokenizer"
)

// pass gives tokens to a stream and returns the text that it shows.
func pass(s *textStream, ids []int32, end bool) (text string, finish FinishReason) {
	for i, id := range ids {
		d := s.add(id, nil, end && i == len(ids)-1)
		text += d.Text
		if s.finished {
			return text, d.Finish
		}
	}
	d := s.flush(FinishLength)
	return text + d.Text, d.Finish
}

// TestKeepStop: what ended a completion is in its text if that is asked for, and
// nothing of what came after.
func TestKeepStop(t *testing.T) {
	tok := open(t, Config{}, nil).Tokenizer()
	end := tok.EOG()[0]
	ids := tok.Encode(nil, "one two three")
	for _, c := range []struct {
		name     string
		stops    []string
		keep     bool
		specials bool
		end      bool // an end token follows
		want     string
		finish   FinishReason
	}{
		{"a stop string", []string{" tw"}, false, false, false, "one", FinishStop},
		{"a stop string, kept", []string{" tw"}, true, false, false, "one tw", FinishStop},
		{"of two the first", []string{"three", "two"}, true, false, false, "one two", FinishStop},
		{"an end token", nil, false, true, true, "one two three", FinishStop},
		{"an end token, kept without its name", nil, true, false, true, "one two three", FinishStop},
		{"an end token, kept", nil, true, true, true, "one two three" + tok.Piece(end), FinishStop},
		{"no stop, kept", []string{"four"}, true, true, false, "one two three", FinishLength},
	} {
		s := textStream{detok: tok.NewDetokenizer(c.specials), stops: c.stops, keep: c.keep}
		all := ids
		if c.end {
			all = append(slices.Clone(ids), end)
		}
		if text, finish := pass(&s, all, c.end); text != c.want || finish != c.finish {
			t.Errorf("%s: %q (%s), want %q (%s)", c.name, text, finish, c.want, c.finish)
		}
	}
}

// TestStopAt: of stop strings that begin in one place the shortest ends the text,
// whether or not one token holds them all.
func TestStopAt(t *testing.T) {
	for _, stops := range [][]string{{"abc", "ab"}, {"ab", "abc"}, {"c", "bc", "ab"}} {
		for keep, want := range map[bool]int{false: 1, true: 3} {
			s := textStream{stops: stops, keep: keep, held: []byte("xabcd")}
			if got := s.stopAt(); got != want {
				t.Errorf("%q, kept %v: %d, want %d", stops, keep, got, want)
			}
		}
	}
}

// TestContinues: in a vocabulary whose texts begin with a space that is none, a
// completion that goes on a text keeps its own.
func TestContinues(t *testing.T) {
	f, err := os.Open("../tokenizer/testdata/bpe.model.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	model, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.FromSentencePiece(model, tokenizer.SentenceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, Config{}, nil)
	e.tokenizer = tok
	ids := tok.Encode(nil, "one two")
	for continues, want := range map[bool]string{false: "one two", true: " one two"} {
		g := e.prepare(t.Context(), Request{Tokens: []int32{1}, Params: greedy, Continues: continues}, 0)
		if text, _ := pass(&g.text, ids, false); text != want {
			t.Errorf("continues %v: %q, want %q", continues, text, want)
		}
		g.unwatch()
	}
}

// TestTokenIDs: the IDs of all tokens come with the deltas if asked for, the one
// that ended the completion too.
func TestTokenIDs(t *testing.T) {
	e := open(t, Config{}, nil)
	for _, ask := range []bool{true, false} {
		r := Request{Tokens: []int32{1, 2, 3}, MaxTokens: 30, Params: greedy, IgnoreEOS: true, TokenIDs: ask}
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int32
		var text strings.Builder
		for {
			d, err := g.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, d.TokenIDs...)
			text.WriteString(d.Text)
			if got := e.Tokenizer().Decode(ids, false); ask && !strings.HasPrefix(got, strings.TrimRight(text.String(), "\ufffd")) {
				t.Errorf("the tokens %v say %q, the text is %q", ids, got, text.String())
			}
		}
		all := slices.Clone(g.seq.Tokens[3:])
		g.Close()
		if ask && !slices.Equal(ids, all) || !ask && ids != nil {
			t.Errorf("asked %v: %v, want %v", ask, ids, all)
		}
		if !ask {
			continue
		}
		// A token that ends a completion is among them.
		r.StopIDs = all[4:5]
		g, err = e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		ids = nil
		for d, err := g.Next(); err == nil; d, err = g.Next() {
			ids = append(ids, d.TokenIDs...)
		}
		g.Close()
		if n := slices.Index(all, all[4]) + 1; !slices.Equal(ids, all[:n]) {
			t.Errorf("with a stop token: %v, want %v", ids, all[:n])
		}
	}
}
