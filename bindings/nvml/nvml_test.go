package nvml

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/bindings/internal/cheader"
	"github.com/holdfast-run/holdfast/bindings/internal/fakelib"
)

var fake = fakelib.New(funcs)

func recorded(t *testing.T) *Library {
	t.Helper()
	fake.Reset()
	l, err := New(fake.Symbols)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestCalls makes every call once: the function, its arguments and the result
// must be right. Then the function fails, and the error must say which and why.
func TestCalls(t *testing.T) {
	const (
		d = Device(0x7f12_3456_789a)
		n = 5 << 32
	)
	type (
		out4 = fakelib.Out4
		out8 = fakelib.Out8
		fill = fakelib.Fill
		text = fakelib.Text
		list = []any
	)
	called := map[string]bool{"nvmlErrorString": true}
	check := func(symbol string, args []any, call func(l *Library) string, want string) {
		t.Helper()
		called[symbol] = true
		l := recorded(t)
		fake.Expect(t, symbol, args, func() string { return call(l) }, want)
		fake.Result = int32(NotSupported)
		fake.Results["nvmlErrorString"] = fakelib.CString("Not Supported")
		if got := call(l); !strings.Contains(got, "nvml: "+symbol+": Not Supported (3)") {
			t.Errorf("a failed %s returned %s", symbol, got)
		}
		if last := fake.Calls[len(fake.Calls)-1]; last.Symbol != "nvmlErrorString" || int32(last.Args[0]) != 3 {
			t.Errorf("a failed %s asked for %v", symbol, last)
		}
	}
	check("nvmlInit_v2", list{}, func(l *Library) string { return fmt.Sprint(l.Init()) }, "<nil>")
	check("nvmlShutdown", list{}, func(l *Library) string { return fmt.Sprint(l.Shutdown()) }, "<nil>")
	check("nvmlSystemGetDriverVersion", list{fill("580.95.05"), 96}, func(l *Library) string { return fmt.Sprint(l.SystemGetDriverVersion()) }, "580.95.05<nil>")
	check("nvmlSystemGetCudaDriverVersion_v2", list{out4(13000)}, func(l *Library) string { return fmt.Sprint(l.SystemGetCudaDriverVersion()) }, "13000 <nil>")
	check("nvmlDeviceGetCount_v2", list{out4(8)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetCount()) }, "8 <nil>")
	check("nvmlDeviceGetHandleByIndex_v2", list{3, out8(n)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetHandleByIndex(3)) }, "21474836480 <nil>")
	check("nvmlDeviceGetHandleByPciBusId_v2", list{text("0000:1b:00.0"), out8(n)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetHandleByPCIBusID("0000:1b:00.0")) }, "21474836480 <nil>")
	check("nvmlDeviceGetName", list{d, fill("NVIDIA H100"), 96}, func(l *Library) string { return fmt.Sprint(l.DeviceGetName(d)) }, "NVIDIA H100<nil>")
	check("nvmlDeviceGetUUID", list{d, fill("GPU-41424344"), 96}, func(l *Library) string { return fmt.Sprint(l.DeviceGetUUID(d)) }, "GPU-41424344<nil>")
	check("nvmlDeviceGetMemoryInfo", list{d, out8(n)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetMemoryInfo(d)) }, "{21474836480 0 0} <nil>")
	check("nvmlDeviceGetUtilizationRates", list{d, out8(7<<32 | 99)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetUtilizationRates(d)) }, "{99 7} <nil>")
	check("nvmlDeviceGetPowerUsage", list{d, out4(700123)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetPowerUsage(d)) }, "700123 <nil>")
	check("nvmlDeviceGetEnforcedPowerLimit", list{d, out4(700000)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetEnforcedPowerLimit(d)) }, "700000 <nil>")
	check("nvmlDeviceGetEccMode", list{d, out4(1), out4(0)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetEccMode(d)) }, "true false <nil>")
	check("nvmlDeviceGetTotalEccErrors", list{d, 0, 0, out8(n)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetTotalEccErrors(d, true)) }, "21474836480 <nil>")
	check("nvmlDeviceGetTotalEccErrors", list{d, 1, 0, out8(2)}, func(l *Library) string { return fmt.Sprint(l.DeviceGetTotalEccErrors(d, false)) }, "2 <nil>")
	for _, f := range funcs {
		if !called[f.Symbol] {
			t.Errorf("%s is in the table and no method was called for it", f.Symbol)
		}
	}
}

func TestErrors(t *testing.T) {
	l := recorded(t)
	fake.Result = int32(NotSupported)
	fake.Results["nvmlErrorString"] = fakelib.CString("Not Supported")
	_, _, err := l.DeviceGetEccMode(1)
	var e *Error
	if !errors.Is(err, NotSupported) || errors.Is(err, GPUIsLost) || !errors.As(err, &e) || e.Call != "nvmlDeviceGetEccMode" {
		t.Errorf("%#v", err)
	}
	s := maps.Clone(fake.Symbols)
	delete(s, "nvmlDeviceGetName")
	var missing *dynload.MissingSymbolError
	if _, err := New(s); !errors.As(err, &missing) || missing.Symbol != "nvmlDeviceGetName" {
		t.Error(err)
	}
	var library *dynload.MissingLibraryError
	if _, err := Open(t.TempDir()); !errors.As(err, &library) || library.Library != "libnvidia-ml" {
		t.Error(err)
	}
}

// TestHeader holds the table, the codes and the structs against NVIDIA's nvml.h.
func TestHeader(t *testing.T) {
	h := cheader.Read(t, "nvml.h")
	h.CheckFuncs(t, funcs)
	h.CheckConsts(t, map[string]int64{
		"NVML_SUCCESS": int64(Success), "NVML_ERROR_UNINITIALIZED": int64(Uninitialized),
		"NVML_ERROR_INVALID_ARGUMENT": int64(InvalidArgument), "NVML_ERROR_NOT_SUPPORTED": int64(NotSupported),
		"NVML_ERROR_NO_PERMISSION": int64(NoPermission), "NVML_ERROR_NOT_FOUND": int64(NotFound),
		"NVML_ERROR_INSUFFICIENT_SIZE": int64(InsufficientSize), "NVML_ERROR_DRIVER_NOT_LOADED": int64(DriverNotLoaded),
		"NVML_ERROR_GPU_IS_LOST": int64(GPUIsLost), "NVML_ERROR_RESET_REQUIRED": int64(ResetRequired),
		"NVML_ERROR_LIB_RM_VERSION_MISMATCH": int64(VersionMismatch), "NVML_ERROR_UNKNOWN": int64(Unknown),
		"NVML_MEMORY_ERROR_TYPE_CORRECTED": errorCorrected, "NVML_MEMORY_ERROR_TYPE_UNCORRECTED": errorUncorrected,
		"NVML_VOLATILE_ECC": sinceDriverLoad, "NVML_DEVICE_NAME_V2_BUFFER_SIZE": maxText,
	})
	h.CheckLayout(t, Memory{}, "nvmlMemory_t", map[string]string{"Total": "total", "Free": "free", "Used": "used"})
	h.CheckLayout(t, Utilization{}, "nvmlUtilization_t", map[string]string{"GPU": "gpu", "Memory": "memory"})
}
