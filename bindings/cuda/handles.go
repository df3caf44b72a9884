package cuda

// Handles of the driver. The zero value is none, or the driver's default.
type (
	// Device is a GPU: what DeviceGet returns for an ordinal.
	Device int32
	// Context holds a GPU's memory, modules and streams of this process.
	Context uintptr
	// Stream is an ordered queue of work; 0 is the legacy default stream.
	Stream uintptr
	// Event marks a point in a stream.
	Event uintptr
	// Module is a loaded image of kernels.
	Module uintptr
	// Function is a kernel of a module.
	Function uintptr
	// Graph is recorded work.
	Graph uintptr
	// GraphNode is one piece of work in a graph.
	GraphNode uintptr
	// GraphExec is a graph that can be launched.
	GraphExec uintptr
)

// DevicePtr is an address that the GPU can use. It is in one space with host
// addresses; the host can only use those that came from MemHostAlloc.
type DevicePtr uint64

// Dim is a number of blocks in a grid, or of threads in a block.
type Dim struct{ X, Y, Z uint32 }
