// Package probe finds out what NVIDIA software and which GPUs a machine has, for
// doctor and for the choice of a device. Nothing that is missing is an error of
// its own: each library's entry says why it cannot be used and what to do.
//
//	libs := probe.Open(probe.Folders{})
//	for _, s := range libs.Software() { ... }
//	gpus, err := libs.GPUs(ctx) // err: why there are none that can be used
package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/nvml"
	"github.com/holdfast-run/holdfast/bindings/nvrtc"
)

// ErrNoAnswer is returned when a driver has been called and does not return.
var ErrNoAnswer = errors.New("the NVIDIA driver does not answer: see dmesg for NVRM messages, restart the machine if nvidia-smi hangs too")

// Folders says where to look; "" is the usual places.
type Folders struct {
	Driver  string // of libcuda and libnvidia-ml
	Toolkit string // of libnvrtc and libcublasLt
}

// Libraries holds what was found; nil is what was not, for the reason beside it.
type Libraries struct {
	CUDA     *cuda.Driver
	NVML     *nvml.Library
	NVRTC    *nvrtc.Compiler
	CuBLASLt *cublaslt.Library

	CUDAErr, NVMLErr, NVRTCErr, CuBLASLtErr error
}

// Open loads what there is. It touches no GPU.
func Open(f Folders) *Libraries {
	l := &Libraries{}
	l.CUDA, l.CUDAErr = cuda.Open(f.Driver)
	l.NVML, l.NVMLErr = nvml.Open(f.Driver)
	l.NVRTC, l.NVRTCErr = nvrtc.Open(f.Toolkit)
	l.CuBLASLt, l.CuBLASLtErr = cublaslt.Open(f.Toolkit)
	return l
}

// Software is a library as a person wants to see it.
type Software struct {
	Name    string // "libcuda"
	Purpose string // what it is needed for
	Path    string
	Version string
	Err     error // why it cannot be used, and what to do
}

// Software lists the libraries, the needed one first. It touches no GPU.
func (l *Libraries) Software() []Software {
	driver := Software{Name: "libcuda", Purpose: "the driver: needed to use a GPU", Err: l.CUDAErr}
	if l.CUDA != nil {
		v, err := l.CUDA.DriverGetVersion()
		driver.Path, driver.Err = l.CUDA.Path, err
		driver.Version = fmt.Sprintf("CUDA %d.%d", v/1000, v%1000/10)
	}
	management := Software{Name: "libnvidia-ml", Purpose: "readings of the GPUs", Err: l.NVMLErr}
	if l.NVML != nil {
		management.Path = l.NVML.Path
	}
	compiler := Software{Name: "libnvrtc", Purpose: "builds the kernels: for developers, no worker needs it", Err: l.NVRTCErr}
	if l.NVRTC != nil {
		compiler.Path = l.NVRTC.Path
		compiler.Version = fmt.Sprintf("%d.%d", l.NVRTC.Major, l.NVRTC.Minor)
	}
	products := Software{Name: "libcublasLt", Purpose: "faster prefill", Err: l.CuBLASLtErr}
	if l.CuBLASLt != nil {
		v := l.CuBLASLt.GetVersion()
		products.Path = l.CuBLASLt.Path
		products.Version = fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
	}
	return []Software{driver, management, compiler, products}
}

// GPU is what is known of a GPU that this process may use.
type GPU struct {
	cuda.DeviceInfo
	DriverVersion string // "580.95.05"; "" if unknown
	Readings
}

// GPUs starts the driver and returns the GPUs, by ordinal. A driver cannot be
// interrupted: when ctx ends first the error is ErrNoAnswer, and the call under
// way, with its thread, is left behind.
func (l *Libraries) GPUs(ctx context.Context) ([]GPU, error) {
	if l.CUDA == nil {
		return nil, l.CUDAErr
	}
	return within(ctx, l.gpus)
}

// within returns what f returns, or ErrNoAnswer when ctx ends first.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := f()
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w (%w)", ErrNoAnswer, context.Cause(ctx))
	}
}

func (l *Libraries) gpus() ([]GPU, error) {
	if err := l.CUDA.Init(); err != nil {
		return nil, err
	}
	n, err := l.CUDA.DeviceGetCount()
	if err != nil {
		return nil, err
	}
	readings := l.manage()
	defer readings.close()
	gpus := make([]GPU, n)
	for i := range gpus {
		info, err := l.CUDA.DeviceInfo(i)
		if err != nil {
			return nil, fmt.Errorf("GPU %d: %w", i, err)
		}
		gpus[i] = GPU{DeviceInfo: info, DriverVersion: readings.driverVersion(), Readings: readings.of(info.PCIBusID)}
	}
	return gpus, nil
}
