//go:build !race

package cuda

import (
	"testing"

	"github.com/ebitengine/purego"
	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// inert is a driver whose every function is a C function that does nothing and
// returns success as long as its first two arguments differ: callbacks into Go
// allocate by themselves.
func inert(tb testing.TB) *Driver {
	tb.Helper()
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, "pthread_equal")
	if err != nil {
		tb.Fatal(err)
	}
	s := dynload.Symbols{}
	for _, f := range funcs {
		s[f.Symbol] = address
	}
	return &Driver{fn: s.Addresses(funcs)}
}

// TestHotPathAllocatesNothing pins what a step does: launches, copies, events.
func TestHotPathAllocatesNothing(t *testing.T) {
	d := inert(t)
	host, params := make([]byte, 64), make([]byte, 96)
	dsts, srcs, sizes := make([]DevicePtr, 4), make([]DevicePtr, 4), make([]uint64, 4)
	for name, f := range map[string]func() error{
		"LaunchKernel": func() error {
			return d.LaunchKernel(7, Launch{Grid: Dim{1, 1, 1}, Block: Dim{256, 1, 1}, Stream: 9}, params)
		},
		"LaunchKernel, programmatic": func() error {
			return d.LaunchKernel(7, Launch{Grid: Dim{1, 1, 1}, Stream: 9, Programmatic: true}, params)
		},
		"GraphLaunch":      func() error { return d.GraphLaunch(7, 9) },
		"MemcpyHtoDAsync":  func() error { return d.MemcpyHtoDAsync(7, host, 9) },
		"MemcpyDtoHAsync":  func() error { return d.MemcpyDtoHAsync(host, 7, 9) },
		"MemcpyDtoDAsync":  func() error { return d.MemcpyDtoDAsync(7, 8, 64, 9) },
		"MemcpyBatchAsync": func() error { return d.MemcpyBatchAsync(dsts, srcs, sizes, AccessStream, 9) },
		"MemsetD32Async":   func() error { return d.MemsetD32Async(7, 0, 64, 9) },
		"EventRecord":      func() error { return d.EventRecord(7, 9) },
		"StreamWaitEvent":  func() error { return d.StreamWaitEvent(7, 9) },
		"EventQuery":       func() error { _, err := d.EventQuery(7); return err },
		"MemAlloc":         func() error { _, err := d.MemAlloc(64); return err },
	} {
		if err := f(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(200, func() { _ = f() }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkLaunchKernel(b *testing.B) {
	d := inert(b)
	params := make([]byte, 96)
	b.ReportAllocs()
	for b.Loop() {
		_ = d.LaunchKernel(7, Launch{Grid: Dim{1, 1, 1}, Block: Dim{256, 1, 1}, Stream: 9}, params)
	}
}

func BenchmarkLaunchKernelProgrammatic(b *testing.B) {
	d := inert(b)
	params := make([]byte, 96)
	b.ReportAllocs()
	for b.Loop() {
		_ = d.LaunchKernel(7, Launch{Grid: Dim{1, 1, 1}, Stream: 9, Programmatic: true}, params)
	}
}

func BenchmarkGraphLaunch(b *testing.B) {
	d := inert(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = d.GraphLaunch(7, 9)
	}
}

func BenchmarkEventQuery(b *testing.B) {
	d := inert(b)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = d.EventQuery(7)
	}
}
