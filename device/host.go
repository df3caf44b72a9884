package device

// HostAllocator is a Program that has host memory which Save and Load reach without a
// copy in between: page-locked, for a GPU.
type HostAllocator interface {
	Program
	// HostMemory returns n bytes of it, off the Go heap; it may be called once. They
	// are valid until Close, and stay so over a Rebuild. A Load from there reads them
	// until its ticket is done: until then only a Save may be asked to write them.
	HostMemory(n int) ([]byte, error)
}
