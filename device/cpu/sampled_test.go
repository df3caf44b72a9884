package cpu_test

import (
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
)

// TestSampledIsTheLast has several rows of logits of one sequence drawn, as for the
// log-probabilities of a prompt: what stands for the token sampled last is the last
// row's, whichever thread is done first.
func TestSampledIsTheLast(t *testing.T) {
	c := golden.TinyCase(t, "q4_1")
	r := devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{})
	prompt := sequence(c.Vocab, 8, 1)
	draw := func(in *device.StepInput, seed uint64) []int32 {
		var late sampler.Late
		for i := range in.Logits {
			row := sampler.Row{Params: sampler.Params{Temperature: 2, TopP: 1, Seed: seed}, Position: int64(i)}
			if i == len(in.Logits)-1 {
				row.Params = sampler.Params{TopP: 1} // the last is the quickest
			}
			late.Rows = append(late.Rows, row)
		}
		ticket, err := r.Program.Launch(in)
		if err == nil {
			ticket, err = r.Program.Sample(ticket, &late)
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := ticket.Wait()
		if err != nil {
			t.Fatal(err)
		}
		return out.Tokens
	}
	for seed := range uint64(100) {
		r.Forget(0)
		drawn := draw(r.Input(1, true, devicetest.Part{Row: 0, Tokens: prompt}), seed)
		last := drawn[len(drawn)-1]
		given := r.Launch(r.Input(1, false, devicetest.Part{Row: 0, Tokens: []int32{last}}))
		r.Forget(0)
		draw(r.Input(1, true, devicetest.Part{Row: 0, Tokens: prompt}), seed)
		if got := r.Launch(r.Input(1, false, devicetest.Part{Row: 0, Tokens: []int32{device.Sampled}})); !sameBits(got, given) {
			t.Fatalf("seed %d: what was sampled last is not %d, the last of %v", seed, last, drawn)
		}
	}
}
