package gpucheck

import (
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
)

// sampled is what sampler picks, or NoToken.
func sampled(logits []float32, row sampler.Row) int32 {
	token, err := sampler.Pick(logits, row, new(sampler.Scratch))
	if err != nil {
		return device.NoToken
	}
	return token
}

// TestSample: tokens drawn on the device are those that package sampler picks from
// the logits that the launch gave, with everything that may change them before.
func TestSample(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	history := func(prompt, made []int32) *sampler.History {
		h := sampler.NewHistory(prompt)
		for _, token := range made {
			h.Append(token)
		}
		return h
	}
	everything := sampler.Params{
		Temperature: 0.8, TopP: 0.95, MinP: 0.01, Seed: 6, RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2,
		LogitBias: []sampler.Bias{{Token: 3, Value: 2}, {Token: 9, Value: -100}, {Token: 9999, Value: 1}}, BadWords: [][]int32{{5}, {7, 8}, {6, 3}}, MinTokens: 9,
	}
	bans := sampler.Params{TopP: 1, BadWords: make([][]int32, c.Vocab)} // of all tokens
	for i := range bans.BadWords {
		bans.BadWords[i] = []int32{int32(i)}
	}
	rows := []sampler.Row{
		{Params: sampler.Params{TopP: 1}},
		{Params: sampler.Params{Temperature: 1, TopP: 1, Seed: 1}, Position: 5},
		{Params: sampler.Params{Temperature: 1.5, TopP: 0.9, TopK: 5, Seed: 2}, Position: 6, Choice: 3},
		{Params: everything, Position: 7, History: history([]int32{1, 3, 3, 4000}, []int32{7, 7, 3}), Stop: []int32{2, 7}},
		{Params: bans},
		{Params: sampler.Params{TopP: 1, RepetitionPenalty: 2}, History: history([]int32{0, 1, 2, 3}, nil)},
		{Params: sampler.Params{Temperature: 1, TopP: 1, Seed: 1}, Position: 7},
	}
	r := devicetest.Open(t, invariant(t, 3), c.Path, small(16, 64, 64, 32))
	// Sequence 1 has three rows of logits, of which the last says what it drew.
	parts := []devicetest.Part{{Row: 0, Tokens: []int32{1}}, {Row: 1, Tokens: []int32{4, 5, 6}}, {Row: 2, Tokens: []int32{7}}, {Row: 3, Tokens: []int32{7}}, {Row: 4, Tokens: []int32{8}}}
	for _, greedy := range []bool{false, true} {
		in := r.Input(16, true, parts...)
		late := &sampler.Late{Rows: slices.Clone(rows)}
		for i := range late.Rows {
			if greedy {
				late.Rows[i].Params.Temperature = 0
			}
		}
		ticket, err := r.Program.Launch(in)
		if err == nil {
			ticket, err = r.Program.Sample(ticket, late)
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := ticket.Wait()
		if err != nil {
			t.Fatal(err)
		}
		want := make([]int32, len(rows))
		for i, row := range late.Rows {
			if want[i] = sampled(out.Logits[i], row); out.Tokens[i] != want[i] {
				t.Errorf("row %d: token %d, want %d", i, out.Tokens[i], want[i])
			}
		}
		if want[4] != device.NoToken {
			t.Errorf("row 4 has token %d: it is to have none", want[4])
		}
		// What was drawn is what the next step embeds for Sampled.
		lengths := []int{1, 3, 1, 1, 1}
		told, kept := r.Input(16, true), r.Input(16, true)
		for row, last := range []int{0, 3, 4, 5, 6} {
			if want[last] == device.NoToken {
				continue
			}
			one := r.Input(16, true, devicetest.Part{Row: row, Tokens: []int32{want[last]}})
			for _, in := range []*device.StepInput{told, kept} {
				at := int32(len(in.Tokens))
				in.Tokens, in.Positions = append(in.Tokens, one.Tokens...), append(in.Positions, one.Positions...)
				in.Slots[0] = append(in.Slots[0], one.Slots[0]...)
				in.Spans = append(in.Spans, device.Span{Row: int32(row), Start: at, Tokens: 1})
				in.Logits = append(in.Logits, at)
			}
			kept.Tokens[len(kept.Tokens)-1] = device.Sampled
			lengths[row]++
		}
		if !sameBits(r.Launch(kept), r.Launch(told)) {
			t.Error("the device remembers other tokens than it gave")
		}
		for row := range lengths {
			r.Forget(row)
		}
	}
}

// TestManyChanges: more changed logits than a launch takes.
func TestManyChanges(t *testing.T) {
	c := golden.TinyCase(t, "gqa8-d128") // 509 tokens
	rows := 40                           // with 508 changes each
	r := devicetest.Open(t, invariant(t, 5), c.Path, small(rows, rows, 32, rows))
	all := make([]int32, c.Vocab)
	for i := range all {
		all[i] = int32(i)
	}
	late := &sampler.Late{}
	var parts []devicetest.Part
	for i := range rows {
		parts = append(parts, devicetest.Part{Row: i, Tokens: []int32{int32(i)}})
		p := sampler.Params{TopP: 1, RepetitionPenalty: 1.5}
		for token := range int32(c.Vocab) {
			if token != int32(7*i) {
				p.LogitBias = append(p.LogitBias, sampler.Bias{Token: token, Value: float64(token%13) - 6})
			}
		}
		late.Rows = append(late.Rows, sampler.Row{Params: p, History: sampler.NewHistory(all)})
	}
	ticket, err := r.Program.Launch(r.Input(rows, true, parts...))
	if err == nil {
		ticket, err = r.Program.Sample(ticket, late)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := ticket.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range late.Rows {
		if want := sampled(out.Logits[i], row); out.Tokens[i] != want {
			t.Errorf("row %d: token %d, want %d", i, out.Tokens[i], want)
		}
	}
}

// TestOverlap: two steps under way at a time, as the step loop runs them, draw what
// one at a time draws.
func TestOverlap(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	const steps = 7
	draw := func(seed uint64, overlap bool) (tokens []int32) {
		r := devicetest.Open(t, invariant(t, seed), c.Path, small(4, 32, 64, 8))
		defer r.Program.Close()
		land := func(ticket device.Ticket) {
			out, err := ticket.Wait()
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, out.Tokens...)
		}
		in := r.Input(4, false, devicetest.Part{Row: 0, Tokens: c.Tokens[:9]}, devicetest.Part{Row: 1, Tokens: c.Tokens[9:12]})
		var under device.Ticket
		for step := range steps {
			ticket, err := r.Program.Launch(in)
			if err != nil {
				t.Fatal(err)
			}
			if under != nil {
				land(under)
			}
			row := sampler.Row{Params: sampler.Params{Temperature: 1, TopP: 1, Seed: 3}, Position: int64(step)}
			if under, err = r.Program.Sample(ticket, &sampler.Late{Rows: []sampler.Row{row, row}}); err != nil {
				t.Fatal(err)
			}
			if !overlap {
				land(under)
				under = nil
			}
			in = r.Input(4, false, devicetest.Part{Row: 0, Tokens: []int32{device.Sampled}}, devicetest.Part{Row: 1, Tokens: []int32{device.Sampled}})
		}
		if under != nil {
			land(under)
		}
		return tokens
	}
	want := draw(0, false)
	for seed := range uint64(2) {
		if got := draw(seed+1, true); !slices.Equal(got, want) {
			t.Errorf("seed %d: drew %v, want %v", seed+1, got, want)
		}
	}
}
