package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/nvml"
	"github.com/holdfast-run/holdfast/bindings/probe"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
)

// TestDoctorNVIDIA: a machine with a GPU, one whose driver does not start, and one
// without anything.
func TestDoctorNVIDIA(t *testing.T) {
	said := func(libs *probe.Libraries) string {
		var b bytes.Buffer
		doctorNVIDIA(&b, libs)
		return b.String()
	}
	emu := cudaemu.New(cudaemu.Options{})
	libs := probe.Open(probe.Folders{Driver: t.TempDir(), Toolkit: t.TempDir()})
	got := said(libs)
	for _, want := range []string{"libcuda", "install NVIDIA's driver", "none without libcuda"} {
		if !strings.Contains(got, want) {
			t.Errorf("without a driver it does not say %q:\n%s", want, got)
		}
	}
	var err error
	if libs.CUDA, err = cuda.New(emu.Symbols()); err != nil {
		t.Fatal(err)
	}
	libs.CUDAErr = nil
	if libs.NVML, err = nvml.New(emu.NVMLSymbols()); err != nil {
		t.Fatal(err)
	}
	libs.NVMLErr = nil
	got = said(libs)
	for _, want := range []string{"CUDA 13.0", "GPU 0", "Emulated GPU", "compute capability 9.0: kernels are built in", "1.0 GiB", "0000:1b:00.0"} {
		if !strings.Contains(got, want) {
			t.Errorf("with a GPU it does not say %q:\n%s", want, got)
		}
	}
	emu = cudaemu.New(cudaemu.Options{})
	emu.Inject("cuInit", 1, cuda.NoDevice)
	if got := said(libs); !strings.Contains(got, "none: ") || !strings.Contains(got, "nvidia-smi") {
		t.Errorf("without a GPU:\n%s", got)
	}
}
