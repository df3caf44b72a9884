package cpu_test

import (
	"math"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/device/ref"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/model"
)

// distance is the root mean square of what two results differ by, over that of the
// second.
func distance(got, want [][]float32) float64 {
	var diff2, want2 float64
	for i, row := range want {
		for j, w := range row {
			d := float64(got[i][j] - w)
			diff2, want2 = diff2+d*d, want2+float64(w)*float64(w)
		}
	}
	return math.Sqrt(diff2 / want2)
}

// TestQuantKVEqualsReference: with KV of Q8_0 the logits are those of the reference
// that rounds its keys and values alike, ten times nearer than to its own without that.
func TestQuantKVEqualsReference(t *testing.T) {
	for _, name := range []string{"gqa4-d64", "gqa8-d128", "rope-llama3"} {
		c := golden.TinyCase(t, name)
		tokens := sequence(c.Vocab, 100, 5)
		run := func(b device.Backend, kv graph.DType) [][]float32 {
			return devicetest.Open(t, b, c.Path, device.Options{KV: kv}).Feed(0, 1, tokens, 40)
		}
		got, want, exact := run(cpu.Backend{}, graph.Q8_0), run(ref.Backend{}, graph.Q8_0), run(ref.Backend{}, graph.F16)
		near, far := distance(got, want), distance(got, exact)
		t.Logf("%s: %.2g from the reference, %.2g from its logits with exact KV", name, near, far)
		if !(10*near < far && far < 0.05) {
			t.Errorf("%s: %.2g from the reference, %.2g from its logits with exact KV", name, near, far)
		}
	}
}

// TestKVTypes: what a type of KV holds a token in, what the class is called, and which
// types and heads are refused before anything is loaded.
func TestKVTypes(t *testing.T) {
	f, err := model.Open(golden.TinyCase(t, "gqa4-d64").Path, graph.Invalid)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	o := device.Options{Threads: 1, ContextLength: 64, MaxRows: 1, MaxTokens: 32, Blocks: [device.PoolKinds]int{3}}
	for kv, want := range map[graph.DType]struct {
		bytes int // of an element, times 32
		class string
	}{graph.F16: {64, "cpu-1"}, graph.F32: {128, "cpu-1-kv-f32"}, graph.Q8_0: {34, "cpu-1-kv-q8_0"}} {
		o.KV = kv
		plan, err := cpu.Backend{}.Plan(g, f, o)
		if err != nil {
			t.Fatal(err)
		}
		block := len(g.KV) * 2 * 64 * device.BlockTokens / 32 * want.bytes
		p, err := cpu.Backend{}.Compile(t.Context(), g, f, o)
		if err != nil {
			t.Fatal(err)
		}
		if it := plan[1]; it.Name != "KV cache ("+kv.String()+")" || it.Bytes != int64(3*block) || p.Pool(device.Full).BlockBytes() != block || p.Class() != want.class {
			t.Errorf("%v: plan %+v, blocks of %d bytes, class %q; want blocks of %d", kv, it, p.Pool(device.Full).BlockBytes(), p.Class(), block)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	g.KV[1].HeadDim = 80
	for _, b := range []device.Backend{cpu.Backend{}, ref.Backend{}} {
		o.KV = graph.Q8_0
		_, err := b.Plan(g, f, o)
		_, err2 := b.Compile(t.Context(), g, f, o)
		for _, err := range []error{err, err2} {
			if err == nil || !strings.Contains(err.Error(), "Q8_0") || !strings.Contains(err.Error(), "layer 1 have 80") {
				t.Errorf("%s: heads of 80 dimensions: %v", b.Name(), err)
			}
		}
	}
	o.KV = graph.BF16
	if _, err := (cpu.Backend{}).Plan(g, f, o); err == nil || !strings.Contains(err.Error(), "BF16") {
		t.Errorf("KV of BF16: %v", err)
	}
}
