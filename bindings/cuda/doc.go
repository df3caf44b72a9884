// Package cuda binds the CUDA driver (libcuda.so.1): devices, memory, streams,
// modules, launches and graphs, as thin typed calls. Method names are the
// driver's without "cu"; NVIDIA's reference of the driver API says what each
// does, the comments here what a caller in Go must add.
//
//	d, err := cuda.Open("")        // ErrNoDriver: there is none, and what to do
//	err = d.Init()                 // NoDevice and others: none that can be used
//	ctx, err := d.DevicePrimaryCtxRetain(0)
//
// A Driver is made from a table of functions (New), so an emulator can stand
// behind it.
//
// # Threads
//
// The current context belongs to the operating system's thread. The goroutine
// that calls CtxSetCurrent must have locked its thread before
// (runtime.LockOSThread), and make all calls that need the context: memory,
// streams, events, modules, launches, graphs. One such goroutine owns a GPU.
// Open, Init, and what asks about devices may be called from anywhere.
//
// # Memory
//
// Calls that return before the GPU has read or written host memory (names with
// Async) take page-locked memory only, from MemHostAlloc or MemHostRegister,
// and the caller keeps it until an event says that the work is done. Memory of
// the Go heap may be given to the others.
//
// # Cost
//
// A call costs a fraction of a microsecond over C and, if it succeeds and takes no
// string, allocates nothing.
package cuda
