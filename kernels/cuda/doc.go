// Package cuda holds the kernels of NVIDIA GPUs: their CUDA C++ in src/, the images
// that NVRTC made of it, and all that a launcher needs to know: names, blocks,
// shared memory, parameters, the layout of packed weights.
//
//	image, err := cuda.Cubin("linear", "sm_90a") // for cuModuleLoadData
//	k, ok := cuda.Lookup("linear_q4_0_8")
//	p := cuda.LinearParams{…}
//	grid := k.Grid(&p) // launched with k.Threads, k.Shared and &p, the only parameter
//
// # Images
//
// The program kernels/cuda/build compiles each file of src/ for sm_80 and sm_90a, to
// a cubin, which a driver loads, and to PTX, which a driver compiles for an
// architecture that came later and which the tests' emulator runs. No header of
// CUDA is used, so the compiler's version is all that an image depends on.
// Images are compressed; `make generate-cuda` writes them, and a test compiles
// again and compares, byte for byte (make test-long).
//
// # Results
//
// A result depends on its own inputs only: not on the batch, the grid, or which
// other rows there are. No kernel adds floats in an order that can change; the only
// atomic operations are on integers. Kernels that compute the same thing in several
// shapes (the linear_* of a type; attend_* and decode_*; gemm_*) give the same
// bits. linear_bf16_* and gemm_* do not: they add along K in different orders.
//
// Linear layers take bf16 activations and exact weights: integers of a block are
// multiplied by tensor cores as bf16, which holds them, and scaled in float32.
// Attention rounds its weights to the cache's type before it multiplies values.
// Sampling is package sampler's definition to the last bit; nothing of it differs.
//
// # Limits
//
// Heads of 64, 128 and 256; a cache of f16 or bf16; weights in BF16, Q8_0, Q4_0 and
// Q4_K. None has run on a GPU yet: what tests show, they show in the emulator
// (internal/testkit/ptxemu), which knows nothing of time.
package cuda
