package cuda

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/bindings/internal/fakelib"
)

// fake stands where the driver is.
var fake = fakelib.New(funcs)

// recorded returns a driver whose library is the fake: version 13.0, and failing
// calls are named.
func recorded(t *testing.T) *Driver {
	t.Helper()
	fake.Reset()
	fake.Respond["cuDriverGetVersion"] = func(args []uintptr) { dynload.Poke(args[0], int32(13000)) }
	d, err := New(fake.Symbols)
	if err != nil {
		t.Fatal(err)
	}
	fake.Calls = nil
	return d
}

// fail makes all calls fail with a code, which gets a name.
func fail(code Code, name string) {
	text := fakelib.CString(name)
	fake.Result = int32(code)
	fake.Results["cuGetErrorName"] = 0
	fake.Respond["cuGetErrorName"] = func(args []uintptr) {
		if Code(args[0]) == code {
			dynload.Poke(args[1], text)
		}
	}
}

type (
	out4  = fakelib.Out4
	out8  = fakelib.Out8
	fill  = fakelib.Fill
	text  = fakelib.Text
	lent  = fakelib.Bytes
	given = fakelib.Given
	list  = []any
)

// TestCalls calls every method once against the recorder: the function, every
// argument in its place and width, and the result must be right; then it makes
// the function fail and expects its name and code in the error.
func TestCalls(t *testing.T) {
	const (
		p = DevicePtr(0x7f12_3456_789a) // an address that needs 48 bits
		q = DevicePtr(0x7f65_4321_0abc)
		n = uint64(5 << 32) // a size that needs 35
		s = Stream(0x5555_0000_1111)
		e = Event(0x6666_0000_2222)
		f = Function(0x7777_0000_3333)
		m = Module(0x8888_0000_4444)
		g = Graph(0x9999_0000_5555)
		x = GraphExec(0xaaaa_0000_6666)
	)
	host := make([]byte, 48)
	called := map[string]bool{"cuGetErrorName": true}

	check := func(symbol string, args []any, call func(d *Driver) string, want string) {
		t.Helper()
		called[symbol] = true
		d := recorded(t)
		fake.Expect(t, symbol, args, func() string { return call(d) }, want)
		fail(LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED")
		if got := call(d); !strings.Contains(got, "cuda: "+symbol+": CUDA_ERROR_LAUNCH_FAILED (719)") {
			t.Errorf("a failed %s returned %s", symbol, got)
		}
	}

	check("cuInit", list{0}, func(d *Driver) string { return fmt.Sprint(d.Init()) }, "<nil>")
	check("cuDriverGetVersion", list{out4(13010)}, func(d *Driver) string { return fmt.Sprint(d.DriverGetVersion()) }, "13010 <nil>")

	check("cuDeviceGetCount", list{out4(8)}, func(d *Driver) string { return fmt.Sprint(d.DeviceGetCount()) }, "8 <nil>")
	check("cuDeviceGet", list{out4(5), 3}, func(d *Driver) string { return fmt.Sprint(d.DeviceGet(3)) }, "5 <nil>")
	check("cuDeviceGetName", list{fill("H100"), 256, 5}, func(d *Driver) string { return fmt.Sprint(d.DeviceGetName(5)) }, "H100<nil>")
	check("cuDeviceGetPCIBusId", list{fill("0000:1b:00.0"), 256, 5}, func(d *Driver) string { return fmt.Sprint(d.DeviceGetPCIBusID(5)) }, "0000:1b:00.0<nil>")
	check("cuDeviceGetUuid_v2", list{fill("ABCDEFGHIJKLMNO"), 5}, func(d *Driver) string { return fmt.Sprint(d.DeviceGetUUID(5)) },
		"GPU-41424344-4546-4748-494a-4b4c4d4e4f00<nil>")
	check("cuDeviceTotalMem_v2", list{out8(n), 5}, func(d *Driver) string { return fmt.Sprint(d.DeviceTotalMem(5)) }, "21474836480 <nil>")
	check("cuDeviceGetAttribute", list{out4(132), 16, 5}, func(d *Driver) string { return fmt.Sprint(d.DeviceGetAttribute(MultiprocessorCount, 5)) }, "132 <nil>")
	check("cuDeviceCanAccessPeer", list{out4(1), 5, 6}, func(d *Driver) string { return fmt.Sprint(d.DeviceCanAccessPeer(5, 6)) }, "true <nil>")

	check("cuDevicePrimaryCtxRetain", list{out8(n), 5}, func(d *Driver) string { return fmt.Sprint(d.DevicePrimaryCtxRetain(5)) }, "21474836480 <nil>")
	check("cuDevicePrimaryCtxRelease_v2", list{5}, func(d *Driver) string { return fmt.Sprint(d.DevicePrimaryCtxRelease(5)) }, "<nil>")
	check("cuDevicePrimaryCtxReset_v2", list{5}, func(d *Driver) string { return fmt.Sprint(d.DevicePrimaryCtxReset(5)) }, "<nil>")
	check("cuDevicePrimaryCtxSetFlags_v2", list{5, 4}, func(d *Driver) string { return fmt.Sprint(d.DevicePrimaryCtxSetFlags(5, ScheduleBlocking)) }, "<nil>")
	check("cuDevicePrimaryCtxGetState", list{5, out4(1), out4(2)}, func(d *Driver) string { return fmt.Sprint(d.DevicePrimaryCtxGetState(5)) }, "1 true <nil>")
	check("cuCtxSetCurrent", list{n}, func(d *Driver) string { return fmt.Sprint(d.CtxSetCurrent(Context(n))) }, "<nil>")
	check("cuCtxGetCurrent", list{out8(n)}, func(d *Driver) string { return fmt.Sprint(d.CtxGetCurrent()) }, "21474836480 <nil>")
	check("cuCtxSynchronize", list{}, func(d *Driver) string { return fmt.Sprint(d.CtxSynchronize()) }, "<nil>")
	check("cuCtxGetLimit", list{out8(n), 6}, func(d *Driver) string { return fmt.Sprint(d.CtxGetLimit(LimitPersistingL2Cache)) }, "21474836480 <nil>")
	check("cuCtxSetLimit", list{0, n}, func(d *Driver) string { return fmt.Sprint(d.CtxSetLimit(LimitStackSize, n)) }, "<nil>")
	check("cuCtxGetStreamPriorityRange", list{out4(0), out4(1<<32 - 5)}, func(d *Driver) string { return fmt.Sprint(d.CtxGetStreamPriorityRange()) }, "0 -5 <nil>")

	check("cuMemGetInfo_v2", list{out8(n), out8(2 * n)}, func(d *Driver) string { return fmt.Sprint(d.MemGetInfo()) }, "21474836480 42949672960 <nil>")
	check("cuMemAlloc_v2", list{out8(p), n}, func(d *Driver) string { return fmt.Sprint(d.MemAlloc(n)) }, fmt.Sprint(uint64(p), " <nil>"))
	check("cuMemFree_v2", list{p}, func(d *Driver) string { return fmt.Sprint(d.MemFree(p)) }, "<nil>")
	check("cuMemGetAddressRange_v2", list{out8(p), out8(n), q}, func(d *Driver) string { return fmt.Sprint(d.MemGetAddressRange(q)) }, fmt.Sprint(uint64(p), " 21474836480 <nil>"))
	check("cuMemHostAlloc", list{out8(uintptr(unsafe.Pointer(&host[0]))), 48, 3}, func(d *Driver) string {
		b, err := d.MemHostAlloc(48, HostPortable|HostDeviceMap)
		return fmt.Sprint(len(b), cap(b), err != nil || &b[0] == &host[0], err)
	}, "48 48 true <nil>")
	check("cuMemFreeHost", list{lent(host)}, func(d *Driver) string { return fmt.Sprint(d.MemFreeHost(host)) }, "<nil>")
	check("cuMemHostRegister_v2", list{lent(host), 48, 2}, func(d *Driver) string { return fmt.Sprint(d.MemHostRegister(host, HostDeviceMap)) }, "<nil>")
	check("cuMemHostUnregister", list{lent(host)}, func(d *Driver) string { return fmt.Sprint(d.MemHostUnregister(host)) }, "<nil>")
	check("cuMemHostGetDevicePointer_v2", list{out8(p), lent(host), 0}, func(d *Driver) string { return fmt.Sprint(d.MemHostGetDevicePointer(host)) }, fmt.Sprint(uint64(p), " <nil>"))

	check("cuMemcpyHtoD_v2", list{p, lent(host), 48}, func(d *Driver) string { return fmt.Sprint(d.MemcpyHtoD(p, host)) }, "<nil>")
	check("cuMemcpyDtoH_v2", list{lent(host), p, 48}, func(d *Driver) string { return fmt.Sprint(d.MemcpyDtoH(host, p)) }, "<nil>")
	check("cuMemcpyHtoDAsync_v2", list{p, lent(host), 48, s}, func(d *Driver) string { return fmt.Sprint(d.MemcpyHtoDAsync(p, host, s)) }, "<nil>")
	check("cuMemcpyDtoHAsync_v2", list{lent(host), p, 48, s}, func(d *Driver) string { return fmt.Sprint(d.MemcpyDtoHAsync(host, p, s)) }, "<nil>")
	check("cuMemcpyDtoDAsync_v2", list{p, q, n, s}, func(d *Driver) string { return fmt.Sprint(d.MemcpyDtoDAsync(p, q, n, s)) }, "<nil>")
	check("cuMemcpyBatchAsync_v2", list{given{}, given{}, given{}, 2, given{}, given{}, 1, s}, func(d *Driver) string {
		return fmt.Sprint(d.MemcpyBatchAsync([]DevicePtr{p, q}, []DevicePtr{q, p}, []uint64{1, 2}, AccessAny, s))
	}, "<nil>")
	check("cuMemsetD8Async", list{p, 0xab, n, s}, func(d *Driver) string { return fmt.Sprint(d.MemsetD8Async(p, 0xab, n, s)) }, "<nil>")
	check("cuMemsetD32Async", list{p, uint32(0xfedcba98), n, s}, func(d *Driver) string { return fmt.Sprint(d.MemsetD32Async(p, 0xfedcba98, n, s)) }, "<nil>")

	check("cuStreamCreateWithPriority", list{out8(s), 1, -5}, func(d *Driver) string { return fmt.Sprint(d.StreamCreate(-5)) }, fmt.Sprint(uint64(s), " <nil>"))
	check("cuStreamDestroy_v2", list{s}, func(d *Driver) string { return fmt.Sprint(d.StreamDestroy(s)) }, "<nil>")
	check("cuStreamSynchronize", list{s}, func(d *Driver) string { return fmt.Sprint(d.StreamSynchronize(s)) }, "<nil>")
	check("cuStreamQuery", list{s}, func(d *Driver) string { return fmt.Sprint(d.StreamQuery(s)) }, "true <nil>")
	check("cuStreamWaitEvent", list{s, e, 0}, func(d *Driver) string { return fmt.Sprint(d.StreamWaitEvent(s, e)) }, "<nil>")
	check("cuEventCreate", list{out8(e), 3}, func(d *Driver) string { return fmt.Sprint(d.EventCreate(false)) }, fmt.Sprint(uint64(e), " <nil>"))
	check("cuEventCreate", list{out8(e), 1}, func(d *Driver) string { return fmt.Sprint(d.EventCreate(true)) }, fmt.Sprint(uint64(e), " <nil>"))
	check("cuEventDestroy_v2", list{e}, func(d *Driver) string { return fmt.Sprint(d.EventDestroy(e)) }, "<nil>")
	check("cuEventRecord", list{e, s}, func(d *Driver) string { return fmt.Sprint(d.EventRecord(e, s)) }, "<nil>")
	check("cuEventQuery", list{e}, func(d *Driver) string { return fmt.Sprint(d.EventQuery(e)) }, "true <nil>")
	check("cuEventSynchronize", list{e}, func(d *Driver) string { return fmt.Sprint(d.EventSynchronize(e)) }, "<nil>")
	check("cuEventElapsedTime", list{out4(0x3fc00000), e, e + 1}, func(d *Driver) string { return fmt.Sprint(d.EventElapsedTime(e, e+1)) }, "1.5 <nil>")

	check("cuModuleLoadData", list{out8(m), lent(host)}, func(d *Driver) string { return fmt.Sprint(d.ModuleLoadData(host)) }, fmt.Sprint(uint64(m), " <nil>"))
	check("cuModuleLoadDataEx", list{out8(m), text(".version 8.0"), 2, given{}, given{}}, func(d *Driver) string { return fmt.Sprint(d.ModuleLoadPTX([]byte(".version 8.0 and more")[:12])) }, fmt.Sprint(uint64(m), " <nil>"))
	check("cuModuleUnload", list{m}, func(d *Driver) string { return fmt.Sprint(d.ModuleUnload(m)) }, "<nil>")
	check("cuModuleGetFunction", list{out8(f), m, text("rows")}, func(d *Driver) string { return fmt.Sprint(d.ModuleGetFunction(m, "rows")) }, fmt.Sprint(uint64(f), " <nil>"))
	check("cuModuleGetGlobal_v2", list{out8(p), out8(n), m, text("table")}, func(d *Driver) string { return fmt.Sprint(d.ModuleGetGlobal(m, "table")) }, fmt.Sprint(uint64(p), " 21474836480 <nil>"))
	check("cuFuncLoad", list{f}, func(d *Driver) string { return fmt.Sprint(d.FuncLoad(f)) }, "<nil>")
	check("cuFuncGetAttribute", list{out4(40), 4, f}, func(d *Driver) string { return fmt.Sprint(d.FuncGetAttribute(FuncNumRegs, f)) }, "40 <nil>")
	check("cuFuncSetAttribute", list{f, 9, -1}, func(d *Driver) string { return fmt.Sprint(d.FuncSetAttribute(f, FuncPreferredSharedPercent, -1)) }, "<nil>")
	check("cuFuncGetParamInfo", list{f, 2, out8(16), out8(8)}, func(d *Driver) string { return fmt.Sprint(d.FuncGetParamInfo(f, 2)) }, "16 8 <nil>")
	check("cuOccupancyMaxActiveBlocksPerMultiprocessor", list{out4(3), f, 256, n}, func(d *Driver) string { return fmt.Sprint(d.OccupancyMaxActiveBlocks(f, 256, n)) }, "3 <nil>")
	check("cuOccupancyMaxPotentialBlockSize", list{out4(264), out4(512), f, 0, n, 1024}, func(d *Driver) string { return fmt.Sprint(d.OccupancyMaxPotentialBlockSize(f, n, 1024)) }, "264 512 <nil>")
	check("cuOccupancyAvailableDynamicSMemPerBlock", list{out8(n), f, 2, 256}, func(d *Driver) string { return fmt.Sprint(d.OccupancyAvailableDynamicSMem(f, 2, 256)) }, "21474836480 <nil>")

	check("cuStreamBeginCapture_v2", list{s, 2}, func(d *Driver) string { return fmt.Sprint(d.StreamBeginCapture(s, CaptureRelaxed)) }, "<nil>")
	check("cuStreamEndCapture", list{s, out8(g)}, func(d *Driver) string { return fmt.Sprint(d.StreamEndCapture(s)) }, fmt.Sprint(uint64(g), " <nil>"))
	check("cuStreamIsCapturing", list{s, out4(1)}, func(d *Driver) string { return fmt.Sprint(d.StreamIsCapturing(s)) }, "1 <nil>")
	check("cuThreadExchangeStreamCaptureMode", list{out4(0)}, func(d *Driver) string { return fmt.Sprint(d.ThreadExchangeStreamCaptureMode(CaptureRelaxed)) }, "0 <nil>")
	check("cuGraphInstantiateWithFlags", list{out8(x), g, 0}, func(d *Driver) string { return fmt.Sprint(d.GraphInstantiate(g)) }, fmt.Sprint(uint64(x), " <nil>"))
	check("cuGraphUpload", list{x, s}, func(d *Driver) string { return fmt.Sprint(d.GraphUpload(x, s)) }, "<nil>")
	check("cuGraphLaunch", list{x, s}, func(d *Driver) string { return fmt.Sprint(d.GraphLaunch(x, s)) }, "<nil>")
	check("cuGraphExecUpdate_v2", list{x, g, out4(2)}, func(d *Driver) string { return fmt.Sprint(d.GraphExecUpdate(x, g)) }, "2 <nil>")
	check("cuGraphExecDestroy", list{x}, func(d *Driver) string { return fmt.Sprint(d.GraphExecDestroy(x)) }, "<nil>")
	check("cuGraphDestroy", list{g}, func(d *Driver) string { return fmt.Sprint(d.GraphDestroy(g)) }, "<nil>")
	check("cuGraphGetNodes", list{g, 0, out8(0)}, func(d *Driver) string { return fmt.Sprint(d.GraphGetNodes(g)) }, "[] <nil>")
	check("cuGraphNodeGetType", list{g, out4(2)}, func(d *Driver) string { return fmt.Sprint(d.GraphNodeGetType(GraphNode(g))) }, "2 <nil>")
	check("cuGraphDebugDotPrint", list{g, text("a.dot"), 1}, func(d *Driver) string { return fmt.Sprint(d.GraphDebugDotPrint(g, "a.dot")) }, "<nil>")

	l := Launch{Grid: Dim{1, 2, 3}, Block: Dim{4, 5, 6}, SharedBytes: 7, Stream: s}
	check("cuLaunchKernel", list{f, 1, 2, 3, 4, 5, 6, 7, s, 0, given{}}, func(d *Driver) string { return fmt.Sprint(d.LaunchKernel(f, l, host)) }, "<nil>")
	check("cuLaunchKernel", list{f, 1, 2, 3, 4, 5, 6, 7, s, 0, 0}, func(d *Driver) string { return fmt.Sprint(d.LaunchKernel(f, l, nil)) }, "<nil>")
	l.Programmatic = true
	check("cuLaunchKernelEx", list{given{}, f, 0, given{}}, func(d *Driver) string { return fmt.Sprint(d.LaunchKernel(f, l, host)) }, "<nil>")

	for _, f := range funcs {
		if !called[f.Symbol] {
			t.Errorf("%s is in the table and no method was called for it", f.Symbol)
		}
	}
}

// TestPackedLaunch looks at the structs that a launch hands over.
func TestPackedLaunch(t *testing.T) {
	d := recorded(t)
	params := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	extra := func(address uintptr) {
		a := dynload.Peek[[5]uint64](address)
		if a[0] != 1 || a[2] != 2 || a[4] != 0 || dynload.Peek[uint64](uintptr(a[3])) != 9 {
			t.Errorf("the array of parameters is %v", a)
		}
		if got := dynload.Peek[[9]byte](uintptr(a[1])); string(got[:]) != string(params) {
			t.Errorf("the parameters are %v", got)
		}
	}
	fake.Respond["cuLaunchKernel"] = func(args []uintptr) { extra(args[10]) }
	fake.Respond["cuLaunchKernelEx"] = func(args []uintptr) {
		extra(args[3])
		c := dynload.Peek[launchConfig](args[0])
		a := dynload.Peek[launchAttribute](c.Attributes)
		if c.NumAttributes != 1 || a.ID != programmaticStreamSerialization || a.Value != [8]uint64{1} {
			t.Errorf("the attributes are %+v of %+v", a, c)
		}
		if c.Grid != (Dim{1, 2, 3}) || c.Block != (Dim{4, 5, 6}) || c.SharedBytes != 7 || c.Stream != 8 {
			t.Errorf("the launch is %+v", c)
		}
	}
	l := Launch{Grid: Dim{1, 2, 3}, Block: Dim{4, 5, 6}, SharedBytes: 7, Stream: 8}
	if err := d.LaunchKernel(9, l, params); err != nil {
		t.Error(err)
	}
	l.Programmatic = true
	if err := d.LaunchKernel(9, l, params); err != nil || len(fake.Calls) != 2 {
		t.Error(err, fake.Calls)
	}
}

// TestExchangeCaptureMode: the word that gets the old mode brings the new one.
func TestExchangeCaptureMode(t *testing.T) {
	d := recorded(t)
	fake.Respond["cuThreadExchangeStreamCaptureMode"] = func(args []uintptr) {
		if mode := dynload.Peek[CaptureMode](args[0]); mode != CaptureRelaxed {
			t.Errorf("the new mode is %d", mode)
		}
		dynload.Poke(args[0], CaptureThreadLocal)
	}
	if old, err := d.ThreadExchangeStreamCaptureMode(CaptureRelaxed); old != CaptureThreadLocal || err != nil {
		t.Error(old, err)
	}
}

func TestMemcpyBatch(t *testing.T) {
	d := recorded(t)
	dsts, srcs, sizes := []DevicePtr{10, 20, 30}, []DevicePtr{40, 50, 60}, []uint64{7, 8, 9}
	fake.Respond["cuMemcpyBatchAsync_v2"] = func(args []uintptr) {
		if dynload.Peek[[3]DevicePtr](args[0]) != [3]DevicePtr(dsts) || dynload.Peek[[3]DevicePtr](args[1]) != [3]DevicePtr(srcs) ||
			dynload.Peek[[3]uint64](args[2]) != [3]uint64(sizes) {
			t.Error("the arrays are not those given")
		}
		if a := dynload.Peek[copyAttributes](args[4]); a != (copyAttributes{SrcAccessOrder: 3, Flags: 1}) {
			t.Errorf("the attributes are %+v", a)
		}
		if first := dynload.Peek[uint64](args[5]); first != 0 {
			t.Errorf("the attributes hold from copy %d", first)
		}
	}
	if err := d.MemcpyBatchAsync(dsts, srcs, sizes, AccessAny, 1); err != nil || !d.HasMemcpyBatch() {
		t.Error(err)
	}
	if err := d.MemcpyBatchAsync(nil, nil, nil, AccessAny, 1); err != nil || len(fake.Calls) != 1 {
		t.Error("an empty batch was passed on", err)
	}
	if err := d.MemcpyBatchAsync(dsts, srcs[:2], sizes, AccessAny, 1); err == nil || len(fake.Calls) != 1 {
		t.Error("a batch of unequal lists was passed on")
	}
}

func TestQueriesThatAreNotReady(t *testing.T) {
	d := recorded(t)
	fail(NotReady, "CUDA_ERROR_NOT_READY")
	if done, err := d.EventQuery(1); done || err != nil {
		t.Error(done, err)
	}
	if done, err := d.StreamQuery(1); done || err != nil {
		t.Error(done, err)
	}
	if err := d.EventSynchronize(1); !errors.Is(err, NotReady) {
		t.Error(err) // not a query: an error like others
	}
}

func TestModuleLoadPTXError(t *testing.T) {
	d := recorded(t)
	fail(InvalidPTX, "CUDA_ERROR_INVALID_PTX")
	fake.Respond["cuModuleLoadDataEx"] = func(args []uintptr) {
		if dynload.Peek[[2]uint32](args[3]) != [2]uint32{5, 6} {
			t.Error("the options are not the error log")
		}
		values := dynload.Peek[[2]uintptr](args[4])
		if values[1] != maxJITLog {
			t.Errorf("the log has %d bytes", values[1])
		}
		dynload.Poke(values[0], [24]byte([]byte("ptxas: line 3: unknown\n\x00")))
	}
	_, err := d.ModuleLoadPTX([]byte(".version"))
	if !errors.Is(err, InvalidPTX) || !strings.HasSuffix(err.Error(), "ptxas: line 3: unknown") {
		t.Error(err)
	}
}

func TestGraphGetNodes(t *testing.T) {
	d := recorded(t)
	count := uint64(2)
	fake.Respond["cuGraphGetNodes"] = func(args []uintptr) {
		if args[1] != 0 {
			dynload.Poke(args[1], [2]GraphNode{11, 22})
		}
		dynload.Poke(args[2], count)
	}
	if nodes, err := d.GraphGetNodes(5); err != nil || fmt.Sprint(nodes) != "[11 22]" {
		t.Error(nodes, err)
	}
	count = 1 << 60
	if _, err := d.GraphGetNodes(5); err == nil {
		t.Error("a graph of 2^60 nodes was believed")
	}
}
