package cpu

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/plot"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
)

var rooflineFile = flag.String("roofline", "", "where BenchmarkRoofline writes its plot, an SVG; the table goes beside it, as .md")

// rooflineTurns is how often a kernel and its roof take turns for one point.
const rooflineTurns = 41

// point is a kernel's rate, in units per nanosecond, and the percentage of the
// roof that was measured in turns with it: medians.
type point struct{ rate, percent float64 }

// turns measures f, which does units, in turns with its roof.
func turns(units float64, f func(), roofUnits float64, roof func()) (p, r point) {
	var rates, roofs, ratios []float64
	for range rooflineTurns {
		start := time.Now()
		roof()
		middle := time.Now()
		f()
		end := time.Now()
		rates = append(rates, units/float64(end.Sub(middle).Nanoseconds()))
		roofs = append(roofs, roofUnits/float64(middle.Sub(start).Nanoseconds()))
		ratios = append(ratios, 100*rates[len(rates)-1]/roofs[len(roofs)-1])
	}
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	return point{median(rates), median(ratios)}, point{median(roofs), 100}
}

// roofline collects the points of one chart. As clocks and neighbours change
// while it is made, a point is drawn at its share of the chart's median roof.
type roofline struct {
	title, x, y string
	xs          []float64
	names       []string
	points      map[string][]point
	roofs       []float64
}

func newRoofline(title, x, y string) *roofline {
	return &roofline{title: title, x: x, y: y, points: map[string][]point{}}
}

func (r *roofline) add(name string, x float64, p, roof point) {
	if !slices.Contains(r.names, name) {
		r.names = append(r.names, name)
	}
	if !slices.Contains(r.xs, x) {
		r.xs = append(r.xs, x)
	}
	r.points[name] = append(r.points[name], p)
	r.roofs = append(r.roofs, roof.rate)
}

func (r *roofline) roof() float64 { return slices.Sorted(slices.Values(r.roofs))[len(r.roofs)/2] }

func (r *roofline) chart() plot.Chart {
	c := plot.Chart{Title: r.title, X: r.x, Y: r.y}
	roof := plot.Series{Name: "roof"}
	for _, x := range r.xs {
		roof.X, roof.Y = append(roof.X, x), append(roof.Y, r.roof())
	}
	c.Series = append(c.Series, roof)
	for _, name := range r.names {
		s := plot.Series{Name: name, X: r.xs}
		for _, p := range r.points[name] {
			s.Y = append(s.Y, p.percent/100*r.roof())
		}
		c.Series = append(c.Series, s)
	}
	return c
}

func (r *roofline) table(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\nPercent of the roof, whose median was %.4g %s.\n\n| %s |", r.title, r.roof(), r.y, r.x)
	for _, x := range r.xs {
		fmt.Fprintf(b, " %g |", x)
	}
	fmt.Fprint(b, "\n|---|"+string(bytes.Repeat([]byte("---|"), len(r.xs)))+"\n")
	for _, name := range r.names {
		fmt.Fprintf(b, "| %s |", name)
		for _, p := range r.points[name] {
			fmt.Fprintf(b, " %.0f |", p.percent)
		}
		fmt.Fprint(b, "\n")
	}
}

// BenchmarkRoofline draws the kernels of the best tier, or of the one that is
// forced, against what one core of this machine can do: independent dot products
// or FMAs, and bare reads. Run it with -benchtime 1x.
func BenchmarkRoofline(b *testing.B) {
	k, err := Select()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		charts := []*roofline{rooflineGEMM(b, k), rooflineStream(b, k), rooflineAttention(k)}
		if *rooflineFile == "" {
			continue
		}
		var svg, table bytes.Buffer
		var drawn []plot.Chart
		fmt.Fprintf(&table, "# Kernels against the machine's roofs\n\n%s, tier %v, one thread, %s. Kernel and roof in turns, medians of %d. Load average at the end: %s. Written by `make roofline`.\n",
			sysinfo.CPUName(), k.Tier, time.Now().UTC().Format(time.DateOnly), rooflineTurns, loadAverage())
		for _, c := range charts {
			drawn = append(drawn, c.chart())
			c.table(&table)
		}
		if err := plot.SVG(&svg, drawn...); err != nil {
			b.Fatal(err)
		}
		for path, data := range map[string][]byte{*rooflineFile: svg.Bytes(), (*rooflineFile)[:len(*rooflineFile)-len(".svg")] + ".md": table.Bytes()} {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// loadAverage tells whether the machine was free: about 1 then.
func loadAverage() string {
	data, _ := os.ReadFile("/proc/loadavg")
	if load, _, ok := bytes.Cut(data, []byte(" ")); ok {
		return string(load)
	}
	return "unknown"
}

var rooflineTypes = []graph.DType{graph.Q4_0, graph.Q4_1, graph.Q8_0, graph.Q4_K, graph.Q6_K}

func rooflineGEMM(b *testing.B, k *Kernels) *roofline {
	const kdim, rows = 768, 192
	r := newRoofline("Quantised weights in the second-level cache", "tokens of a tile", "int8 Gop/s")
	roof, operations := probe(true)
	for _, typ := range rooflineTypes {
		w := pack(b, typ, rows, kdim, randomRows(newRand(1), typ, rows, kdim))
		for m := 1; m <= MaxTile; m++ {
			y, tile := make([]float32, MaxTile*rows), tileOf(k, w, activations(m, kdim, kdim, 1), kdim, m)
			p, top := turns(float64(2*m*rows*kdim), func() { k.Linear(y, rows, tile, m, w, 0, w.Groups()) }, operations, roof)
			r.add(typ.String(), float64(m), p, top)
		}
	}
	return r
}

func rooflineStream(b *testing.B, k *Kernels) *roofline {
	const kdim = 1536
	r := newRoofline("Quantised weights from memory", "tokens of a tile", "GB/s")
	bare := newStream()
	for _, typ := range rooflineTypes {
		size, err := PackedBytes(typ, GroupRows, kdim)
		if err != nil {
			b.Fatal(err)
		}
		step := pieceBytes / size
		groups := streamBytes / pieceBytes * step
		w := &Matrix{Type: typ, Rows: groups * GroupRows, K: kdim, Data: aligned(size * groups)}
		for i := range w.Data {
			w.Data[i] = byte(i % 61)
		}
		for m := 1; m <= MaxTile; m++ {
			y, tile, at := make([]float32, m*w.Rows), tileOf(k, w, make([]float32, m*kdim), kdim, m), 0
			p, top := turns(float64(size*step), func() {
				k.Linear(y, w.Rows, tile, m, w, at, at+step)
				at = (at + step) % groups
			}, pieceBytes, bare.piece)
			r.add(typ.String(), float64(m), p, top)
		}
	}
	return r
}

func rooflineAttention(k *Kernels) *roofline {
	r := newRoofline("Attention over a chunk of 256 positions", "queries of one KV head", "f32 Gflop/s")
	roof, operations := probe(false)
	for _, c := range []struct {
		typ graph.DType
		dim int
	}{{graph.F16, 64}, {graph.F16, 128}, {graph.Q8_0, 64}, {graph.F32, 64}} {
		for _, n := range []int{1, 2, 3, 4, 6, 8, 12, 24} {
			rng := newRand(1)
			chunk := chunkOf(rng, c.typ, c.dim, 0, ChunkSlots)
			q := normals(rng, make([]float32, n*c.dim), 0.3)
			first, last := make([]int32, n), make([]int32, n)
			for i := range last {
				last[i] = ChunkSlots
			}
			scratch, m, l, acc := make([]float32, AttendScratch(n, c.dim)), make([]float32, n), make([]float32, n), make([]float32, n*c.dim)
			p, top := turns(float64(4*ChunkSlots*c.dim*n), func() {
				k.AttendChunk(chunk, q, n, first, last, scratch, m, l, acc)
			}, operations, roof)
			r.add(label(c.typ, ", dim ", c.dim), float64(n), p, top)
		}
	}
	return r
}
