package sampler

import (
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLogprobsByMath compares with a softmax by math.Exp and a full sort, and
// sums in another order.
func TestLogprobsByMath(t *testing.T) {
	s, other := new(Scratch), new(Scratch)
	rapid.Check(t, func(t *rapid.T) {
		logits := rows(t)
		order := newPlain(logits, Params{}).order
		largest := logits[order[0]]
		if largest == negInf {
			return
		}
		var sum float64
		for _, l := range logits {
			sum += math.Exp(float64(l) - float64(largest))
		}
		of := func(token int) float64 { return float64(logits[token]) - float64(largest) - math.Log(sum) }
		near := func(got float64, token int) bool {
			want := of(token)
			return got == want || math.Abs(got-want) <= float64(len(logits))*0x1p-43+math.Abs(want)*0x1p-50+1e-14
		}
		token := rapid.IntRange(0, len(logits)-1).Draw(t, "token")
		n := rapid.IntRange(-1, 25).Draw(t, "top")
		got, likeliest, err := Logprobs(logits, int32(token), n, s)
		if err != nil || !near(got, token) || got > 0 || math.Signbit(got) && got == 0 {
			t.Fatalf("token %d has %v, %v, want %v", token, got, err, of(token))
		}
		want := order[:min(max(n, 0), 20, len(order))]
		for len(want) > 0 && logits[want[len(want)-1]] == negInf {
			want = want[:len(want)-1]
		}
		if len(likeliest) != len(want) {
			t.Fatalf("%d likeliest of %d, want %d", len(likeliest), n, len(want))
		}
		for i, l := range likeliest {
			if int(l.Token) != want[i] || !near(l.Logprob, want[i]) || logits[l.Token] == logits[token] && l.Logprob != got {
				t.Fatalf("likeliest %d is %+v, want token %d, %v", i, l, want[i], of(want[i]))
			}
		}
		slices.Reverse(logits)
		reversed, _, err := Logprobs(logits, int32(len(logits)-1-token), 0, other)
		if err != nil || math.Float64bits(reversed) != math.Float64bits(got) {
			t.Fatalf("%v, and %v in reverse, %v", got, reversed, err)
		}
	})
}

// TestLogprobBits pins every bit, so that every architecture gives the same.
func TestLogprobBits(t *testing.T) {
	h := fnv.New64a()
	s := new(Scratch)
	for _, kind := range []string{"flat", "bell", "ties"} {
		for _, n := range []int{1, 20, 333, 49152} {
			logits := generate(kind, n)
			for token := int32(0); int(token) < n; token += int32(n/7 + 1) {
				chosen, likeliest, err := Logprobs(logits, token, MaxLogprobs, s)
				if err != nil {
					t.Fatal(err)
				}
				var word [8]byte
				for _, l := range append([]Logprob{{token, chosen}}, likeliest...) {
					b := math.Float64bits(l.Logprob) ^ uint64(l.Token)<<32
					for i := range word {
						word[i] = byte(b >> (8 * i))
					}
					h.Write(word[:])
				}
			}
		}
	}
	if got := h.Sum64(); got != 0xe00ad279fdcc4ec9 {
		t.Errorf("log-probabilities changed: %#x", got)
	}
}

// TestLikeliestTies: many equal logits, and rows in both orders.
func TestLikeliestTies(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	s := new(Scratch)
	for range 300 {
		logits := make([]float32, 1+rng.IntN(200))
		levels := 1 + rng.IntN(30)
		for i := range logits {
			logits[i] = float32(rng.IntN(levels))
		}
		switch rng.IntN(4) {
		case 0:
			slices.Sort(logits)
		case 1:
			slices.Sort(logits)
			slices.Reverse(logits)
		}
		order := newPlain(logits, Params{}).order
		for _, n := range []int{1, 2, 20} {
			_, likeliest, err := Logprobs(logits, 0, n, s)
			if err != nil {
				t.Fatal(err)
			}
			for i := range min(n, len(order)) {
				if int(likeliest[i].Token) != order[i] {
					t.Fatalf("likeliest %d of %v is %d, want %d", i, logits, likeliest[i].Token, order[i])
				}
			}
		}
	}
}

func TestLogprobErrors(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		logits []float32
		token  int32
		want   error
	}{
		{nil, 0, ErrNoToken},
		{[]float32{negInf}, 0, ErrNoToken},
		{[]float32{1, nan}, 0, ErrNaN},
		{[]float32{1, inf32}, 0, ErrNaN},
		{[]float32{1, 2}, 2, ErrToken},
		{[]float32{1, 2}, -1, ErrToken},
		{make([]float32, MaxVocabulary+1), 0, ErrVocabulary},
	} {
		if _, _, err := Logprobs(c.logits, c.token, 5, new(Scratch)); !errors.Is(err, c.want) {
			t.Errorf("%v, want %v", err, c.want)
		}
	}
	got, likeliest, err := Logprobs([]float32{negInf, 3}, 0, 5, new(Scratch))
	if !math.IsInf(got, -1) || err != nil || !slices.Equal(likeliest, []Logprob{{1, 0}}) {
		t.Errorf("an impossible token has %v, %v, the likeliest are %v", got, err, likeliest)
	}
}
