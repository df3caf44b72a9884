package cuda_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	driver "github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	"github.com/holdfast-run/holdfast/model"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/weights"
)

// load opens a tiny model's graph and weights.
func load(t *testing.T, name string) (*graph.Graph, *weights.File) {
	t.Helper()
	f, err := weights.Open(golden.TinyCase(t, name).Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	g, err := model.Build(f)
	if err != nil {
		t.Fatal(err)
	}
	return g, f
}

// TestPlanIsExact: what Compile allocates is what Plan counts, to the byte, and types
// without kernels are named.
func TestPlanIsExact(t *testing.T) {
	for _, name := range []string{"q4_k", "window", "bias-untied"} {
		for _, invariant := range []bool{true, false} {
			g, f := load(t, name)
			o := small(5, 33, 70, 7)
			if o.Window = g.Window(); o.Window > 0 {
				o.Blocks[device.Window] = 6
			}
			d, emu := cudatest.Start(t, cudaemu.Options{})
			b := &cuda.Backend{Driver: d, BatchInvariant: invariant, NoBLAS: true}
			plan, err := b.Plan(g, f, o)
			if err != nil {
				t.Fatal(err)
			}
			p, err := b.Compile(t.Context(), g, f, o)
			if err != nil {
				t.Fatal(err)
			}
			// The emulator counts the images' few constants too.
			if rest := emu.Memory().Used() - int(plan.Total()); rest < 0 || rest > 4096 {
				t.Errorf("%s: %d bytes are used, the plan has %d: %v", name, emu.Memory().Used(), plan.Total(), plan)
			}
			if text := fmt.Sprint(plan); name == "q4_k" && !strings.Contains(text, "weights of Q6_K, as BF16") {
				t.Errorf("the plan does not say what becomes BF16: %s", text)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if err := p.Close(); err != nil {
				t.Error("a second Close:", err)
			}
		}
	}
}

// TestCompileFails: whatever call fails, the error is typed and everything is given
// back.
func TestCompileFails(t *testing.T) {
	g, f := load(t, "bf16")
	o := small(4, 16, 32, 4)
	for symbol, max := range map[string]int{
		"cuMemAlloc_v2": 40, "cuMemHostAlloc": 12, "cuModuleLoadData": 7, "cuModuleGetFunction": 12, "cuStreamCreateWithPriority": 2, "cuEventCreate": 8,
		"cuMemcpyHtoDAsync_v2": 8, "cuLaunchKernel": 0, "cuLaunchKernelEx": 20, "cuGraphInstantiateWithFlags": 2, "cuStreamSynchronize": 1,
		"cuMemsetD8Async": 3, "cuGraphUpload": 1, "cuFuncSetAttribute": 3, "cuMemGetInfo_v2": 1, "cuDevicePrimaryCtxRetain": 1, "cuCtxSetCurrent": 1,
	} {
		for n := 1; n <= max; n += 1 + max/4 {
			for _, code := range []driver.Code{driver.OutOfMemory, driver.LaunchFailed} {
				d, emu := cudatest.Start(t, cudaemu.Options{})
				emu.Inject(symbol, n, code)
				p, err := (&cuda.Backend{Driver: d, BatchInvariant: true}).Compile(t.Context(), g, f, o)
				if err == nil {
					t.Errorf("call %d of %s gave %v and Compile nothing", n, symbol, code)
					p.Close()
					continue
				}
				if !errors.Is(err, code) {
					t.Errorf("call %d of %s gave %v and Compile %v", n, symbol, code, err)
				}
				if symbol == "cuMemAlloc_v2" && code == driver.OutOfMemory && !errors.Is(err, device.ErrNoMemory) {
					t.Errorf("no memory: %v", err)
				}
				if left := emu.Leaks(); len(left) > 0 {
					t.Fatalf("call %d of %s gave %v: left on the GPU: %v", n, symbol, code, left)
				}
			}
		}
	}
}

// TestTooLittleMemory: refused before anything is allocated, with the sizes.
func TestTooLittleMemory(t *testing.T) {
	g, f := load(t, "q8_0")
	d, emu := cudatest.Start(t, cudaemu.Options{MemoryBytes: 1 << 20})
	_, err := (&cuda.Backend{Driver: d, BatchInvariant: true}).Compile(t.Context(), g, f, small(16, 64, 512, 64))
	if !errors.Is(err, device.ErrNoMemory) || !strings.Contains(err.Error(), "MiB") || emu.Calls("cuMemAlloc_v2") != 0 {
		t.Errorf("%v after %d allocations", err, emu.Calls("cuMemAlloc_v2"))
	}
}

// step runs one step of a row of each of the sequences.
func step(r *devicetest.Runner, in *device.StepInput) (*device.Output, error) {
	ticket, err := r.Program.Launch(in)
	if err != nil {
		return nil, err
	}
	late := &sampler.Late{}
	for range in.Logits {
		late.Rows = append(late.Rows, sampler.Row{Params: sampler.Params{TopP: 1}})
	}
	if ticket, err = r.Program.Sample(ticket, late); err != nil {
		return nil, err
	}
	return ticket.Wait()
}

// TestLostContext: after a fault every call says device.ErrLost and none gives tokens.
// Rebuilt, the program has the memory that it had, empty blocks, and does the same as
// before; Close gives everything back, of a program that was not rebuilt too.
func TestLostContext(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	var want []int32
	for i, fault := range []struct {
		symbol string
		n      int
		code   driver.Code
	}{
		{"cuGraphLaunch", 1, driver.IllegalAddress}, {"cuEventSynchronize", 2, driver.LaunchFailed}, {"cuMemcpyHtoDAsync_v2", 3, driver.ECCUncorrectable},
		{"cuMemcpyDtoHAsync_v2", 2, driver.LaunchTimeout}, {"cuLaunchKernelEx", 1, driver.MisalignedAddress}, {"cuEventRecord", 2, driver.Unknown},
	} {
		t.Run(fmt.Sprint(fault.symbol, "/", int(fault.code)), func(t *testing.T) {
			d, emu := cudatest.Start(t, cudaemu.Options{Seed: uint64(i)})
			b := &cuda.Backend{Driver: d, BatchInvariant: i != 2, BLAS: cudatest.BLAS(t, emu)}
			r := devicetest.Open(t, b, c.Path, small(4, 16, 32, 4))
			memory, before := emu.Memory().Used(), emu.Leaks()
			emu.Inject(fault.symbol, fault.n, fault.code)
			_, err := greedily(r, c.Tokens[:3])
			var typed *cuda.Error
			if !errors.Is(err, device.ErrLost) || !errors.Is(err, fault.code) || !errors.As(err, &typed) || typed.Kernel == "" {
				t.Errorf("%s gave %v: %v", fault.symbol, fault.code, err)
			}
			allLost(t, r, c.Tokens[:1])
			if i%2 == 1 {
				return // closed as it is
			}
			pool := r.Program.Pool(device.Full)
			sent := false
			if err := r.Program.(device.Rebuilder).Rebuild(t.Context(), func(done, total int64) { sent = sent || done > 0 && done <= total }); err != nil {
				t.Fatal(err)
			}
			if left := emu.Leaks(); fmt.Sprint(left) != fmt.Sprint(before) || emu.Memory().Used() != memory {
				t.Errorf("rebuilt: %v in %d bytes, before %v in %d", left, emu.Memory().Used(), before, memory)
			}
			if r.Program.Pool(device.Full) != pool || !sent {
				t.Error("another pool, or no progress")
			}
			r.Forget(0)
			host := make([]byte, pool.BlockBytes())
			if ticket, err := pool.Save(0, host); err != nil {
				t.Error(err)
			} else if _, err = ticket.Wait(); err != nil || slices.ContainsFunc(host, func(b byte) bool { return b != 0 }) {
				t.Errorf("a block of a new pool is not empty: %v", err)
			}
			got, err := greedily(r, c.Tokens[:3])
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("anew: tokens %v, want %v", got, want)
			}
		})
	}
}

// greedily feeds a sequence token by token, and returns what comes after each.
func greedily(r *devicetest.Runner, tokens []int32) (drawn []int32, err error) {
	for i := range tokens {
		out, err := step(r, r.Input(1, false, devicetest.Part{Tokens: tokens[i : i+1]}))
		if err != nil {
			return drawn, err
		}
		drawn = append(drawn, out.Tokens...)
	}
	return drawn, nil
}

// allLost fails the test if anything that a program can be asked for does not say that
// it is lost.
func allLost(t *testing.T, r *devicetest.Runner, tokens []int32) {
	t.Helper()
	pool := r.Program.Pool(device.Full)
	host := make([]byte, pool.BlockBytes())
	_, again := step(r, r.Input(1, false, devicetest.Part{Tokens: tokens}))
	_, saved := pool.Save(0, host)
	_, copied := pool.Copy(0, 1)
	_, loaded := pool.Load(host, 1)
	for _, err := range []error{again, saved, copied, loaded} {
		if !errors.Is(err, device.ErrLost) {
			t.Errorf("after the loss: %v", err)
		}
	}
}

// TestRebuildFails: whatever call fails, nothing is left on the device and the program
// is lost as before. What takes the context says so; the next Rebuild works.
func TestRebuildFails(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	d, emu := cudatest.Start(t, cudaemu.Options{})
	r := devicetest.Open(t, &cuda.Backend{Driver: d, BatchInvariant: true}, c.Path, small(4, 16, 32, 4))
	want, err := greedily(r, c.Tokens[:2])
	if err != nil {
		t.Fatal(err)
	}
	memory := emu.Memory().Used()
	emu.Inject("cuEventSynchronize", 1, driver.IllegalAddress)
	if _, err := greedily(r, c.Tokens[:1]); !errors.Is(err, device.ErrLost) {
		t.Fatal(err)
	}
	rebuild := r.Program.(device.Rebuilder).Rebuild
	holds := 1 // contexts that the program holds: the lost one
	for _, symbol := range []string{"cuDevicePrimaryCtxRetain", "cuMemAlloc_v2", "cuMemHostAlloc", "cuModuleLoadData", "cuMemcpyHtoDAsync_v2", "cuEventCreate", "cuGraphInstantiateWithFlags"} {
		for _, code := range []driver.Code{driver.OutOfMemory, driver.LaunchFailed} {
			if symbol != "cuDevicePrimaryCtxRetain" {
				holds++
			}
			released := emu.Calls("cuDevicePrimaryCtxRelease_v2")
			emu.Inject(symbol, 1, code)
			err := rebuild(t.Context(), nil)
			lost := code.ContextLost() && symbol != "cuDevicePrimaryCtxRetain" // when there was none yet
			if !errors.Is(err, code) || errors.Is(err, device.ErrLost) != lost {
				t.Errorf("%s gave %v: %v", symbol, code, err)
			}
			if symbol == "cuMemAlloc_v2" && !lost && !errors.Is(err, device.ErrNoMemory) {
				t.Errorf("no memory: %v", err)
			}
			if emu.Memory() != nil || len(emu.Leaks()) > 0 {
				t.Fatalf("%s gave %v: left on the GPU: %v", symbol, code, emu.Leaks())
			}
			if n := emu.Calls("cuDevicePrimaryCtxRelease_v2") - released; n != holds {
				t.Errorf("%s gave %v: %d releases of %d contexts", symbol, code, n, holds)
			}
			holds = 0
			allLost(t, r, c.Tokens[:1])
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rebuild(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	r.Forget(0)
	if got, err := greedily(r, c.Tokens[:2]); err != nil || !slices.Equal(got, want) || emu.Memory().Used() != memory {
		t.Errorf("rebuilt: tokens %v, want %v, %d bytes for %d: %v", got, want, emu.Memory().Used(), memory, err)
	}
}

// TestKernelFault: a kernel that reads where nothing is loses the context, and with
// Synchronous the error names it.
func TestKernelFault(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	for _, synchronous := range []bool{false, true} {
		t.Run(fmt.Sprint("synchronous ", synchronous), func(t *testing.T) {
			d, emu := cudatest.Start(t, cudaemu.Options{})
			r := devicetest.Open(t, &cuda.Backend{Driver: d, BatchInvariant: true, Synchronous: synchronous}, c.Path, small(4, 16, 32, 4))
			in := r.Input(1, false, devicetest.Part{Tokens: c.Tokens[:3]})
			emu.Inject("cuLaunchKernelEx", 3, driver.IllegalAddress)
			_, err := step(r, in)
			var typed *cuda.Error
			if !errors.As(err, &typed) || !errors.Is(err, device.ErrLost) {
				t.Fatal(err)
			}
			if typed.Kernel != "linear_bf16_8" {
				t.Errorf("the error names %q", typed.Kernel)
			}
		})
	}
}

// TestHang: a call that does not return holds up its caller, and nobody else; when
// it does return, everything goes on.
func TestHang(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	d, emu := cudatest.Start(t, cudaemu.Options{})
	r := devicetest.Open(t, &cuda.Backend{Driver: d, BatchInvariant: true}, c.Path, small(4, 16, 32, 4))
	release := emu.Hang("cuEventSynchronize", 1)
	in := r.Input(1, false, devicetest.Part{Tokens: c.Tokens[:1]})
	done := make(chan error)
	go func() {
		_, err := step(r, in)
		done <- err
	}()
	for emu.Calls("cuEventSynchronize") == 0 {
		select {
		case err := <-done:
			t.Fatal("the step ended without the call:", err)
		default:
		}
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRefuses: what no kernel does is said before anything is loaded, with what to
// do.
func TestRefuses(t *testing.T) {
	g, f := load(t, "bf16")
	var unsupported *cuda.UnsupportedError
	o := small(4, 16, 32, 4)
	for _, kv := range []graph.DType{graph.F32, graph.Q8_0} {
		o.KV = kv
		if _, err := (&cuda.Backend{}).Plan(g, f, o); !errors.As(err, &unsupported) || !strings.Contains(err.Error(), kv.String()) || !strings.Contains(err.Error(), "--device cpu") {
			t.Errorf("a cache of %v: %v", kv, err)
		}
	}
	type build func(b *graph.Builder) graph.Value
	const table, vocab, dim = "token_embd.weight", 35, 256
	for name, c := range map[string]build{
		"a sum of norms": func(b *graph.Builder) graph.Value {
			x := b.Embed(table, vocab, dim)
			n := b.Norm(x, "output_norm.weight", 1e-5)
			return b.Linear(b.Norm(b.Gather(b.Add(n, n)), "output_norm.weight", 1e-5), table, vocab, "")
		},
		"logits without a norm": func(b *graph.Builder) graph.Value {
			return b.Linear(b.Gather(b.Embed(table, vocab, dim)), table, vocab, "")
		},
		"two norms at once": func(b *graph.Builder) graph.Value {
			x := b.Embed(table, vocab, dim)
			n := b.Norm(x, "output_norm.weight", 1e-5)
			b.Norm(x, "output_norm.weight", 1e-6)
			x = b.Add(x, b.Linear(n, "blk.0.attn_q.weight", dim, ""))
			return b.Linear(b.Norm(b.Gather(x), "output_norm.weight", 1e-5), table, vocab, "")
		},
		"the stream used after a sum": func(b *graph.Builder) graph.Value {
			x := b.Embed(table, vocab, dim)
			y := b.Add(x, b.Linear(b.Norm(x, "output_norm.weight", 1e-5), "blk.0.attn_q.weight", dim, ""))
			y = b.Add(y, x)
			return b.Linear(b.Norm(b.Gather(y), "output_norm.weight", 1e-5), table, vocab, "")
		},
	} {
		var b graph.Builder
		bad, err := b.Build(c(&b), 32)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := (&cuda.Backend{}).Plan(bad, f, small(4, 16, 32, 4)); !errors.As(err, &unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStaleTicket: the logits of a launch are there until the next one.
func TestStaleTicket(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	d, _ := cudatest.Start(t, cudaemu.Options{})
	r := devicetest.Open(t, &cuda.Backend{Driver: d, BatchInvariant: true}, c.Path, small(4, 16, 32, 4))
	late := &sampler.Late{Rows: []sampler.Row{{Params: sampler.Params{TopP: 1}}}}
	first, err := r.Program.Launch(r.Input(1, false, devicetest.Part{Tokens: c.Tokens[:1]}))
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Program.Launch(r.Input(1, false, devicetest.Part{Tokens: c.Tokens[1:2]}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Program.Sample(first, late); err == nil {
		t.Error("sampled from the logits of another launch")
	}
	if _, err := r.Program.Sample(second, &sampler.Late{}); err == nil {
		t.Error("sampled no row of one")
	}
	if _, err := r.Program.Sample(second, late); err != nil {
		t.Error(err)
	}
}

// TestNoDriver: where there is none the error says what to do.
func TestNoDriver(t *testing.T) {
	d, emu := cudatest.Start(t, cudaemu.Options{})
	emu.Inject("cuInit", 1, driver.NoDevice)
	if _, err := (&cuda.Backend{Driver: d}).Memory(); !errors.Is(err, cuda.ErrUnusable) || !strings.Contains(err.Error(), "nvidia-smi") {
		t.Error(err)
	}
	free, err := (&cuda.Backend{Driver: d}).Memory()
	if err != nil || free != 1<<30 {
		t.Error(free, err)
	}
}
