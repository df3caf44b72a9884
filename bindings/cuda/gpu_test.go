package cuda_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
)

// TestDriver works a driver as device/cuda does, from its start to its end: the
// emulator always, a real one where a GPU is.
func TestDriver(t *testing.T) {
	for _, seed := range []uint64{0, 1} {
		t.Run(fmt.Sprint("emulator, seed ", seed), func(t *testing.T) {
			emu := cudaemu.New(cudaemu.Options{MemoryBytes: 64 << 20, Seed: seed})
			d, err := cuda.New(emu.Symbols())
			if err != nil {
				t.Fatal(err)
			}
			work(t, d)
			if left := emu.Leaks(); len(left) != 0 {
				t.Errorf("not given back: %v", left)
			}
		})
	}
	t.Run("GPU", func(t *testing.T) {
		d, err := cuda.Open("")
		if err == nil {
			err = d.Init()
		}
		if err != nil {
			t.Skip(err)
		}
		work(t, d)
	})
}

// ptx is a kernel data[i] = 3*data[i] + add, for i < n. On sm_90 it waits for the
// kernel before it, so that it can be launched early.
func ptx(major int) []byte {
	target, wait := "sm_80", ""
	if major >= 9 {
		target, wait = "sm_90", "griddepcontrol.wait;"
	}
	return fmt.Appendf(nil, `.version 7.8
.target %s
.address_size 64
.visible .entry affine(.param .u64 data, .param .u32 n, .param .u32 addend)
{
	.reg .pred %%p<2>;
	.reg .b32 %%r<8>;
	.reg .b64 %%rd<5>;
	ld.param.u64 %%rd1, [data];
	ld.param.u32 %%r1, [n];
	ld.param.u32 %%r2, [addend];
	mov.u32 %%r3, %%ctaid.x;
	mov.u32 %%r4, %%ntid.x;
	mov.u32 %%r5, %%tid.x;
	mad.lo.s32 %%r6, %%r3, %%r4, %%r5;
	setp.ge.u32 %%p1, %%r6, %%r1;
	@%%p1 bra $done;
	%s
	cvta.to.global.u64 %%rd2, %%rd1;
	mul.wide.u32 %%rd3, %%r6, 4;
	add.s64 %%rd4, %%rd2, %%rd3;
	ld.global.u32 %%r7, [%%rd4];
	mad.lo.s32 %%r7, %%r7, 3, %%r2;
	st.global.u32 [%%rd4], %%r7;
$done:
	ret;
}
`, target, wait)
}

// must fails the test on an error; what stands before it is passed through.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func work(t *testing.T, d *cuda.Driver) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ok(t, d.Init())
	info := must(d.DeviceInfo(0))(t)
	t.Logf("%s, sm_%d%d, %d bytes", info.Name, info.Major, info.Minor, info.MemoryBytes)
	ctx := must(d.DevicePrimaryCtxRetain(info.Device))(t)
	ok(t, d.CtxSetCurrent(ctx))
	if current := must(d.CtxGetCurrent())(t); current != ctx {
		t.Errorf("the current context is %#x, not %#x", current, ctx)
	}

	const n, block = 1000, 128
	stream := must(d.StreamCreate(0))(t)
	begin, end := must(d.EventCreate(true))(t), must(d.EventCreate(true))(t)
	host := must(d.MemHostAlloc(4*n, cuda.HostPortable|cuda.HostDeviceMap))(t)
	data, copied := must(d.MemAlloc(4*n))(t), must(d.MemAlloc(4*n))(t)
	module := must(d.ModuleLoadPTX(ptx(info.Major)))(t)
	kernel := must(d.ModuleGetFunction(module, "affine"))(t)
	if _, err := d.ModuleGetFunction(module, "absent"); !errors.Is(err, cuda.NotFound) {
		t.Errorf("a kernel that is not there: %v", err)
	}
	if blocks := must(d.OccupancyMaxActiveBlocks(kernel, block, 0))(t); blocks < 1 {
		t.Errorf("%d blocks fit", blocks)
	}

	// The graph: three kernels after one another, the later ones early.
	params := func(add uint32) []byte {
		b := binary.LittleEndian.AppendUint64(nil, uint64(data))
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, n), add)
	}
	launch := cuda.Launch{Grid: cuda.Dim{X: (n + block - 1) / block, Y: 1, Z: 1}, Block: cuda.Dim{X: block, Y: 1, Z: 1}, Stream: stream}
	ok(t, d.StreamBeginCapture(stream, cuda.CaptureRelaxed))
	for i := range uint32(3) {
		ok(t, d.LaunchKernel(kernel, launch, params(i)))
		launch.Programmatic = info.Major >= 9
	}
	graph := must(d.StreamEndCapture(stream))(t)
	nodes := must(d.GraphGetNodes(graph))(t)
	for _, node := range nodes {
		if kind := must(d.GraphNodeGetType(node))(t); kind != cuda.NodeKernel {
			t.Errorf("a node of type %d", kind)
		}
	}
	exec := must(d.GraphInstantiate(graph))(t)
	ok(t, d.GraphDestroy(graph), d.GraphUpload(exec, stream))

	want := make([]uint32, n)
	for i := range want {
		want[i] = uint32(i)
		binary.LittleEndian.PutUint32(host[4*i:], want[i])
		want[i] = 3*(3*(3*want[i]+0)+1) + 2
	}
	ok(t, d.MemcpyHtoDAsync(data, host, stream), d.EventRecord(begin, stream),
		d.GraphLaunch(exec, stream), d.EventRecord(end, stream), d.MemsetD8Async(copied, 0xff, 4*n, stream))
	if d.HasMemcpyBatch() {
		half := []cuda.DevicePtr{copied, copied + 2*n}
		ok(t, d.MemcpyBatchAsync(half, []cuda.DevicePtr{data, data + 2*n}, []uint64{2 * n, 2 * n}, cuda.AccessStream, stream))
	} else {
		ok(t, d.MemcpyDtoDAsync(copied, data, 4*n, stream))
	}
	ok(t, d.MemcpyDtoHAsync(host, copied, stream), d.StreamSynchronize(stream))
	got := make([]uint32, n)
	for i := range got {
		got[i] = binary.LittleEndian.Uint32(host[4*i:])
	}
	if len(nodes) != 3 || !slices.Equal(got, want) {
		t.Errorf("%d nodes made %v", len(nodes), got[:8])
	}
	if done := must(d.EventQuery(end))(t); !done {
		t.Error("an event is not done after its stream")
	}
	if ms := must(d.EventElapsedTime(begin, end))(t); ms < 0 {
		t.Errorf("%v ms between the events", ms)
	}
	if _, err := d.MemAlloc(info.MemoryBytes + 1<<30); !errors.Is(err, cuda.OutOfMemory) {
		t.Errorf("more memory than there is: %v", err)
	}

	ok(t, d.GraphExecDestroy(exec), d.ModuleUnload(module), d.MemFree(data), d.MemFree(copied), d.MemFreeHost(host),
		d.EventDestroy(begin), d.EventDestroy(end), d.StreamDestroy(stream), d.DevicePrimaryCtxRelease(info.Device))
}
