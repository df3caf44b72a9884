package sampler

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// plainHistory is a history as its tokens.
type plainHistory struct{ prompt, made []int32 }

// seen lists the distinct tokens by first appearance, counted one by one.
func (p plainHistory) seen() (seen []Seen) {
	for _, t := range slices.Concat(p.prompt, p.made) {
		if slices.ContainsFunc(seen, func(s Seen) bool { return s.Token == t }) {
			continue
		}
		s := Seen{Token: t, Prompt: slices.Contains(p.prompt, t)}
		for _, m := range p.made {
			if m == t {
				s.Output++
			}
		}
		seen = append(seen, s)
	}
	return seen
}

func (p plainHistory) check(t *rapid.T, h *History) {
	t.Helper()
	prompt, output := h.Len()
	if !slices.Equal(h.Seen(), p.seen()) || !slices.Equal(h.Output(), p.made) || prompt != len(p.prompt) || output != len(p.made) {
		t.Fatalf("history of %v, %v: %v, %v, of %d and %d", p.prompt, p.made, h.Seen(), h.Output(), prompt, output)
	}
}

// TestHistoryEqualsPlain runs random operations on a few histories, clones of
// each other, with tokens that often share a slot.
func TestHistoryEqualsPlain(t *testing.T) {
	token := rapid.OneOf(rapid.Int32Range(0, 9), rapid.Map(rapid.Int32Range(0, 40), func(i int32) int32 { return i * 4096 }), rapid.Int32())
	rapid.Check(t, func(t *rapid.T) {
		histories, plain := []*History{new(History)}, []plainHistory{{}}
		of := func() int { return rapid.IntRange(0, len(histories)-1).Draw(t, "of") }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				i := of()
				for _, token := range rapid.SliceOfN(token, 1, 12).Draw(t, "tokens") {
					histories[i].Append(token)
					plain[i].made = append(plain[i].made, token)
				}
			},
			"truncate": func(t *rapid.T) {
				i := of()
				n := rapid.IntRange(0, len(plain[i].made)+2).Draw(t, "n")
				histories[i].Truncate(n)
				plain[i].made = plain[i].made[:min(n, len(plain[i].made))]
			},
			"reset": func(t *rapid.T) {
				i := of()
				prompt := rapid.SliceOfN(token, 0, 20).Draw(t, "prompt")
				histories[i].Reset(prompt)
				plain[i] = plainHistory{prompt: prompt}
			},
			"grow": func(t *rapid.T) { histories[of()].Grow(rapid.IntRange(0, 30).Draw(t, "n")) },
			"clone": func(t *rapid.T) {
				if len(histories) < 4 {
					i := of()
					histories = append(histories, histories[i].Clone())
					plain = append(plain, plainHistory{plain[i].prompt, slices.Clone(plain[i].made)})
				}
			},
			"": func(t *rapid.T) {
				for i := range histories {
					plain[i].check(t, histories[i])
				}
			},
		})
	})
}

// TestFork: a clone goes its own way, and tokens taken back leave no trace.
func TestFork(t *testing.T) {
	h := NewHistory([]int32{1, 2, 1})
	h.Append(2)
	h.Append(3)
	fork := h.Clone()
	fork.Append(4)
	h.Append(3)
	h.Truncate(0)
	h.Append(4)
	for _, c := range []struct {
		h    *History
		want []Seen
	}{
		{h, []Seen{{1, 0, true}, {2, 0, true}, {4, 1, false}}},
		{fork, []Seen{{1, 0, true}, {2, 1, true}, {3, 1, false}, {4, 1, false}}},
	} {
		if !slices.Equal(c.h.Seen(), c.want) {
			t.Errorf("%v, want %v", c.h.Seen(), c.want)
		}
	}
	h.Reset([]int32{4})
	h.Append(2)
	if want := []Seen{{4, 0, true}, {2, 1, false}}; !slices.Equal(h.Seen(), want) {
		t.Errorf("after a reset: %v, want %v", h.Seen(), want)
	}
}

// TestLongHistory: a table that grows under tokens that come and go.
func TestLongHistory(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	h := NewHistory([]int32{5, 5, 9})
	count := make(map[int32]uint32)
	var made []int32
	for range 60_000 {
		if n := rng.IntN(200); n < len(made) && n < 3 {
			h.Truncate(len(made) - n)
			for _, token := range made[len(made)-n:] {
				if count[token]--; count[token] == 0 {
					delete(count, token)
				}
			}
			made = made[:len(made)-n]
		}
		token := rng.Int32N(20_000)
		h.Append(token)
		made = append(made, token)
		count[token]++
	}
	distinct := len(count)
	for _, token := range []int32{5, 9} {
		if count[token] == 0 {
			distinct++
		}
	}
	if len(h.Seen()) != distinct || !slices.Equal(h.Output(), made) {
		t.Fatalf("%d distinct tokens, want %d", len(h.Seen()), distinct)
	}
	for _, s := range h.Seen() {
		if s.Output != count[s.Token] || s.Prompt != (s.Token == 5 || s.Token == 9) {
			t.Fatalf("%+v, want %d", s, count[s.Token])
		}
	}
	if most := 8 * 20_002; len(h.slots) > most {
		t.Errorf("a table of %d slots for %d tokens", len(h.slots), distinct)
	}
}

func TestNilHistory(t *testing.T) {
	var h *History
	if prompt, output := h.Len(); prompt != 0 || output != 0 || len(h.Seen()) != 0 || len(h.Output()) != 0 {
		t.Error("a nil history has tokens")
	}
}
