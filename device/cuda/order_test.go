package cuda_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	driver "github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
)

// orderBlocks is how many blocks TestOrder works on; there is one more, which the
// steps that read write to.
const orderBlocks = 3

// fill is a step that writes the whole of a block with the KV of a text.
func fill(block int32, text []int32) *device.StepInput {
	in := &device.StepInput{Tokens: text, Spans: []device.Span{{Tokens: int32(len(text))}}, Tables: []device.TableDiff{{Blocks: []int32{block}}}}
	for i := range text {
		in.Positions = append(in.Positions, int32(i))
		in.Slots[device.Full] = append(in.Slots[device.Full], block*device.BlockTokens+int32(i))
	}
	return in
}

// read is a step whose logits come of all that a block holds.
func read(block int32) *device.StepInput {
	return &device.StepInput{
		Tokens: []int32{7}, Positions: []int32{device.BlockTokens}, Slots: [device.PoolKinds][]int32{{orderBlocks * device.BlockTokens}},
		Spans: []device.Span{{Row: 1, Tokens: 1}}, Tables: []device.TableDiff{{Row: 1, Blocks: []int32{block, orderBlocks}}},
		Logits: []int32{0}, KeepLogits: true,
	}
}

// ordered is a program and what its blocks must hold.
type ordered struct {
	t     *testing.T
	r     *devicetest.Runner
	pool  device.Pool
	rng   *rand.Rand
	texts [2][]int32
	kv    [2][]byte    // what fill leaves of a text
	after [2][]float32 // what read gives then
	holds [orderBlocks][]byte
	saves []pendingSave
	host  [orderBlocks][]byte // page-locked
	keeps [orderBlocks][]byte // what those hold; nil if nothing
	steps []pendingStep
}

type pendingSave struct {
	ticket     device.Ticket
	host, want []byte
}

type pendingStep struct {
	ticket device.Ticket
	want   []float32 // nil if nothing is read
}

// learn finds out what the texts leave, one thing after the other.
func (o *ordered) learn() {
	for i := range o.texts {
		for range device.BlockTokens {
			o.texts[i] = append(o.texts[i], o.rng.Int32N(int32(o.r.Graph.Vocab)))
		}
		o.r.Launch(fill(0, o.texts[i]))
		o.after[i] = o.r.Launch(read(0))[0]
		o.kv[i] = make([]byte, o.pool.BlockBytes())
		ticket, err := o.pool.Save(0, o.kv[i])
		if err == nil {
			_, err = ticket.Wait()
		}
		if err != nil {
			o.t.Fatal(err)
		}
	}
	for b := range o.holds {
		o.load(int32(b), o.kv[0])
	}
}

// lock takes page-locked memory for blocks.
func (o *ordered) lock() {
	n := o.pool.BlockBytes()
	data, err := o.r.Program.(device.HostAllocator).HostMemory(orderBlocks * n)
	if err != nil {
		o.t.Fatal(err)
	}
	for i := range o.host {
		o.host[i] = data[i*n : (i+1)*n]
	}
}

// out saves a block to page-locked memory, and seldom waits; back loads what is there.
func (o *ordered) out(b int32, h int) {
	ticket, err := o.pool.Save(b, o.host[h])
	if err == nil && o.rng.IntN(4) == 0 {
		if _, err = ticket.Wait(); !slices.Equal(o.host[h], o.holds[b]) {
			o.t.Fatal("a save to page-locked memory has other bytes than the block had")
		}
	}
	if err != nil {
		o.t.Fatal(err)
	}
	o.keeps[h] = o.holds[b]
}

func (o *ordered) back(h int, b int32) {
	if o.keeps[h] == nil {
		return
	}
	if _, err := o.pool.Load(o.host[h], b); err != nil {
		o.t.Fatal(err)
	}
	o.holds[b] = o.keeps[h]
}

// load loads a block from memory that is something else's at once.
func (o *ordered) load(b int32, kv []byte) {
	host := slices.Clone(kv)
	if _, err := o.pool.Load(host, b); err != nil {
		o.t.Fatal(err)
	}
	clear(host)
	o.holds[b] = kv
}

func (o *ordered) copy(from, to int32) {
	if _, err := o.pool.Copy(from, to); err != nil {
		o.t.Fatal(err)
	}
	o.holds[to] = o.holds[from]
}

func (o *ordered) save(b int32) {
	host := make([]byte, o.pool.BlockBytes())
	ticket, err := o.pool.Save(b, host)
	if err != nil {
		o.t.Fatal(err)
	}
	o.saves = append(o.saves, pendingSave{ticket, host, o.holds[b]})
}

// waitSave waits for one of the saves.
func (o *ordered) waitSave() {
	if len(o.saves) == 0 {
		return
	}
	i := o.rng.IntN(len(o.saves))
	s := o.saves[i]
	o.saves = slices.Delete(o.saves, i, i+1)
	if _, err := s.ticket.Wait(); err != nil {
		o.t.Fatal(err)
	}
	if !slices.Equal(s.host, s.want) {
		o.t.Fatal("a save has other bytes than the block had")
	}
}

// launch starts a step; two are under way at most.
func (o *ordered) launch(in *device.StepInput, want []float32) {
	if len(o.steps) == 2 {
		o.waitStep()
	}
	ticket, err := o.r.Program.Launch(in)
	if err != nil {
		o.t.Fatal(err)
	}
	o.steps = append(o.steps, pendingStep{ticket, want})
}

// waitStep waits for the first of the steps under way.
func (o *ordered) waitStep() {
	if len(o.steps) == 0 {
		return
	}
	s := o.steps[0]
	o.steps = o.steps[1:]
	out, err := s.ticket.Wait()
	if err != nil {
		o.t.Fatal(err)
	}
	if s.want != nil && !slices.Equal(out.Logits[0], s.want) {
		o.t.Fatal("a step has read another block than was there when it was launched")
	}
}

// act does one thing, drawn.
func (o *ordered) act() {
	b, text := o.rng.Int32N(orderBlocks), o.rng.IntN(2)
	switch n := o.rng.IntN(24); {
	case n < 5:
		o.load(b, o.kv[text])
	case n < 9:
		o.copy(o.rng.Int32N(orderBlocks), b)
	case n < 14:
		o.save(b)
	case n < 15: // what preemption does
		o.save(b)
		o.launch(fill(b, o.texts[text]), nil)
		o.holds[b] = o.kv[text]
	case n < 16:
		want := o.after[0]
		if &o.holds[b][0] == &o.kv[1][0] {
			want = o.after[1]
		}
		o.launch(read(b), want)
	case n < 18:
		o.waitSave()
	case n < 20:
		o.waitStep()
	case n < 22:
		o.out(b, o.rng.IntN(orderBlocks))
	default:
		o.back(o.rng.IntN(orderBlocks), b)
	}
}

// openOrdered opens a program on an emulated GPU.
func openOrdered(t *testing.T, seed uint64) (*ordered, *cudaemu.Emulator) {
	d, emu := cudatest.Start(t, cudaemu.Options{Seed: seed})
	r := devicetest.Open(t, &cuda.Backend{Driver: d, BatchInvariant: true}, golden.TinyCase(t, "bf16").Path, small(2, device.BlockTokens, 2*device.BlockTokens, orderBlocks+1))
	o := &ordered{t: t, r: r, pool: r.Program.Pool(device.Full), rng: rand.New(rand.NewPCG(seed, 2))}
	o.learn()
	return o, emu
}

// TestOrder: steps, copies, saves and loads in any order, waited for late or never,
// give what they would one after the other, whichever stream is ahead.
func TestOrder(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			o, _ := openOrdered(t, seed)
			o.lock()
			for range 100 {
				o.act()
			}
			for len(o.saves)+len(o.steps) > 0 {
				o.waitSave()
				o.waitStep()
			}
		})
	}
}

// TestSaveBesideSteps: a save has only those wait that touch its block: not the save
// of a step that has landed for the step under way, and not a step that writes other
// blocks for the save.
func TestSaveBesideSteps(t *testing.T) {
	o, emu := openOrdered(t, 0)
	o.lock()
	o.launch(fill(0, o.texts[0]), nil)
	o.waitStep()
	for _, c := range []struct {
		what  string
		do    func()
		waits int
	}{
		{"a step beside nothing", func() { o.launch(fill(1, o.texts[0]), nil) }, 0},
		{"a save of what has landed", func() { o.save(0) }, 0},
		{"a step that writes another block", func() { o.launch(fill(2, o.texts[0]), nil) }, 0},
		{"a copy to another block", func() { o.copy(0, 1) }, 0},
		{"a step that writes the saved block", func() { o.launch(fill(0, o.texts[1]), nil) }, 1},
		{"a save of what a step under way writes", func() { o.save(0) }, 1},
		{"the same again", func() { o.save(0) }, 0},
		{"a copy to the saved block", func() { o.copy(1, 0) }, 1},
		{"a load", func() { o.load(2, o.kv[0]) }, 1},
		{"a load behind it", func() { o.load(1, o.kv[1]) }, 0},
		{"a step behind loads", func() { o.launch(read(2), nil) }, 1},
		{"a step behind that", func() { o.launch(read(2), nil) }, 0},
		{"a save to page-locked memory", func() { o.out(2, 0) }, 0},
		{"a step that writes the saved block again", func() { o.launch(fill(2, o.texts[0]), nil) }, 1},
		{"a load from page-locked memory", func() { o.back(0, 1) }, 1},
		{"a step behind that load", func() { o.launch(read(1), nil) }, 1},
	} {
		before := emu.Calls("cuStreamWaitEvent")
		c.do()
		if n := emu.Calls("cuStreamWaitEvent") - before; n != c.waits {
			t.Errorf("%s: %d waits of a stream for the other, want %d", c.what, n, c.waits)
		}
	}
}

// TestLostBesideSteps: a fault that the order of the streams meets loses the program
// like any other, with what is on its way to the host; rebuilt, it has a copy stream
// again. An order that is only refused fails one save.
func TestLostBesideSteps(t *testing.T) {
	o, emu := openOrdered(t, 1)
	before := emu.Leaks()
	o.launch(fill(0, o.texts[0]), nil)
	host := make([]byte, o.pool.BlockBytes())
	emu.Inject("cuStreamWaitEvent", 1, driver.OutOfMemory)
	if _, err := o.pool.Save(0, host); !errors.Is(err, driver.OutOfMemory) || errors.Is(err, device.ErrLost) {
		t.Error("a refused wait:", err)
	}
	o.holds[0] = o.kv[0]
	o.save(0)
	o.waitSave()

	o.launch(fill(1, o.texts[0]), nil)
	under, err := o.pool.Save(2, host)
	if err != nil {
		t.Fatal(err)
	}
	emu.Inject("cuEventRecord", 1, driver.IllegalAddress)
	if _, err := o.pool.Load(host, 2); !errors.Is(err, device.ErrLost) {
		t.Error("a fault:", err)
	}
	if _, err := under.Wait(); !errors.Is(err, device.ErrLost) {
		t.Error("a save under way:", err)
	}
	allLost(t, o.r, o.texts[0][:1])
	if err := o.r.Program.(device.Rebuilder).Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := emu.Leaks(); fmt.Sprint(left) != fmt.Sprint(before) {
		t.Errorf("rebuilt: %v, before %v", left, before)
	}
	*o = ordered{t: t, r: o.r, pool: o.pool, rng: o.rng}
	o.learn()
	o.launch(fill(1, o.texts[1]), nil)
	o.holds[1] = o.kv[1]
	o.save(1)
	o.launch(fill(1, o.texts[0]), nil)
	o.waitSave()
}

// TestHostMemory: blocks go straight to and from page-locked memory, however many are
// on their way, and do so again after a Rebuild; where it cannot be locked they pass
// through slots. What cannot be had is an error that leaves nothing behind.
func TestHostMemory(t *testing.T) {
	o, emu := openOrdered(t, 0)
	memory := o.r.Program.(device.HostAllocator)
	before := fmt.Sprint(emu.Leaks())
	emu.Inject("cuMemHostRegister_v2", 1, driver.OutOfMemory)
	if _, err := memory.HostMemory(64); !errors.Is(err, driver.OutOfMemory) {
		t.Error("no memory:", err)
	}
	if left := fmt.Sprint(emu.Leaks()); left != before {
		t.Errorf("left behind: %v, before %v", left, before)
	}
	o.lock()
	if _, err := memory.HostMemory(64); err == nil {
		t.Error("memory a second time")
	}
	rebuild := o.r.Program.(device.Rebuilder).Rebuild
	moves := func(straight bool) {
		t.Helper()
		was := emu.Calls("cuEventSynchronize")
		for i := range 20 {
			if _, err := o.pool.Save(int32(i%orderBlocks), o.host[i%orderBlocks]); err != nil {
				t.Fatal(err)
			}
		}
		if n := emu.Calls("cuEventSynchronize") - was; (n == 0) != straight {
			t.Errorf("saves waited %d times for a slot; straight: %v", n, straight)
		}
		o.out(0, 1)
		o.back(1, 2)
		o.save(2)
		o.waitSave()
	}
	moves(true)

	emu.Inject("cuMemcpyDtoDAsync_v2", 1, driver.IllegalAddress)
	if _, err := o.pool.Copy(0, 1); !errors.Is(err, device.ErrLost) {
		t.Fatal(err)
	}
	emu.Inject("cuMemAlloc_v2", 1, driver.OutOfMemory)
	if err := rebuild(t.Context(), nil); !errors.Is(err, device.ErrNoMemory) || emu.Calls("cuMemHostUnregister") != 0 {
		t.Errorf("a Rebuild that failed before memory was locked: %v, unlocked %d times", err, emu.Calls("cuMemHostUnregister"))
	}
	if err := rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, locked := range []bool{true, false, true} {
		emu.Inject("cuMemcpyDtoDAsync_v2", 1, driver.IllegalAddress)
		if _, err := o.pool.Copy(0, 1); !errors.Is(err, device.ErrLost) {
			t.Fatal(err)
		}
		if _, err := o.pool.Save(0, o.host[0]); !errors.Is(err, device.ErrLost) {
			t.Error("saved by a lost program:", err)
		}
		if !locked {
			emu.Inject("cuMemHostRegister_v2", 1, driver.OutOfMemory)
		}
		if err := rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for i := range o.texts {
			o.texts[i] = nil
		}
		o.saves, o.steps = nil, nil
		o.learn()
		moves(locked)
	}
}
