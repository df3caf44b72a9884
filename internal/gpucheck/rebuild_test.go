package gpucheck

import (
	"errors"
	"runtime"
	"testing"

	driver "github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// TestRebuild: a kernel that reads where nothing is takes the context from a program,
// which is rebuilt in the process: the same bits as before, in as much memory. Whether
// a driver lets go of such an error is what this is to tell of a GPU.
func TestRebuild(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	back, _ := backend(t, cudaemu.Options{})
	back.BatchInvariant = true
	r := devicetest.Open(t, back, c.Path, small(4, 16, 32, 4))
	logits := func() [][]float32 {
		r.Forget(0)
		return r.Launch(r.Input(1, false, devicetest.Part{Tokens: c.Tokens[:9]}))
	}
	want := logits()
	for range 2 {
		fault(t, newBench(t, back))
		r.Forget(0)
		if err := launched(r, c.Tokens[:1]); !errors.Is(err, device.ErrLost) {
			t.Fatal("after the fault:", err)
		}
		if err := r.Program.(device.Rebuilder).Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if !sameBits(logits(), want) {
			t.Error("rebuilt, other logits than before")
		}
	}
}

// fault loses the context for all that share it, and leaves it.
func fault(t *testing.T, b *bench) {
	t.Helper()
	bad := kernel(b, "copy_blocks", &kernels.CopyParams{Src: 256, Dst: 256, Bytes: 64, Count: 1})
	err := bad()
	if err == nil {
		err = b.d.StreamSynchronize(b.stream)
	}
	var code driver.Code
	if !errors.As(err, &code) || !code.ContextLost() {
		t.Fatalf("a kernel read address 256: %v", err)
	}
	b.check(b.d.CtxSetCurrent(0))
	b.check(b.d.DevicePrimaryCtxRelease(b.info.Device))
	runtime.UnlockOSThread()
}

// launched is a step's error, whenever it is told.
func launched(r *devicetest.Runner, tokens []int32) error {
	ticket, err := r.Program.Launch(r.Input(1, false, devicetest.Part{Tokens: tokens}))
	if err == nil {
		_, err = ticket.Wait()
	}
	return err
}
