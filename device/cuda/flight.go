package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// inputLayout says where the arrays of a step lie in one piece of memory, which is
// copied to the device at once.
type inputLayout struct {
	from, to             kernels.Ptr // u64 [MaxRows]: addresses of rows to gather
	ids, positions, rows kernels.Ptr // i32 [MaxTokens]
	slots                [device.PoolKinds]kernels.Ptr
	spans                kernels.Ptr // i32 [MaxRows, 2]
	bytes                int
}

func (d *design) inputLayout() inputLayout {
	var l inputLayout
	next := 0
	take := func(n int) kernels.Ptr {
		at := next
		next += n
		return kernels.Ptr(at)
	}
	rows, tokens := d.opts.MaxRows, d.opts.MaxTokens
	l.from, l.to = take(8*rows), take(8*rows)
	l.spans = take(8 * rows)
	l.ids, l.positions, l.rows = take(4*tokens), take(4*tokens), take(4*tokens)
	for kind := range l.slots {
		l.slots[kind] = take(4 * tokens)
	}
	l.bytes = next
	return l
}

// flight is one step under way: its arrays in page-locked memory, and what it gives.
// There are two, in turns.
type flight struct {
	p      *program
	pinned []byte
	done   cuda.Event
	busy   bool   // something was asked of the device that done has yet to mark
	upTo   uint64 // what done marks: the compute stream's work up to this number

	input     []byte
	from, to  []uint64
	spans     []int32
	ids       []int32
	positions []int32
	rows      []int32
	slots     [device.PoolKinds][]int32
	tables    []int32 // block IDs of the step's diffs

	draws     []kernels.Draw
	penalties []kernels.Penalty
	changes   []kernels.Change
	tokens    []int32
	logits    []float32

	size   step
	keep   bool    // the host wants the logits
	drawn  bool    // tokens were asked for
	table  []int32 // table row of each row of logits
	shown  [][]float32
	out    device.Output
	waitFn func() error
}

func (f *flight) place(p *program) { f.p, f.waitFn = p, f.wait }

// open allocates the flight's page-locked memory.
func (f *flight) open() error {
	p := f.p
	o := p.opts
	stride := logitStride(p.graph.Vocab)
	sizes := []int{
		p.layout.bytes, 4 * o.MaxRows * o.MaxBlocks() * device.PoolKinds, o.MaxRows * int(unsafe.Sizeof(kernels.Draw{})),
		o.MaxRows * int(unsafe.Sizeof(kernels.Penalty{})), maxChanges * int(unsafe.Sizeof(kernels.Change{})), 4 * o.MaxRows, 4 * o.MaxRows * stride,
	}
	var at [8]int
	for i, n := range sizes {
		at[i+1] = at[i] + roundUp(n, 64)
	}
	var err error
	if f.pinned, err = p.driver.MemHostAlloc(at[len(sizes)], cuda.HostPortable); err != nil {
		return p.fail("page-locked memory for steps", err)
	}
	if f.done, err = p.driver.EventCreate(false); err != nil {
		return p.fail("event", err)
	}
	l := p.layout
	f.input = f.pinned[:l.bytes]
	f.from, f.to = slice[uint64](f.input, int(l.from), o.MaxRows), slice[uint64](f.input, int(l.to), o.MaxRows)
	f.spans = slice[int32](f.input, int(l.spans), 2*o.MaxRows)
	f.ids, f.positions = slice[int32](f.input, int(l.ids), o.MaxTokens), slice[int32](f.input, int(l.positions), o.MaxTokens)
	f.rows = slice[int32](f.input, int(l.rows), o.MaxTokens)
	for kind := range f.slots {
		f.slots[kind] = slice[int32](f.input, int(l.slots[kind]), o.MaxTokens)
	}
	f.tables = slice[int32](f.pinned, at[1], sizes[1]/4)
	f.draws = slice[kernels.Draw](f.pinned, at[2], o.MaxRows)
	f.penalties = slice[kernels.Penalty](f.pinned, at[3], o.MaxRows)
	f.changes = slice[kernels.Change](f.pinned, at[4], maxChanges)
	f.tokens = slice[int32](f.pinned, at[5], o.MaxRows)
	f.logits = slice[float32](f.pinned, at[6], o.MaxRows*stride)
	f.table = make([]int32, o.MaxRows)
	f.shown = make([][]float32, 0, o.MaxRows)
	return nil
}

func (f *flight) close(d *cuda.Driver) error {
	var errs []error
	if f.pinned != nil {
		errs = append(errs, d.MemFreeHost(f.pinned))
	}
	if f.done != 0 {
		errs = append(errs, d.EventDestroy(f.done))
	}
	return errors.Join(errs...)
}

// wait returns once the device has done what was asked for, on the thread.
func (f *flight) wait() error {
	if f.p.lost != nil {
		return f.p.lost
	}
	if !f.busy {
		return nil
	}
	if err := f.p.driver.EventSynchronize(f.done); err != nil {
		return f.p.fail(f.name(), err)
	}
	f.busy = false
	f.p.compute.past = max(f.p.compute.past, f.upTo)
	return nil
}

// mark notes, in the stream's order, that the flight has asked for all it wants.
func (f *flight) mark() error {
	f.busy = true
	if err := f.p.driver.EventRecord(f.done, f.p.compute.stream); err != nil {
		return f.p.fail(f.name(), err)
	}
	f.upTo = f.p.compute.last
	return nil
}

func (f *flight) name() string {
	return fmt.Sprintf("a step of %d tokens in %d spans", f.size.tokens, f.size.spans)
}

// Wait implements device.Ticket.
func (f *flight) Wait() (*device.Output, error) {
	if err := f.p.thread.do(f.waitFn); err != nil {
		return nil, err
	}
	f.out = device.Output{}
	if f.keep {
		f.out.Logits = f.shown
	}
	if f.drawn {
		f.out.Tokens = f.tokens[:f.size.logits]
	}
	return &f.out, nil
}
