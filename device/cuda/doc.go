// Package cuda runs graphs on one NVIDIA GPU: the kernels of kernels/cuda, launched
// through the driver's API (bindings/cuda) from one thread that owns the context.
//
//	b := &cuda.Backend{}                  // the machine's driver and first GPU
//	plan, err := b.Plan(graph, file, o)   // touches no GPU
//	prog, err := b.Compile(ctx, graph, file, o)
//
// A graph becomes a list of operations (match.go), each one launch or two over
// buffers that have one role each; what the kernels do not cover is refused with an
// UnsupportedError before anything is loaded. Weights go to the device in the types
// that have kernels; the others become BF16, and the plan says so.
//
// # A step
//
// Launch writes the step's arrays to page-locked memory, has them copied, and
// launches: a step that only decodes is one CUDA graph, captured for each bucket of
// rows at start; any other is launched kernel by kernel. Sample sends what the tokens
// depend on and launches the sampler; the tokens stay on the device for the next step
// and are copied to the host besides. Two steps may be under way.
//
// # Batch invariance
//
// With Backend.BatchInvariant every linear layer uses the linear_* kernels, whose
// results depend on nothing but the row. Without it steps of many rows use matrix
// products that are faster, and that add in another order: the class says "fast".
//
// # Failures
//
// A fault on the GPU loses the context, and with it everything on the device. The
// error is device.ErrLost, at every later call too, until Rebuild has destroyed the
// context, made another and loaded the weights again. Other errors (a launch refused, memory) leave the program usable.
package cuda
