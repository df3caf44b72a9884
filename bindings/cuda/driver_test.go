package cuda

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

func TestOpenWithoutDriver(t *testing.T) {
	folder := t.TempDir()
	_, err := Open(folder)
	var missing *dynload.MissingLibraryError
	if !errors.Is(err, ErrNoDriver) || !errors.As(err, &missing) || len(missing.Looked) != 0 {
		t.Fatal(err)
	}
	for _, want := range []string{"libcuda", folder, "install NVIDIA's driver"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}

	// A file that is no library.
	path := filepath.Join(folder, "libcuda.so.1")
	if err := os.WriteFile(path, []byte("not a library\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(folder)
	if !errors.Is(err, ErrNoDriver) || !errors.As(err, &missing) || len(missing.Looked) != 1 || missing.Looked[0].Path != path {
		t.Fatal(err)
	}
}

// TestOpenHere opens what this machine has: a driver that starts, or an error
// that says why not. Neither hangs.
func TestOpenHere(t *testing.T) {
	d, err := Open("")
	if errors.Is(err, ErrNoDriver) {
		t.Log(err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	version, err := d.DriverGetVersion()
	if err != nil || version < oldest || !filepath.IsAbs(d.Path) {
		t.Errorf("driver %d at %s: %v", version, d.Path, err)
	}
	t.Logf("%s, CUDA %d: %v", d.Path, version, d.Init())
}

func TestNewRefuses(t *testing.T) {
	recorded(t)
	fake.Respond["cuDriverGetVersion"] = func(args []uintptr) { dynload.Poke(args[0], int32(11080)) }
	_, err := New(fake.Symbols)
	if !errors.Is(err, ErrNoDriver) || !strings.Contains(err.Error(), "CUDA 11.8, 12.0 is the least") {
		t.Error(err)
	}

	recorded(t)
	s := maps.Clone(fake.Symbols)
	delete(s, "cuGraphLaunch")
	var symbol *dynload.MissingSymbolError
	if _, err = New(s); !errors.Is(err, ErrNoDriver) || !errors.As(err, &symbol) || symbol.Symbol != "cuGraphLaunch" {
		t.Error(err)
	}
}

// TestOptional: without a function that may be missing the driver works, and the
// method says what is missing.
func TestOptional(t *testing.T) {
	recorded(t)
	s := maps.Clone(fake.Symbols)
	delete(s, "cuMemcpyBatchAsync_v2")
	d, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	err = d.MemcpyBatchAsync([]DevicePtr{1}, []DevicePtr{2}, []uint64{3}, AccessStream, 4)
	var symbol *dynload.MissingSymbolError
	if d.HasMemcpyBatch() || !errors.As(err, &symbol) || symbol.Symbol != "cuMemcpyBatchAsync_v2" {
		t.Error(err)
	}
}

func TestInitRemedies(t *testing.T) {
	d := recorded(t)
	fail(NoDevice, "CUDA_ERROR_NO_DEVICE")
	err := d.Init()
	if !errors.Is(err, NoDevice) || !strings.Contains(err.Error(), "CUDA_ERROR_NO_DEVICE (100); no GPU is visible") {
		t.Error(err)
	}
	fail(OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY")
	if err = d.Init(); !errors.Is(err, OutOfMemory) || errors.Is(err, NoDevice) || !strings.HasSuffix(err.Error(), "(2)") {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	d := recorded(t)
	fail(OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY")
	_, err := d.MemAlloc(1)
	var e *Error
	if !errors.As(err, &e) || *e != (Error{Code: OutOfMemory, Name: "CUDA_ERROR_OUT_OF_MEMORY", Call: "cuMemAlloc_v2"}) {
		t.Errorf("%#v", err)
	}
	if OutOfMemory.ContextLost() || NotReady.ContextLost() || InvalidValue.ContextLost() {
		t.Error("an error of one call loses the context")
	}
	for _, code := range []Code{IllegalAddress, LaunchTimeout, LaunchFailed, MisalignedAddress, ECCUncorrectable} {
		if !code.ContextLost() {
			t.Errorf("%v leaves the context usable", code)
		}
	}
}

func TestDeviceInfo(t *testing.T) {
	d := recorded(t)
	text := func(s string) func([]uintptr) {
		return func(args []uintptr) {
			for i := range len(s) {
				dynload.Poke(args[0]+uintptr(i), s[i])
			}
		}
	}
	fake.Respond["cuDeviceGet"] = func(args []uintptr) { dynload.Poke(args[0], int32(args[1])+40) }
	fake.Respond["cuDeviceGetName"] = text("NVIDIA H100\x00")
	fake.Respond["cuDeviceGetPCIBusId"] = text("0000:1b:00.0\x00")
	fake.Respond["cuDeviceTotalMem_v2"] = func(args []uintptr) { dynload.Poke(args[0], uint64(80<<30)) }
	fake.Respond["cuDeviceGetAttribute"] = func(args []uintptr) { dynload.Poke(args[0], int32(args[1])*10) }
	info, err := d.DeviceInfo(2)
	if err != nil {
		t.Fatal(err)
	}
	want := DeviceInfo{Device: 42, Name: "NVIDIA H100", UUID: "GPU-00000000-0000-0000-0000-000000000000", PCIBusID: "0000:1b:00.0",
		MemoryBytes: 80 << 30, Major: 750, Minor: 760, Multiprocessors: 160, SharedPerSMBytes: 810, SharedPerBlockBytes: 970,
		RegistersPerSM: 820, ThreadsPerSM: 390, BlocksPerSM: 1060, L2Bytes: 380, CopyEngines: 400, ClockKHz: 130,
		MemoryClockKHz: 360, MemoryBusBits: 370, ECC: true, Integrated: true, KernelsHaveTimeLimit: true, HostNUMANode: 1340}
	if info != want {
		t.Errorf("%+v", info)
	}
}

// procAddress is a cuGetProcAddress_v2 that knows what its test says.
var procAddress struct {
	asked   []string
	known   map[string]map[uintptr]uintptr // base name -> version -> address
	version int32
}

var (
	fakeProcAddress = dynload.NewCallback(func(name, out, version, flags, status uintptr) uintptr {
		base := dynload.GoString(name, 100)
		procAddress.asked = append(procAddress.asked, base)
		address := procAddress.known[base][version]
		if flags != 0 {
			return uintptr(InvalidValue)
		}
		dynload.Poke(out, address)
		return 0
	})
	fakeVersion = dynload.NewCallback(func(out uintptr) uintptr {
		dynload.Poke(out, procAddress.version)
		return 0
	})
)

// TestResolver: a function is asked for by its base name in the version of the
// table, plain symbols are the way out, and newer ones than the driver are none.
func TestResolver(t *testing.T) {
	procAddress.version, procAddress.asked = 12080, nil
	procAddress.known = map[string]map[uintptr]uintptr{
		"cuMemAlloc":         {2000: 1, 3020: 2},
		"cuMemcpyBatchAsync": {12080: 3, 13000: 4},
	}
	plain := map[string]uintptr{"cuGetProcAddress_v2": fakeProcAddress, "cuDriverGetVersion": fakeVersion, "cuInit": 5, "cuMemAlloc_v2": 6}
	lookup := func(s string) uintptr { return plain[s] }
	resolve := resolver(lookup)
	f := func(i int, want uintptr) {
		t.Helper()
		if got := resolve(funcs[i]); got != want {
			t.Errorf("%s is resolved to %d, not %d", funcs[i].Symbol, got, want)
		}
	}
	f(fnMemAlloc, 2)
	f(fnInit, 5)
	f(fnMemcpyBatchAsync, 0)
	f(fnGraphLaunch, 0)
	if got := strings.Join(procAddress.asked, " "); got != "cuMemAlloc cuInit cuGraphLaunch" {
		t.Errorf("asked for %s", got)
	}
	procAddress.version = 13000
	resolve = resolver(lookup)
	f(fnMemcpyBatchAsync, 4)

	delete(plain, "cuGetProcAddress_v2")
	resolve = resolver(lookup)
	f(fnMemAlloc, 6)
}
