// Package cudaemu is an emulator of the CUDA driver for tests: one GPU like an
// H100, whose kernels run on the CPU by ptxemu. It stands behind the functions of
// bindings/cuda, which cannot tell.
//
//	emu := cudaemu.New(cudaemu.Options{MemoryBytes: 256 << 20, Seed: 1})
//	d, err := cuda.New(emu.Symbols())   // then as with a real driver
//	…
//	emu.Leaks()                         // what was not given back
//
// A process has one driver, so one Emulator answers at a time: the last made.
//
// # Images
//
// A module image is PTX text, or a cubin whose PTX was told with AddImage.
//
// # Order
//
// With Seed 0 every piece of work is done when it is queued. With another seed
// work waits in its stream, and which stream goes on is drawn whenever the
// host queues, asks or waits: a missing event or synchronisation shows as wrong
// data, for kernels and for copies, whose host memory is read and written when
// they run. A graph's nodes run in a random order that its edges allow. Nothing
// runs between calls, so a host that watches memory without calling waits for
// ever; give such tests Seed 0.
//
// # What it is strict about
//
// Calls from a thread without the context, handles of another kind or freed,
// addresses outside allocations, copies with Async from memory that is not
// page-locked, dynamic shared memory that was not opted in to, capture rules.
// A kernel's fault loses the context as on a GPU; Fault has the kernel and line.
//
// # Faults on purpose
//
// Inject makes the Nth call of a function fail with a code; a code that loses
// the context stays until DevicePrimaryCtxReset. Hang makes it block.
//
// # Other libraries
//
// BlasSymbols is cuBLASLt: products of column-major matrices in float64, rounded
// once, with layouts, alignment and workspace checked. NVMLSymbols is the
// management library of the same device.
//
// What a driver does beside (peer access, managed memory, virtual memory, pools,
// IPC, textures, cooperative launches) is not here. Attributes that describe
// machine code, such as registers, have made-up values.
package cudaemu
