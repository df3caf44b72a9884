package cpu_test

import (
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/sampler"
)

// TestStepAllocatesNothing: neither prefill nor decode, nor drawing, touches the
// heap once the scratch has grown.
func TestStepAllocatesNothing(t *testing.T) {
	for name, prompt := range map[string]int{"q4_1": 300, "gemma2": 70, "phi3": 70} { // all operators
		t.Run(name, func(t *testing.T) { stepAllocatesNothing(t, golden.TinyCase(t, name), graph.F16, prompt) })
	}
	t.Run("quantised KV", func(t *testing.T) { stepAllocatesNothing(t, golden.TinyCase(t, "gqa4-d64"), graph.Q8_0, 300) })
}

func stepAllocatesNothing(t *testing.T, c golden.Case, kv graph.DType, prompt int) {
	r := devicetest.Open(t, cpu.Backend{}, c.Path, device.Options{KV: kv, Blocks: [device.PoolKinds]int{32, 32}, ContextLength: 512})
	for name, in := range map[string]*device.StepInput{
		"prefill": r.Input(2, false, devicetest.Part{Row: 0, Tokens: sequence(c.Vocab, prompt, 1)}),
		"decode":  r.Input(2, false, devicetest.Part{Row: 1, Tokens: []int32{3}}, devicetest.Part{Row: 0, Tokens: []int32{5}}),
	} {
		in.KeepLogits = false
		var late sampler.Late
		for i := range in.Logits {
			late.Rows = append(late.Rows, sampler.Row{Params: sampler.Params{Temperature: float64(i), TopP: 0.9}, Position: 400})
		}
		step := func() {
			ticket, err := r.Program.Launch(in)
			if err == nil {
				ticket, err = r.Program.Sample(ticket, &late)
			}
			if err == nil {
				_, err = ticket.Wait()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		// A worker that comes late to its first task grows its scratch then, and the runtime
		// may start a thread: not in each of the tries.
		least := math.Inf(1)
		for tries := 0; tries < 5 && least > 0; tries++ {
			least = min(least, testing.AllocsPerRun(20, step))
		}
		if least != 0 {
			t.Errorf("a step of %s allocates %v times", name, least)
		}
	}
}
