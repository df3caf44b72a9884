package cuda

import (
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	"github.com/holdfast-run/holdfast/sampler"
)

// TestStepAllocatesNothing: the host's part of a step leaves the heap alone: all but
// the driver's calls, which bindings/cuda's tests pin (an emulated driver allocates).
func TestStepAllocatesNothing(t *testing.T) {
	d, _ := cudatest.Start(t, cudaemu.Options{})
	c := golden.TinyCase(t, "bf16")
	r := devicetest.Open(t, &Backend{Driver: d, BatchInvariant: true}, c.Path,
		device.Options{KV: graph.F16, MaxRows: 4, MaxTokens: 16, ContextLength: 32, Blocks: [device.PoolKinds]int{4}})
	p := r.Program.(*program)
	in := r.Input(2, false, devicetest.Part{Row: 0, Tokens: []int32{3}}, devicetest.Part{Row: 1, Tokens: []int32{5}})
	history := sampler.NewHistory([]int32{1, 2, 3})
	late := &sampler.Late{Rows: []sampler.Row{
		{Params: sampler.Params{Temperature: 1, TopP: 0.9}},
		{Params: sampler.Params{TopP: 1, RepetitionPenalty: 1.5, BadWords: [][]int32{{4}}, LogitBias: []sampler.Bias{{Token: 2, Value: 1}}}, History: history},
	}}
	f := &p.flights[0]
	if n := testing.AllocsPerRun(20, func() {
		if err := in.Check(p.opts, p.graph.Vocab); err != nil {
			t.Fatal(err)
		}
		if err := p.table.Apply(in.Tables); err != nil {
			t.Fatal(err)
		}
		f.fill(in)
		if err := p.orderStep(in); err != nil {
			t.Fatal(err)
		}
		if p.graphFor(&f.size) == nil {
			t.Fatal("no graph")
		}
		f.fillUp(4)
		for i := range late.Rows {
			p.draw(f, late.Rows, i)
		}
		if err := p.thread.do(f.waitFn); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("the host's part of a step allocates %v times", n)
	}
}
