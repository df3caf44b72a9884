package probe

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/bindings/internal/fakelib"
	"github.com/holdfast-run/holdfast/bindings/nvml"
)

var (
	driver     = fakelib.New(cuda.Functions())
	management = fakelib.New(nvml.Functions())
)

// text answers a call with a string, at one of its arguments.
func text(arg int, s string) func([]uintptr) {
	return func(args []uintptr) {
		for i := range len(s) {
			dynload.Poke(args[arg]+uintptr(i), s[i])
		}
		dynload.Poke(args[arg]+uintptr(len(s)), byte(0))
	}
}

// machine returns the libraries of a machine with two GPUs and no toolkit.
func machine(t *testing.T) *Libraries {
	t.Helper()
	driver.Reset()
	management.Reset()
	driver.Respond["cuDriverGetVersion"] = func(args []uintptr) { dynload.Poke(args[0], int32(13010)) }
	driver.Respond["cuDeviceGetCount"] = func(args []uintptr) { dynload.Poke(args[0], int32(2)) }
	driver.Respond["cuDeviceGet"] = func(args []uintptr) { dynload.Poke(args[0], int32(args[1])) }
	driver.Respond["cuDeviceGetName"] = text(0, "NVIDIA H100")
	driver.Respond["cuDeviceGetPCIBusId"] = func(args []uintptr) { text(0, []string{"0000:1b:00.0", "0000:43:00.0"}[args[2]])(args) }
	driver.Respond["cuDeviceGetAttribute"] = func(args []uintptr) { dynload.Poke(args[0], int32(args[1])) }
	management.Respond["nvmlSystemGetDriverVersion"] = text(0, "580.95.05")
	management.Respond["nvmlDeviceGetHandleByPciBusId_v2"] = func(args []uintptr) {
		device := uint64(1)
		if dynload.Peek[[12]byte](args[0]) == [12]byte([]byte("0000:43:00.0")) {
			device = 2
		}
		dynload.Poke(args[1], device)
	}
	management.Respond["nvmlDeviceGetMemoryInfo"] = func(args []uintptr) {
		dynload.Poke(args[1], nvml.Memory{Total: 80 << 30, Free: 70 << 30, Used: 10 << 30 * uint64(args[0])})
	}
	management.Respond["nvmlDeviceGetUtilizationRates"] = func(args []uintptr) { dynload.Poke(args[1], nvml.Utilization{GPU: 90, Memory: 40}) }
	management.Respond["nvmlDeviceGetPowerUsage"] = func(args []uintptr) { dynload.Poke(args[1], uint32(350_000)) }
	management.Respond["nvmlDeviceGetEnforcedPowerLimit"] = func(args []uintptr) { dynload.Poke(args[1], uint32(700_000)) }
	management.Respond["nvmlDeviceGetTotalEccErrors"] = func(args []uintptr) { dynload.Poke(args[3], uint64(args[1])+5) }
	management.Results["nvmlErrorString"] = fakelib.CString("Not Supported")

	l := &Libraries{NVRTCErr: errors.New("no compiler"), CuBLASLtErr: errors.New("no products")}
	if l.CUDA, l.CUDAErr = cuda.New(driver.Symbols); l.CUDAErr != nil {
		t.Fatal(l.CUDAErr)
	}
	if l.NVML, l.NVMLErr = nvml.New(management.Symbols); l.NVMLErr != nil {
		t.Fatal(l.NVMLErr)
	}
	return l
}

func TestSoftware(t *testing.T) {
	s := machine(t).Software()
	if len(s) != 4 || s[0].Version != "CUDA 13.1" || s[0].Err != nil || s[1].Err != nil ||
		s[2].Err.Error() != "no compiler" || s[3].Err.Error() != "no products" {
		t.Errorf("%+v", s)
	}
}

func TestGPUs(t *testing.T) {
	l := machine(t)
	gpus, err := l.GPUs(t.Context())
	if err != nil || len(gpus) != 2 {
		t.Fatal(gpus, err)
	}
	g := gpus[1]
	if g.Name != "NVIDIA H100" || g.PCIBusID != "0000:43:00.0" || g.DriverVersion != "580.95.05" || g.Multiprocessors != int(cuda.MultiprocessorCount) {
		t.Errorf("%+v", g)
	}
	if want := (Readings{20 << 30, 90, 40, 350_000, 700_000, 5, 6}); g.Readings != want {
		t.Errorf("%+v", g.Readings)
	}
	if last := management.Calls[len(management.Calls)-1].Symbol; last != "nvmlShutdown" {
		t.Errorf("the last call is %s", last)
	}
}

// TestReadingsFailAlone: one that is not supported leaves the others, and a
// library that is not there or does not start leaves the GPU.
func TestReadingsFailAlone(t *testing.T) {
	l := machine(t)
	management.Results["nvmlDeviceGetUtilizationRates"] = uintptr(nvml.NotSupported)
	management.Results["nvmlDeviceGetTotalEccErrors"] = uintptr(nvml.NotSupported)
	gpus, err := l.GPUs(t.Context())
	if want := (Readings{10 << 30, Unknown, Unknown, 350_000, 700_000, Unknown, Unknown}); err != nil || gpus[0].Readings != want {
		t.Errorf("%+v, %v", gpus[0].Readings, err)
	}
	nothing := Readings{Unknown, Unknown, Unknown, Unknown, Unknown, Unknown, Unknown}
	management.Results["nvmlInit_v2"] = uintptr(nvml.DriverNotLoaded)
	if gpus, err = l.GPUs(t.Context()); err != nil || gpus[0].Readings != nothing || gpus[0].DriverVersion != "" {
		t.Errorf("%+v, %v", gpus, err)
	}
	l.NVML = nil
	if gpus, err = l.GPUs(t.Context()); err != nil || gpus[0].Readings != nothing {
		t.Errorf("%+v, %v", gpus, err)
	}
}

func TestNoGPU(t *testing.T) {
	l := machine(t)
	driver.Results["cuInit"] = uintptr(cuda.NoDevice)
	if gpus, err := l.GPUs(t.Context()); !errors.Is(err, cuda.NoDevice) || gpus != nil {
		t.Error(gpus, err)
	}
	folder := t.TempDir()
	l = Open(Folders{Driver: folder, Toolkit: folder})
	if gpus, err := l.GPUs(t.Context()); !errors.Is(err, cuda.ErrNoDriver) || gpus != nil {
		t.Error(gpus, err)
	}
	for _, s := range l.Software() {
		if s.Err == nil || !strings.Contains(s.Err.Error(), s.Name+" not found in "+folder) || !strings.Contains(s.Err.Error(), "install") {
			t.Errorf("%s: %v", s.Name, s.Err)
		}
	}
}

// TestNoAnswer: a driver that does not return does not hold up who asks, and
// what was left behind ends once it does.
func TestNoAnswer(t *testing.T) {
	running := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancelCause(t.Context())
	impatient := errors.New("asked for too long")
	release, left := make(chan bool), make(chan bool)
	gpus, err := within(ctx, func() ([]GPU, error) {
		defer close(left)
		cancel(impatient)
		<-release
		return make([]GPU, 1), nil
	})
	if !errors.Is(err, ErrNoAnswer) || !errors.Is(err, impatient) || gpus != nil {
		t.Error(gpus, err)
	}
	close(release)
	<-left
	goleak.VerifyNone(t, running)
}
