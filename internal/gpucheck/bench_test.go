package gpucheck

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cublaslt"
	driver "github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// bench launches kernels by themselves, on a context of its own. The test's goroutine
// is locked to its thread until close.
type bench struct {
	t      *testing.T
	d      *driver.Driver
	info   driver.DeviceInfo
	ctx    driver.Context
	stream driver.Stream
	start  driver.Event
	end    driver.Event
	mods   map[string]driver.Module
	held   []driver.DevicePtr
}

// check ends the test on an error.
func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func newBench(t *testing.T, back *cuda.Backend) *bench {
	t.Helper()
	runtime.LockOSThread()
	b := &bench{t: t, d: back.Driver, mods: map[string]driver.Module{}}
	var err error
	if b.d == nil {
		b.d, err = driver.Open("")
		b.check(err)
	}
	b.check(b.d.Init())
	b.info, err = b.d.DeviceInfo(0)
	b.check(err)
	b.ctx, err = b.d.DevicePrimaryCtxRetain(b.info.Device)
	b.check(err)
	b.check(b.d.CtxSetCurrent(b.ctx))
	b.stream, err = b.d.StreamCreate(0)
	b.check(err)
	b.start, err = b.d.EventCreate(true)
	b.check(err)
	b.end, err = b.d.EventCreate(true)
	b.check(err)
	return b
}

func (b *bench) close() {
	b.free()
	for _, m := range b.mods {
		b.check(b.d.ModuleUnload(m))
	}
	b.check(b.d.EventDestroy(b.start))
	b.check(b.d.EventDestroy(b.end))
	b.check(b.d.StreamDestroy(b.stream))
	b.check(b.d.DevicePrimaryCtxRelease(b.info.Device))
	b.check(b.d.CtxSetCurrent(0))
	runtime.UnlockOSThread()
}

// free gives back what alloc gave.
func (b *bench) free() {
	for _, p := range b.held {
		b.check(b.d.MemFree(p))
	}
	b.held = nil
}

// alloc returns device memory filled with a byte: 0x3c is 0.0115 in BF16 and F16
// alike, and a small number as an address's part never.
func (b *bench) alloc(bytes int, fill uint8) kernels.Ptr {
	b.t.Helper()
	p, err := b.d.MemAlloc(uint64(bytes))
	b.check(err)
	b.held = append(b.held, p)
	b.check(b.d.MemsetD8Async(p, fill, uint64(bytes), b.stream))
	return kernels.Ptr(p)
}

// put copies words to the device.
func put[T any](b *bench, v []T) kernels.Ptr {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
	p := b.alloc(len(bytes), 0)
	b.check(b.d.StreamSynchronize(b.stream))
	b.check(b.d.MemcpyHtoD(driver.DevicePtr(p), bytes))
	return p
}

// kernel returns what launches a kernel with p, a pointer to its parameters; nil if
// the GPU has too little shared memory for it.
func kernel[T any](b *bench, name string, p *T) func() error {
	k, ok := kernels.Lookup(name)
	if !ok {
		b.t.Fatal("no kernel ", name)
	}
	if int(k.Shared) > max(48<<10, b.info.SharedPerBlockBytes) {
		return nil
	}
	if b.mods[k.Module] == 0 {
		arch := "sm_80"
		if b.info.Major == 9 {
			arch = "sm_90a"
		}
		image, err := kernels.Cubin(k.Module, arch)
		b.check(err)
		b.mods[k.Module], err = b.d.ModuleLoadData(image)
		b.check(err)
	}
	fn, err := b.d.ModuleGetFunction(b.mods[k.Module], name)
	b.check(err)
	if k.Shared > 48<<10 {
		b.check(b.d.FuncSetAttribute(fn, driver.FuncMaxDynamicSharedBytes, int(k.Shared)))
	}
	grid := k.Grid(any(p).(kernels.Params))
	l := driver.Launch{Grid: driver.Dim{X: grid[0], Y: grid[1], Z: grid[2]}, Block: driver.Dim{X: k.Threads, Y: 1, Z: 1}, SharedBytes: k.Shared, Stream: b.stream}
	params := unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
	return func() error { return b.d.LaunchKernel(fn, l, params) }
}

// seconds returns the median time of one call of f on the device, of five groups of
// calls that last about a fiftieth of a second each.
func (b *bench) seconds(f func() error) float64 {
	b.t.Helper()
	group := func(n int) float64 {
		b.check(b.d.EventRecord(b.start, b.stream))
		for range n {
			b.check(f())
		}
		b.check(b.d.EventRecord(b.end, b.stream))
		b.check(b.d.EventSynchronize(b.end))
		ms, err := b.d.EventElapsedTime(b.start, b.end)
		b.check(err)
		return float64(ms) / 1000 / float64(n)
	}
	once := group(1)
	if !*onGPU {
		return once
	}
	n := max(1, min(1000, int(0.02/group(3))))
	var all []float64
	for range 5 {
		all = append(all, group(n))
	}
	slices.Sort(all)
	return all[2]
}

// bandwidth measures memory, and copies between host and device.
func (b *bench) bandwidth(r *report) {
	vocab, rows := 1<<20, 512 // 2 GiB, far beyond the cache
	if !*onGPU {
		vocab, rows = 1<<12, 4
	}
	bytes := vocab * rows * 4
	logits := b.alloc(bytes, 0x3c)
	top := &kernels.SampleParams{
		Logits: logits, Draws: put(b, make([]kernels.Draw, rows)), Top: b.alloc(4*rows, 0), Tokens: b.alloc(4*rows, 0), Sampled: b.alloc(4*rows, 0),
		Rows: uint32(rows), Vocab: uint32(vocab), Stride: uint32(vocab),
	}
	r.read = float64(bytes) / b.seconds(kernel(b, "sample_top", top))
	r.add("memory", "read (sample_top)", 0, "", r.read/1e9, "GB/s")
	half := bytes / 2
	r.add("memory", "copy, read and written (cuMemcpyDtoD)", 0, "", float64(bytes)/b.seconds(func() error {
		return b.d.MemcpyDtoDAsync(driver.DevicePtr(logits), driver.DevicePtr(logits)+driver.DevicePtr(half), uint64(half), b.stream)
	})/1e9, "GB/s")
	const block = 4 << 20 // of 8B
	pieces := half / block
	if pieces > 0 {
		src, dst := make([]uint64, pieces), make([]uint64, pieces)
		for i := range src {
			src[i], dst[i] = uint64(logits)+uint64(i*block), uint64(logits)+uint64(half+i*block)
		}
		c := &kernels.CopyParams{Src: put(b, src), Dst: put(b, dst), Bytes: block, Count: uint32(pieces)}
		r.add("blocks", "device to device (copy_blocks), read and written", 0, "", 2*float64(pieces*block)/b.seconds(kernel(b, "copy_blocks", c))/1e9, "GB/s")
	}
	host, err := b.d.MemHostAlloc(min(block, half), driver.HostPortable)
	b.check(err)
	r.add("blocks", "to the host, 4 MiB", 0, "", float64(len(host))/b.seconds(func() error { return b.d.MemcpyDtoHAsync(host, driver.DevicePtr(logits), b.stream) })/1e9, "GB/s")
	r.add("blocks", "from the host, 4 MiB", 0, "", float64(len(host))/b.seconds(func() error { return b.d.MemcpyHtoDAsync(driver.DevicePtr(logits), host, b.stream) })/1e9, "GB/s")
	b.check(b.d.MemFreeHost(host))
	b.free()
}

// linears measures layers of an 8B model: few rows by type, many beside cuBLASLt.
func (b *bench) linears(r *report, blas *cublaslt.Library) {
	n, k, many := 14336, 4096, 2048
	if !*onGPU {
		n, k, many = 64, 256, 64
	}
	x, y := b.alloc(2*many*k, 0x3c), b.alloc(4*many*n, 0)
	for _, t := range []string{"bf16", "q8_0", "q4_0", "q4_k"} {
		bytes := packedBytes(b.t, t, n, k)
		w := b.alloc(bytes, 0x3c)
		for _, rows := range []int{1, 8, 16, 64} {
			p := &kernels.LinearParams{W: w, X: x, Y: y, Rows: uint32(rows), N: uint32(n), K: uint32(k), XStride: uint32(k), YStride: uint32(n)}
			name := "linear_" + t + map[bool]string{true: "_8", false: "_64"}[rows <= 8]
			if rows == 16 {
				name = "linear_" + t + "_16"
			}
			f := kernel(b, name, p)
			if f == nil {
				continue
			}
			seconds := b.seconds(f)
			r.add(fmt.Sprintf("linear %d x %d", n, k), name, rows, "", float64(bytes)/seconds/1e9, "GB/s of weights")
			if r.read > 0 {
				r.add(fmt.Sprintf("linear %d x %d", n, k), name, rows, "", 100*float64(bytes)/seconds/r.read, "% of read bandwidth")
			}
		}
	}
	w := b.alloc(2*n*k, 0x3c)
	flops := 2 * float64(many) * float64(n) * float64(k)
	g := &kernels.GEMMParams{W: w, X: x, Y: y, Rows: uint32(many), N: uint32(n), K: uint32(k), XStride: uint32(k), YStride: uint32(n)}
	for _, name := range []string{"gemm_64x64", "gemm_128x256"} {
		if f := kernel(b, name, g); f != nil {
			r.add(fmt.Sprintf("GEMM %d x %d", n, k), name, many, "", flops/b.seconds(f)/1e12, "TFLOPS")
		}
	}
	if blas != nil {
		r.add(fmt.Sprintf("GEMM %d x %d", n, k), "cuBLASLt", many, "", flops/b.cublas(blas, w, x, y, n, k, many)/1e12, "TFLOPS")
	}
	b.free()
}

// cublas measures the same product by cuBLASLt.
func (b *bench) cublas(lib *cublaslt.Library, w, x, y kernels.Ptr, n, k, rows int) float64 {
	h, err := lib.Create()
	b.check(err)
	m, err := lib.NewMatmul(cublaslt.Problem{
		TransposeA: true,
		A:          cublaslt.Matrix{Type: cublaslt.BF16, Rows: uint64(k), Cols: uint64(n), LD: int64(k)},
		B:          cublaslt.Matrix{Type: cublaslt.BF16, Rows: uint64(k), Cols: uint64(rows), LD: int64(k)},
		D:          cublaslt.Matrix{Type: cublaslt.F32, Rows: uint64(n), Cols: uint64(rows), LD: int64(n)},
	})
	b.check(err)
	const workspace = 32 << 20
	a, err := m.Heuristic(h, cublaslt.Limits{WorkspaceBytes: workspace, AlignBytes: 16})
	b.check(err)
	o := cublaslt.Operands{A: driver.DevicePtr(w), B: driver.DevicePtr(x), C: driver.DevicePtr(y), D: driver.DevicePtr(y), Alpha: 1,
		Workspace: driver.DevicePtr(b.alloc(workspace, 0)), WorkspaceBytes: workspace}
	s := b.seconds(func() error { return m.Run(h, a, o, b.stream) })
	b.check(m.Close())
	b.check(lib.Destroy(h))
	return s
}

// attention measures an 8B layer's: single tokens over long contexts, and a prompt.
func (b *bench) attention(r *report) {
	const heads, kvHeads, dim = 32, 8, 128
	context, prompt, batches := 8192, 2048, []int{1, 8, 64}
	if !*onGPU {
		context, prompt, batches = 256, 64, []int{1}
	}
	stride := 2 * kvHeads * 32 * dim
	for _, batch := range batches {
		per := context / 32
		table, positions, rows := make([]int32, batch*per), make([]int32, batch), make([]int32, batch)
		for i := range table {
			table[i] = int32(i)
		}
		for i := range rows {
			positions[i], rows[i] = int32(context-1), int32(i)
		}
		chunks := context / kernels.Chunk
		p := &kernels.DecodeParams{Attention: kernels.Attention{
			Q: b.alloc(2*batch*heads*dim, 0x3c), Pool: b.alloc(2*stride*batch*per, 0x3c), Out: b.alloc(2*batch*heads*dim, 0), Table: put(b, table), Positions: put(b, positions),
			Rows: put(b, rows), BlockStride: uint64(stride), Heads: heads, KVHeads: kvHeads, TableStride: uint32(per), Scale: 0.1,
		}, Partial: b.alloc(4*kernels.PartialFloats(batch, heads, chunks, dim), 0), Tokens: uint32(batch), Chunks: uint32(chunks),
			Splits: uint32(max(1, min(chunks, 2*b.info.Multiprocessors/(kvHeads*batch))))}
		if f := kernel(b, "decode_bf16_128", p); f != nil {
			merge := kernel(b, "decode_merge_128", &kernels.MergeParams{DecodeParams: *p})
			seconds := b.seconds(func() error {
				if err := f(); err != nil {
					return err
				}
				return merge()
			})
			r.add("attention, 32/8 heads of 128", "decode", batch, "", float64(2*stride*batch*per)/seconds/1e9, "GB/s of cache")
		}
		b.free()
	}
	per := prompt / 32
	table, positions := make([]int32, per), make([]int32, prompt)
	for i := range table {
		table[i] = int32(i)
	}
	for i := range positions {
		positions[i] = int32(i)
	}
	p := &kernels.AttendParams{Attention: kernels.Attention{
		Q: b.alloc(2*prompt*heads*dim, 0x3c), Pool: b.alloc(2*stride*per, 0x3c), Out: b.alloc(2*prompt*heads*dim, 0), Table: put(b, table), Positions: put(b, positions),
		Rows: put(b, make([]int32, prompt)), BlockStride: uint64(stride), Heads: heads, KVHeads: kvHeads, TableStride: uint32(per), Scale: 0.1,
	}, Spans: put(b, []int32{0, int32(prompt)}), SpanCount: 1, SpanTokens: uint32(prompt)}
	if f := kernel(b, "attend_bf16_128", p); f != nil {
		flops := 2 * float64(prompt) * float64(prompt) * heads * dim // half of the square is masked
		r.add("attention, 32/8 heads of 128", "prefill", prompt, "", flops/b.seconds(f)/1e12, "TFLOPS")
	}
	b.free()
}

// packedBytes is the size of a packed matrix of a kernel's type.
func packedBytes(t *testing.T, kind string, n, k int) int {
	types := map[string]graph.DType{"bf16": graph.BF16, "q8_0": graph.Q8_0, "q4_0": graph.Q4_0, "q4_k": graph.Q4_K}
	bytes, err := kernels.PackedBytes(types[kind], n, k)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
