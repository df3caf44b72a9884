package weights

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
)

// Recast is one tensor as a graph wants it, made of one as a file has it.
type Recast struct {
	Name string // of the tensor that results
	From string // name in the file
	// Interleave is a number of heads: in each, rows (elements of a vector) i and
	// i + half become 2i and 2i+1, as GGUF's llama has RoPE's pairs. 0: rows stay.
	Interleave int
	// AddOne adds 1 to every value, in float32, and stores float32.
	AddOne bool
	// Type is the type wanted, F32, Q8_0 or Q4_0; graph.Invalid: as it is.
	Type graph.DType
}

// asIs reports whether the tensor in the file will do.
func (r Recast) asIs() bool { return r.Interleave == 0 && !r.AddOne && r.Type == graph.Invalid }

// Recast replaces the File's tensors by those of all, in their order. A tensor
// that has to be made gets memory off the Go heap, which is zero until Load fills it: types and
// shapes are right at once, so that a plan can be made before. Tensors not named
// are left out. It is called once, before anything else uses the tensors.
func (f *File) Recast(all []Recast) error {
	g := &File{tensors: make([]Tensor, 0, len(all)), byName: make(map[string]int, len(all))}
	size := 0
	for i, r := range all {
		from, ok := f.byName[r.From]
		if !ok {
			return &FormatError{Path: f.path, Where: "tensor " + printable(r.From), Problem: "is missing", Err: ErrFormat}
		}
		if _, ok := g.byName[r.Name]; ok {
			return &FormatError{Path: f.source(from), Where: "tensor " + printable(r.From), Problem: "would be a second " + r.Name, Err: ErrFormat}
		}
		t, at := f.tensors[from], f.places[from]
		if !r.asIs() {
			var err error
			if t, err = f.shapeOf(t, r, from); err != nil {
				return err
			}
			at = place{part: made, span: span{uint64(size), uint64(size + t.Type.RowBytes(t.Elems()))}, from: from}
			size += slab.Round(t.Type.RowBytes(t.Elems()))
		}
		t.Name = r.Name
		g.byName[r.Name] = i
		g.tensors, g.places = append(g.tensors, t), append(g.places, at)
	}
	if size > 0 {
		memory, err := slab.New(size)
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		f.made, f.madeData = memory, memory.Take(size)
		for i, at := range g.places {
			if at.part == made {
				g.tensors[i].Data = f.madeData[at.start:at.end:at.end]
			}
		}
	}
	f.sources, f.origins = f.tensors, f.places
	f.tensors, f.places, f.byName, f.recast = g.tensors, g.places, g.byName, slices.Clone(all)
	return nil
}

// shapeOf returns t with the type that r makes of it.
func (f *File) shapeOf(t Tensor, r Recast, from int) (Tensor, error) {
	fail := func(format string, args ...any) (Tensor, error) {
		return t, &FormatError{Path: f.source(from), Where: "tensor " + printable(t.Name), Problem: fmt.Sprintf(format, args...), Err: ErrUnsupported}
	}
	if r.Interleave < 0 || r.Interleave > t.Shape[0] || r.Interleave > 0 && t.Shape[0]%(2*r.Interleave) != 0 {
		return fail("has %d rows, which are not %d heads", t.Shape[0], r.Interleave)
	}
	old := t.Type
	if r.Type != graph.Invalid {
		t.Type = r.Type
	} else if r.AddOne {
		t.Type = graph.F32
	}
	if (t.Type != old || r.AddOne) && (decoder(old) == nil || encoder(t.Type) == nil) {
		return fail("cannot be made %s of %s", t.Type, old)
	}
	if n := t.Shape[len(t.Shape)-1]; n%t.Type.BlockElems() != 0 {
		return fail("has rows of %d elements, which are not blocks of %s", n, t.Type)
	}
	if r.Interleave > 0 && len(t.Shape) == 1 && t.Type.BlockElems() != 1 {
		return fail("is a vector of %s, whose elements cannot be moved", t.Type)
	}
	return t, nil
}

// Made reports whether the tensor of that name is made by Load.
func (f *File) Made(name string) bool {
	i, ok := f.byName[name]
	return ok && f.places[i].part == made
}

// taskElems is about how many elements are made between two looks at the context.
const taskElems = 1 << 20

// Load fills the tensors that Recast left to be made, on all processors, and
// drops the pages that they were made of. progress, if not nil, is told of bytes,
// by one goroutine at a time. Without such tensors it does nothing.
func (f *File) Load(ctx context.Context, progress func(done, total int64)) error {
	if f.made == nil {
		return nil
	}
	done, total := int64(0), int64(len(f.madeData))
	for i := range f.tensors {
		if f.places[i].part != made {
			continue
		}
		if err := f.makeTensor(ctx, i); err != nil {
			return err
		}
		if from := f.origins[f.places[i].from]; from.part != made {
			dropSpan(f.parts[from.part].data, from.span)
		}
		done += int64(slab.Round(len(f.tensors[i].Data)))
		if progress != nil {
			progress(done, total)
		}
	}
	return nil
}

// makeTensor makes one tensor.
func (f *File) makeTensor(ctx context.Context, i int) error {
	m := newMaker(f.sources[f.places[i].from], f.tensors[i], f.recast[i])
	rows := max(1, taskElems/m.cols)
	tasks := (m.rows + rows - 1) / rows
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), tasks) {
		wg.Go(func() {
			values := make([]float32, m.cols)
			for ctx.Err() == nil && failed.Load() == 0 {
				from := (int(next.Add(1)) - 1) * rows
				if from >= m.rows {
					return
				}
				if !m.make(values, from, min(from+rows, m.rows)) {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed.Load() > 0 {
		return &FormatError{Path: f.source(i), Where: "tensor " + printable(f.recast[i].From), Err: ErrFormat,
			Problem: fmt.Sprintf("holds a value that is not finite, or too large for %s", m.to.Type)}
	}
	return nil
}

// maker makes the rows of one tensor of those of another.
type maker struct {
	from, to   Tensor
	rows, cols int
	half       int // rows in half a head; 0: rows stay
	addOne     bool
	decode     func(dst []float32, src []byte)
	encode     func(dst []byte, src []float32) bool
}

func newMaker(from, to Tensor, r Recast) *maker {
	m := &maker{from: from, to: to, rows: 1, cols: from.Elems(), addOne: r.AddOne}
	if len(from.Shape) > 1 || r.Interleave > 0 {
		m.rows = from.Shape[0]
		m.cols /= m.rows
	}
	if r.Interleave > 0 {
		m.half = m.rows / r.Interleave / 2
	}
	if from.Type != to.Type || r.AddOne {
		m.decode, m.encode = decoder(from.Type), encoder(to.Type)
	}
	return m
}

// make writes the rows [first, end); false if a value cannot be stored. values
// holds one row.
func (m *maker) make(values []float32, first, end int) bool {
	in, out := m.from.Type.RowBytes(m.cols), m.to.Type.RowBytes(m.cols)
	for row := first; row < end; row++ {
		at := m.sourceOf(row)
		src, dst := m.from.Data[at*in:(at+1)*in], m.to.Data[row*out:(row+1)*out]
		if m.decode == nil {
			copy(dst, src)
			continue
		}
		m.decode(values, src)
		if m.addOne {
			for i := range values {
				values[i]++
			}
		}
		if !m.encode(dst, values) {
			return false
		}
	}
	return true
}

// sourceOf returns the row that becomes row.
func (m *maker) sourceOf(row int) int {
	if m.half == 0 {
		return row
	}
	head, in := row/(2*m.half), row%(2*m.half)
	return head*2*m.half + in%2*m.half + in/2
}
