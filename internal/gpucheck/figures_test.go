package gpucheck

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	"github.com/holdfast-run/holdfast/sampler"
)

// report is what was measured.
type report struct {
	GPU       string   `json:"gpu"`
	Driver    int      `json:"driver_cuda_version"` // 13000 is CUDA 13.0
	Rehearsal bool     `json:"rehearsal"`           // on the emulator: numbers mean nothing
	Figures   []figure `json:"figures"`

	read float64 // bytes a second
}

// figure is one number.
type figure struct {
	Group string  `json:"group"`
	What  string  `json:"what"`
	Rows  int     `json:"rows,omitempty"` // batch, or tokens of a prompt
	Class string  `json:"class,omitempty"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func (r *report) add(group, what string, rows int, class string, value float64, unit string) {
	r.Figures = append(r.Figures, figure{group, what, rows, class, value, unit})
}

// write writes the JSON, and the table to the test's output.
func (r *report) write(t *testing.T, path string) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range r.Figures {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%.4g\t%s\n", f.Group, f.What, f.Rows, f.Class, f.Value, f.Unit)
	}
	w.Flush()
	title := r.GPU
	if r.Rehearsal {
		title += ": a rehearsal, whose numbers mean nothing"
	}
	t.Logf("%s\n%s", title, &b)
}

// modelsToMeasure are the shapes of the figures.
func modelsToMeasure() (list []shape, batches []int, prompt int) {
	type typed struct {
		name string
		t    graph.DType
	}
	all := []typed{{"bf16", graph.BF16}, {"q8_0", graph.Q8_0}, {"q4_k", graph.Q4_K}}
	for _, x := range all {
		types := kinds(map[string]graph.DType{"": x.t})
		if !*onGPU {
			list = append(list, shape{Name: "tiny " + x.name, layers: 1, dim: 64, ffn: 64, heads: 2, kvHeads: 1, headDim: 64, vocab: 64, tied: true, types: types})
			continue
		}
		list = append(list,
			shape{Name: "Llama-3.2-1B " + x.name, layers: 16, dim: 2048, ffn: 8192, heads: 32, kvHeads: 8, headDim: 64, vocab: 128256, tied: true, types: types},
			shape{Name: "Llama-3.1-8B " + x.name, layers: 32, dim: 4096, ffn: 14336, heads: 32, kvHeads: 8, headDim: 128, vocab: 128256, types: types})
	}
	if !*onGPU {
		return list[:1], []int{3}, 66
	}
	return list, []int{1, 8, 64, 256}, 2048
}

// TestFigures measures. It takes some minutes on a GPU.
func TestFigures(t *testing.T) {
	path := *figures
	if path == "" {
		if *onGPU {
			t.Skip("needs -figures FILE")
		}
		path = t.TempDir() + "/figures.json" // a rehearsal
	}
	back, emu := backend(t, cudaemu.Options{})
	b := newBench(t, back)
	r := &report{GPU: b.info.Name, Rehearsal: !*onGPU}
	r.Driver, _ = b.d.DriverGetVersion() // 0 if it does not say
	var blas *cublaslt.Library
	if emu != nil {
		blas = cudatest.BLAS(t, emu)
	} else {
		blas, _ = cublaslt.Open("") // measured where it is
	}
	b.bandwidth(r)
	b.linears(r, blas)
	b.attention(r)
	b.close()

	models, batches, prompt := modelsToMeasure()
	for _, s := range models {
		path := s.writeEmpty(t)
		for _, mode := range []cuda.Backend{{}, {NoBLAS: true}, {BatchInvariant: true}} {
			mode.Driver, mode.RandomWeights = back.Driver, true
			if emu != nil {
				mode.BLAS = blas
			}
			measure(t, r, s, &mode, path, batches, prompt)
		}
	}
	r.write(t, path)
	if len(r.Figures) == 0 {
		t.Error("nothing was measured")
	}
	for _, f := range r.Figures {
		if !(f.Value > 0) {
			t.Errorf("%+v", f)
		}
	}
}

// measure measures steps of a model in one mode: decoding by batch, at position 512
// on, two steps under way; and a prompt in one step.
func measure(t *testing.T, r *report, s shape, b *cuda.Backend, path string, batches []int, prompt int) {
	t.Helper()
	from, steps, warm, tries := 512, 40, 3, 4
	most := batches[len(batches)-1]
	if !*onGPU {
		from, steps, warm, tries = 32, 2, 2, 1
	}
	o := device.Options{KV: graph.BF16, MaxRows: most, MaxTokens: max(prompt, most), ContextLength: 4096}
	o.Blocks[device.Full] = max(most*(from+steps+64)/32+most, prompt/32+1)
	run := devicetest.Open(t, b, path, o)
	defer run.Program.Close()
	class := run.Program.Class()
	if b.NoBLAS {
		class += " without cuBLASLt"
	}
	weights := int64(0)
	file := s.tensors()
	for _, x := range file {
		if len(x.Shape) == 2 && (x.Name != "token_embd.weight" || s.tied) {
			weights += int64(x.Type.RowBytes(x.Shape[0] * x.Shape[1]))
		}
	}
	if !b.NoBLAS { // decoding of few rows is the same with it and without
		for _, batch := range batches {
			seconds, host := decode(t, run, batch, from, steps, warm)
			r.add(s.Name, "decode", batch, class, float64(batch)/seconds, "tokens/s")
			r.add(s.Name, "decode", batch, class, 1e6*host, "µs of the host a step")
			if r.read > 0 {
				r.add(s.Name, "decode", batch, class, 100*float64(weights)/seconds/r.read, "% of read bandwidth, weights alone")
			}
		}
	}
	in := &device.StepInput{Spans: []device.Span{{Tokens: int32(prompt)}}, Logits: []int32{int32(prompt - 1)}, Tables: []device.TableDiff{{}}}
	for i := range prompt {
		in.Tokens, in.Positions = append(in.Tokens, int32(i%s.vocab)), append(in.Positions, int32(i))
		in.Slots[0] = append(in.Slots[0], int32(i))
		if i%32 == 0 {
			in.Tables[0].Blocks = append(in.Tables[0].Blocks, int32(i/32))
		}
	}
	best := 0.0
	for range tries {
		begin := time.Now()
		if _, err := step(run, in); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin).Seconds(); best == 0 || d < best {
			best = d
		}
	}
	parameters := 0
	for _, x := range file {
		if len(x.Shape) == 2 && !strings.HasPrefix(x.Name, "token_embd") && !strings.HasPrefix(x.Name, "output") {
			parameters += x.Shape[0] * x.Shape[1]
		}
	}
	r.add(s.Name, "prefill", prompt, class, float64(prompt)/best, "tokens/s")
	r.add(s.Name, "prefill", prompt, class, 2*float64(parameters)*float64(prompt)/best/1e12, "TFLOPS of the layers' products")
}

// decode returns the time of a step, and what of it the calls take, of steps that
// overlap.
func decode(t *testing.T, run *devicetest.Runner, batch, from, steps, warm int) (seconds, host float64) {
	t.Helper()
	var in [2]device.StepInput
	late := &sampler.Late{}
	per := (from+steps+64)/32 + 1
	for row := range int32(batch) {
		late.Rows = append(late.Rows, sampler.Row{Params: sampler.Params{Temperature: 1, TopP: 0.95, Seed: uint64(row)}})
		for i := range in {
			x := &in[i]
			x.Tokens, x.Positions, x.Logits = append(x.Tokens, device.Sampled), append(x.Positions, 0), append(x.Logits, row)
			x.Slots[0] = append(x.Slots[0], 0)
			x.Spans = append(x.Spans, device.Span{Row: row, Start: row, Tokens: 1})
		}
		diff := device.TableDiff{Row: row}
		for b := range per {
			diff.Blocks = append(diff.Blocks, int32((int(row)*per+b)%run.Options.Blocks[0]))
		}
		in[0].Tables = append(in[0].Tables, diff)
	}
	var under device.Ticket
	var begin time.Time
	var calls time.Duration
	for n := range steps + warm {
		x := &in[n%2]
		for row := range batch {
			x.Positions[row] = int32(from + n)
			x.Slots[0][row] = int32((row*per+(from+n)/32)%run.Options.Blocks[0]*32 + (from+n)%32)
		}
		if n == 0 {
			for row := range batch {
				x.Tokens[row] = int32(row)
			}
		}
		if n == warm {
			begin, calls = time.Now(), 0
		}
		at := time.Now()
		ticket, err := run.Program.Launch(x)
		calls += time.Since(at)
		if err != nil {
			t.Fatal(err)
		}
		if under != nil {
			if _, err := under.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		at = time.Now()
		under, err = run.Program.Sample(ticket, late)
		calls += time.Since(at)
		if err != nil {
			t.Fatal(err)
		}
		if n < 2 { // told once
			x.Tables = nil
		}
	}
	if _, err := under.Wait(); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin).Seconds() / float64(steps), calls.Seconds() / float64(steps)
}

// step runs one step, greedily.
func step(r *devicetest.Runner, in *device.StepInput) (*device.Output, error) {
	ticket, err := r.Program.Launch(in)
	if err != nil {
		return nil, err
	}
	late := &sampler.Late{}
	for range in.Logits {
		late.Rows = append(late.Rows, sampler.Row{Params: sampler.Params{TopP: 1}})
	}
	if ticket, err = r.Program.Sample(ticket, late); err != nil {
		return nil, err
	}
	return ticket.Wait()
}
