package cudaemu

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu"
)

// gpu is a started driver on the emulator, on a thread of its own test.
type gpu struct {
	*cuda.Driver
	t   *testing.T
	emu *Emulator
}

func start(t *testing.T, o Options) *gpu {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	emu := New(o)
	d, err := cuda.New(emu.Symbols())
	g := &gpu{d, t, emu}
	g.ok(err)
	g.ok(d.Init())
	g.current()
	return g
}

func (g *gpu) current() {
	g.t.Helper()
	ctx, err := g.DevicePrimaryCtxRetain(0)
	g.ok(err)
	g.ok(g.CtxSetCurrent(ctx))
}

func (g *gpu) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// want fails unless err has the code.
func (g *gpu) want(code cuda.Code, err error) {
	g.t.Helper()
	if !errors.Is(err, code) {
		g.t.Fatalf("got %v, want %v", err, code)
	}
}

func must[T any](g *gpu) func(v T, err error) T {
	return func(v T, err error) T {
		g.t.Helper()
		g.ok(err)
		return v
	}
}

func readImage(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../testdata/" + name + ".ptx")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, 0)
}

func (g *gpu) function(file, name string) cuda.Function {
	g.t.Helper()
	m := must[cuda.Module](g)(g.ModuleLoadData(readImage(g.t, file)))
	return must[cuda.Function](g)(g.ModuleGetFunction(m, name))
}

func (g *gpu) stream() cuda.Stream { g.t.Helper(); return must[cuda.Stream](g)(g.StreamCreate(0)) }
func (g *gpu) event() cuda.Event   { g.t.Helper(); return must[cuda.Event](g)(g.EventCreate(false)) }
func (g *gpu) alloc(n uint64) cuda.DevicePtr {
	g.t.Helper()
	return must[cuda.DevicePtr](g)(g.MemAlloc(n))
}

func (g *gpu) pinned(n int) []byte {
	g.t.Helper()
	return must[[]byte](g)(g.MemHostAlloc(n, cuda.HostDeviceMap))
}

// params packs 64-bit and 32-bit values as kernels of testdata take them.
func params(values ...any) []byte {
	var b []byte
	for _, v := range values {
		switch x := v.(type) {
		case cuda.DevicePtr:
			b = binary.LittleEndian.AppendUint64(b, uint64(x))
		case int32:
			b = binary.LittleEndian.AppendUint32(b, uint32(x))
		}
	}
	return b
}

func shape(blocks, threads uint32, s cuda.Stream) cuda.Launch {
	return cuda.Launch{Grid: cuda.Dim{X: blocks, Y: 1, Z: 1}, Block: cuda.Dim{X: threads, Y: 1, Z: 1}, Stream: s}
}

func TestDevice(t *testing.T) {
	g := start(t, Options{MemoryBytes: 1 << 20, Multiprocessors: 7})
	info, err := g.DeviceInfo(0)
	g.ok(err)
	if info.Major != 9 || info.Multiprocessors != 7 || info.MemoryBytes != 1<<20 || info.Name != deviceName || info.PCIBusID != busID || info.SharedPerBlockBytes != 232448 {
		t.Errorf("%+v", info)
	}
	_, err = g.DeviceGet(1)
	g.want(cuda.InvalidDevice, err)
	p := g.alloc(1 << 19)
	_, err = g.MemAlloc(1<<19 + 1)
	g.want(cuda.OutOfMemory, err)
	free, total, err := g.MemGetInfo()
	if g.ok(err); free != 1<<19 || total != 1<<20 {
		t.Error(free, total)
	}
	if base, n, err := g.MemGetAddressRange(p + 100); base != p || n != 1<<19 || err != nil {
		t.Error(base, n, err)
	}
	g.want(cuda.InvalidValue, g.MemFree(p+512))
	g.ok(g.MemFree(p))
	g.want(cuda.InvalidValue, g.MemcpyHtoD(p, make([]byte, 1)))
}

// TestNotReady covers calls before Init, without a context, from another thread.
func TestNotReady(t *testing.T) {
	emu := New(Options{})
	d, err := cuda.New(emu.Symbols())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DeviceGetCount(); !errors.Is(err, cuda.NotInitialized) {
		t.Error(err)
	}
	g := start(t, Options{})
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, err := g.MemAlloc(64)
		done <- err
	}()
	g.want(cuda.InvalidContext, <-done)
	g.ok(g.CtxSetCurrent(0))
	_, err = g.MemAlloc(64)
	g.want(cuda.InvalidContext, err)
}

// TestOrder: two streams, each seed; the second waits for the first by an event
// or does not. Without it some seed shows wrong data, with it none does.
func TestOrder(t *testing.T) {
	run := func(seed uint64, waits bool) bool {
		g := start(t, Options{Seed: seed})
		a, b, e := g.stream(), g.stream(), g.event()
		f := g.function("faults", "produce")
		x := g.alloc(256)
		out := g.pinned(256)
		g.ok(g.LaunchKernel(f, shape(1, 64, a), params(x)))
		if waits {
			g.ok(g.EventRecord(e, a))
			g.ok(g.StreamWaitEvent(b, e))
		}
		g.ok(g.MemcpyDtoHAsync(out, x, b))
		g.ok(g.StreamSynchronize(b))
		right := binary.LittleEndian.Uint32(out[4*9:]) == 9
		g.ok(g.CtxSynchronize())
		return right
	}
	wrong := 0
	for seed := range uint64(20) {
		if !run(seed, true) {
			t.Fatalf("seed %d: wrong data in spite of the event", seed)
		}
		if !run(seed, false) {
			if wrong++; seed == 0 {
				t.Error("seed 0 delayed work")
			}
		}
	}
	if wrong == 0 {
		t.Error("no seed showed the missing event")
	}
}

// TestLateCopies: host memory of queued copies is read and written when they
// run, not when they are queued.
func TestLateCopies(t *testing.T) {
	late := 0
	for seed := uint64(1); seed < 20; seed++ {
		g := start(t, Options{Seed: seed})
		s, x, h := g.stream(), g.alloc(8), g.pinned(8)
		copy(h, "original")
		g.ok(g.MemcpyHtoDAsync(x, h, s))
		copy(h, "reused!!")
		g.ok(g.StreamSynchronize(s))
		back := make([]byte, 8)
		g.ok(g.MemcpyDtoH(back, x))
		if string(back) == "reused!!" {
			late++
		}
	}
	if late == 0 || late == 19 {
		t.Errorf("%d of 19 seeds copied late", late)
	}
	g := start(t, Options{})
	g.want(cuda.InvalidValue, g.MemcpyHtoDAsync(g.alloc(8), make([]byte, 8), g.stream()))
}

// TestQueryEnds: asking makes progress, a little at a time.
func TestQueryEnds(t *testing.T) {
	most := 0
	for seed := range uint64(8) {
		g := start(t, Options{Seed: seed})
		s, e, x := g.stream(), g.event(), g.alloc(64)
		for range 50 {
			g.ok(g.MemsetD8Async(x, 7, 64, s))
		}
		g.ok(g.EventRecord(e, s))
		asked := 0
		for {
			done, err := g.EventQuery(e)
			g.ok(err)
			if done {
				break
			}
			if asked++; asked > 100 {
				t.Fatal("never done")
			}
		}
		most = max(most, asked)
		if done, err := g.StreamQuery(s); !done || err != nil {
			t.Error(done, err)
		}
	}
	if most < 20 {
		t.Errorf("50 tasks were done after %d questions at most", most)
	}
}

func TestBatch(t *testing.T) {
	g := start(t, Options{Seed: 5})
	s, x, y := g.stream(), g.alloc(64), g.alloc(64)
	h := g.pinned(64)
	for i := range h {
		h[i] = byte(i)
	}
	dsts := []cuda.DevicePtr{x, x + 40, x + 16}
	host := cuda.HostAddress(h)
	g.ok(g.MemcpyBatchAsync(dsts, []cuda.DevicePtr{host + 8, host, host + 20}, []uint64{8, 16, 4}, cuda.AccessStream, s))
	g.ok(g.MemcpyBatchAsync([]cuda.DevicePtr{y}, []cuda.DevicePtr{x}, []uint64{64}, cuda.AccessStream, s))
	g.ok(g.MemcpyBatchAsync([]cuda.DevicePtr{host}, []cuda.DevicePtr{y}, []uint64{64}, cuda.AccessStream, s))
	g.ok(g.StreamSynchronize(s))
	if h[0] != 8 || h[40] != 0 || h[55] != 15 || h[16] != 20 || h[30] != 0xcd {
		t.Errorf("% x", h)
	}
	g.want(cuda.InvalidValue, g.MemcpyBatchAsync([]cuda.DevicePtr{x}, []cuda.DevicePtr{y + 1}, []uint64{64}, cuda.AccessAny, s))
	old := start(t, Options{NoMemcpyBatch: true})
	if old.HasMemcpyBatch() {
		t.Error("an old driver has cuMemcpyBatchAsync")
	}
}

// TestMapped: a kernel writes page-locked memory that the host reads.
func TestMapped(t *testing.T) {
	g := start(t, Options{})
	h := g.pinned(256)
	p := must[cuda.DevicePtr](g)(g.MemHostGetDevicePointer(h))
	g.ok(g.LaunchKernel(g.function("faults", "produce"), shape(1, 64, g.stream()), params(p)))
	if binary.LittleEndian.Uint32(h[40:]) != 10 {
		t.Errorf("% x", h[:64])
	}
	unmapped := must[[]byte](g)(g.MemHostAlloc(64, 0))
	_, err := g.MemHostGetDevicePointer(unmapped)
	g.want(cuda.InvalidValue, err)
}

func TestModules(t *testing.T) {
	g := start(t, Options{})
	cubin := append([]byte("\x7fELF"), make([]byte, 200)...)
	_, err := g.ModuleLoadData(cubin)
	g.want(cuda.NoBinaryForGPU, err)
	g.emu.AddImage(cubin, string(readImage(t, "block")))
	m := must[cuda.Module](g)(g.ModuleLoadData(cubin))
	f := must[cuda.Function](g)(g.ModuleGetFunction(m, "boxed"))
	if off, size, err := g.FuncGetParamInfo(f, 1); off != 24 || size != 4 || err != nil {
		t.Error(off, size, err)
	}
	_, _, err = g.FuncGetParamInfo(f, 2)
	g.want(cuda.InvalidValue, err)
	_, err = g.ModuleGetFunction(m, "nothing")
	g.want(cuda.NotFound, err)
	if p, n, err := g.ModuleGetGlobal(m, "total"); n != 8 || err != nil {
		t.Error(p, n, err)
	}
	if n, err := g.FuncGetAttribute(cuda.FuncMaxThreadsPerBlock, must[cuda.Function](g)(g.ModuleGetFunction(m, "rms"))); n != 256 || err != nil {
		t.Error(n, err)
	}
	g.ok(g.ModuleUnload(m))
	g.want(cuda.InvalidHandle, g.LaunchKernel(f, shape(1, 1, 0), nil))
	_, err = g.ModuleLoadPTX([]byte(".version 8.0\n.target sm_90\n.entry k()\n{\nfrobnicate;\n}\n"))
	if g.want(cuda.InvalidPTX, err); !strings.Contains(err.Error(), "frobnicate: unknown opcode") {
		t.Error(err)
	}
}

func TestLaunchRules(t *testing.T) {
	g := start(t, Options{})
	f := g.function("block", "reverse")
	x := g.alloc(4 * 1024)
	l := shape(1, 64, 0)
	l.SharedBytes = 256
	g.ok(g.LaunchKernel(f, l, params(x)))
	g.want(cuda.InvalidValue, g.LaunchKernel(f, l, params(x, int32(1))))
	l.SharedBytes = 49 << 10
	g.want(cuda.InvalidValue, g.LaunchKernel(f, l, params(x)))
	g.ok(g.FuncSetAttribute(f, cuda.FuncMaxDynamicSharedBytes, 100<<10))
	g.ok(g.LaunchKernel(f, l, params(x)))
	g.want(cuda.InvalidValue, g.FuncSetAttribute(f, cuda.FuncMaxDynamicSharedBytes, 228<<10))
	l.Block.X = 2048
	g.want(cuda.InvalidValue, g.LaunchKernel(f, l, params(x)))
	if n, err := g.OccupancyMaxActiveBlocks(f, 256, 99<<10); n != 2 || err != nil {
		t.Error(n, err)
	}
}

// TestProgrammatic: the second kernel of a pair must wait before it reads.
func TestProgrammatic(t *testing.T) {
	for seed := range uint64(3) {
		g := start(t, Options{Seed: seed})
		s := g.stream()
		produce, dependent := g.function("faults", "produce"), g.function("dependent", "dependent")
		x, w, y := g.alloc(128), g.alloc(128), g.alloc(128)
		l := shape(1, 32, s)
		p := l
		p.Programmatic = true
		g.ok(g.LaunchKernel(produce, l, params(w)))
		g.ok(g.LaunchKernel(produce, l, params(x)))
		g.ok(g.LaunchKernel(dependent, p, params(x, w, y, int32(0))))
		g.ok(g.StreamSynchronize(s))
		g.ok(g.LaunchKernel(produce, l, params(x)))
		g.ok(g.LaunchKernel(dependent, l, params(x, w, y, int32(1))))
		g.ok(g.StreamSynchronize(s))
		g.ok(g.LaunchKernel(produce, l, params(x)))
		g.ok(g.LaunchKernel(dependent, p, params(x, w, y, int32(1))))
		g.want(cuda.LaunchFailed, g.StreamSynchronize(s))
		var f *ptxemu.Fault
		if !errors.As(g.emu.Fault(), &f) || f.Kind != ptxemu.Order {
			t.Error(g.emu.Fault())
		}
	}
}

// TestFault: a kernel's fault stays until the context is reset.
func TestFault(t *testing.T) {
	g := start(t, Options{Seed: 1})
	s, x := g.stream(), g.alloc(64)
	g.ok(g.LaunchKernel(g.function("faults", "past_end"), shape(1, 64, s), params(x, int32(64))))
	g.want(cuda.IllegalAddress, g.StreamSynchronize(s))
	_, err := g.MemAlloc(64)
	g.want(cuda.IllegalAddress, err)
	g.want(cuda.IllegalAddress, g.StreamSynchronize(s))
	var f *ptxemu.Fault
	if !errors.As(g.emu.Fault(), &f) || f.Kernel != "past_end" || f.Address != uint64(x)+64 {
		t.Error(g.emu.Fault())
	}
	g.ok(g.DevicePrimaryCtxReset(0))
	_, err = g.MemAlloc(64)
	g.want(cuda.InvalidContext, err)
	g.current()
	y := g.alloc(64)
	g.want(cuda.InvalidHandle, g.StreamSynchronize(s))
	g.ok(g.MemcpyHtoD(y, make([]byte, 64)))
	if g.emu.Fault() != nil {
		t.Error(g.emu.Fault())
	}
}

func TestInject(t *testing.T) {
	g := start(t, Options{})
	g.emu.Inject("cuMemAlloc_v2", 2, cuda.OutOfMemory)
	g.alloc(64)
	_, err := g.MemAlloc(64)
	g.want(cuda.OutOfMemory, err)
	x := g.alloc(64)
	g.emu.Inject("cuMemsetD8Async", 1, cuda.LaunchFailed)
	g.want(cuda.LaunchFailed, g.MemsetD8Async(x, 0, 64, 0))
	g.want(cuda.LaunchFailed, g.CtxSynchronize())
	if g.emu.Fault() == nil {
		t.Error("no fault")
	}

	h := start(t, Options{})
	release := h.emu.Hang("cuCtxSynchronize", 1)
	entered, done := make(chan struct{}), make(chan error)
	ctx := must[cuda.Context](h)(h.CtxGetCurrent())
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		close(entered)
		done <- errors.Join(h.CtxSetCurrent(ctx), h.CtxSynchronize())
	}()
	<-entered
	for h.emu.Calls("cuCtxSynchronize") == 0 {
		runtime.Gosched()
	}
	select {
	case err := <-done:
		t.Errorf("the call did not hang: %v", err)
	default:
	}
	h.alloc(64) // other calls go on
	release()
	h.ok(<-done)
}

func TestLeaks(t *testing.T) {
	g := start(t, Options{})
	s, e, x := g.stream(), g.event(), g.alloc(64)
	h := g.pinned(64)
	g.function("faults", "produce")
	leaks := g.emu.Leaks()
	if len(leaks) != 5 || leaks["device memory"] != 1 || leaks["modules"] != 1 {
		t.Error(leaks)
	}
	g.ok(g.StreamDestroy(s))
	g.ok(g.EventDestroy(e))
	g.ok(g.MemFree(x))
	g.ok(g.MemFreeHost(h))
	g.want(cuda.InvalidHandle, g.EventDestroy(e))
	g.ok(g.DevicePrimaryCtxRelease(0))
	if leaks := g.emu.Leaks(); len(leaks) != 1 || leaks["modules"] != 1 {
		t.Error(leaks)
	}
}
