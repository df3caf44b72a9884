// Package devicetest drives a backend by hand, without an engine: it opens a
// model, feeds sequences in any chunking, and returns logits. Backends' tests
// compare what it gives.
package devicetest

import (
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/model"
)

// Runner is a compiled model. Sequences have table rows 0, 1, …; row r's blocks
// are interleaved with the others', so that no test passes by luck of layout.
type Runner struct {
	t       testing.TB
	Graph   *graph.Graph
	Program device.Program
	Options device.Options
	length  []int // tokens fed, per table row
	sent    []int // blocks told, per table row
}

// Open compiles the model at path, a file or a folder. Zero fields of o get small defaults; the
// context is o.ContextLength or the model's.
func Open(t testing.TB, b device.Backend, path string, o device.Options) *Runner {
	t.Helper()
	return OpenAs(t, b, path, graph.Invalid, o)
}

// OpenAs is Open with the weights quantised.
func OpenAs(t testing.TB, b device.Backend, path string, quantize graph.DType, o device.Options) *Runner {
	t.Helper()
	f, err := model.Open(path, quantize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Load(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	g, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	or := func(n, def int) int {
		if n == 0 {
			return def
		}
		return n
	}
	o.Threads = or(o.Threads, 2)
	o.ContextLength = or(o.ContextLength, min(g.ContextLength, 1024))
	o.MaxRows = or(o.MaxRows, 64)
	o.MaxTokens = or(o.MaxTokens, 512)
	o.Blocks[device.Full] = or(o.Blocks[device.Full], 2*o.MaxBlocks())
	if o.Window = g.Window(); o.Window > 0 {
		o.Blocks[device.Window] = or(o.Blocks[device.Window], 2*o.MaxBlocks())
	}
	if o.KV == graph.Invalid {
		o.KV = graph.F32
	}
	p, err := b.Compile(t.Context(), g, f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Runner{t: t, Graph: g, Program: p, Options: o, length: make([]int, o.MaxRows), sent: make([]int, o.MaxRows)}
}

// Part is some tokens of one sequence in a step.
type Part struct {
	Row    int
	Tokens []int32
}

// block returns the i-th block of a row: rows take turns, in descending order.
// Blocks of the window pool are used again as soon as the window allows.
func (r *Runner) block(kind device.PoolKind, row, i, rows int) int32 {
	if kind == device.Window {
		i %= (r.Graph.Window()+r.Options.MaxTokens)/device.BlockTokens + 2
	}
	b := r.Options.Blocks[kind] - 1 - (i*rows + row)
	if b < 0 {
		r.t.Fatalf("devicetest: pool of %d blocks is too small", r.Options.Blocks[kind])
	}
	return int32(b)
}

// slot returns where a position's KV is.
func (r *Runner) slot(kind device.PoolKind, row, pos, rows int) int32 {
	return r.block(kind, row, pos/device.BlockTokens, rows)*device.BlockTokens + int32(pos%device.BlockTokens)
}

// Input returns the step of these parts, with logits of every token if all is
// set, else of each part's last. rows is the number of sequences in the test.
func (r *Runner) Input(rows int, all bool, parts ...Part) *device.StepInput {
	in := &device.StepInput{KeepLogits: true}
	for _, p := range parts {
		first := r.length[p.Row]
		r.length[p.Row] += len(p.Tokens)
		need := (r.length[p.Row] + device.BlockTokens - 1) / device.BlockTokens
		for kind := device.PoolKind(0); kind < device.PoolKinds && r.sent[p.Row] < need; kind++ {
			diff := device.TableDiff{Kind: kind, Row: int32(p.Row), Start: int32(r.sent[p.Row])}
			for i := r.sent[p.Row]; i < need && r.Options.Blocks[kind] > 0; i++ {
				diff.Blocks = append(diff.Blocks, r.block(kind, p.Row, i, rows))
			}
			in.Tables = append(in.Tables, diff)
		}
		r.sent[p.Row] = max(r.sent[p.Row], need)
		in.Spans = append(in.Spans, device.Span{Row: int32(p.Row), Start: int32(len(in.Tokens)), Tokens: int32(len(p.Tokens))})
		for i, tok := range p.Tokens {
			pos := first + i
			if all || i == len(p.Tokens)-1 {
				in.Logits = append(in.Logits, int32(len(in.Tokens)))
			}
			in.Tokens = append(in.Tokens, tok)
			in.Positions = append(in.Positions, int32(pos))
			for kind, blocks := range r.Options.Blocks {
				if blocks > 0 {
					in.Slots[kind] = append(in.Slots[kind], r.slot(device.PoolKind(kind), p.Row, pos, rows))
				}
			}
		}
	}
	return in
}

// Launch runs a step and returns a copy of its logits.
func (r *Runner) Launch(in *device.StepInput) [][]float32 {
	r.t.Helper()
	t, err := r.Program.Launch(in)
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := t.Wait()
	if err != nil {
		r.t.Fatal(err)
	}
	var rows [][]float32
	for _, l := range out.Logits {
		rows = append(rows, append([]float32(nil), l...))
	}
	return rows
}

// Feed runs tokens of one sequence in steps of chunk tokens and returns the
// logits after every token. A chunk is at most Options.MaxRows.
func (r *Runner) Feed(row, rows int, tokens []int32, chunk int) [][]float32 {
	r.t.Helper()
	var logits [][]float32
	for len(tokens) > 0 {
		n := min(chunk, len(tokens))
		logits = append(logits, r.Launch(r.Input(rows, true, Part{Row: row, Tokens: tokens[:n]}))...)
		tokens = tokens[n:]
	}
	return logits
}

// Forget empties a row, whose blocks are then written again.
func (r *Runner) Forget(row int) { r.length[row], r.sent[row] = 0, 0 }
