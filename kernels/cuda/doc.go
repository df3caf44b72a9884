// Package cuda holds the kernels of NVIDIA GPUs: their CUDA C++ in src/, the images
// that NVRTC made of it, and all that a launcher needs to know: names, blocks,
// shared memory, parameters, the layout of packed weights.
//
//	image, _ := cuda.Load("linear", "sm_90a") // for cuModuleLoadData
//	k, _ := cuda.Lookup("linear_q4_0_8")
//	grid, args := k.Grid(&p), &p             // p is a LinearParams
//
// # Images
//
// The program kernels/cuda/build compiles each file of src/ for sm_80 and sm_90a, to
// a cubin, which a driver loads, and to PTX, which a driver compiles for an
// architecture that came later and which the tests' emulator runs. No header of
// CUDA is used, so the compiler's version is all that an image depends on.
// Images are compressed; `make generate-cuda` writes them, and a test compiles
// again and compares, byte for byte.
//
// # Results
//
// A result depends on its own inputs only: not on the batch, the grid, or which
// other rows there are. No kernel adds floats in an order that can change; the only
// atomic operations are on integers. Kernels that compute the same thing in two
// shapes (linear_*_8 and linear_*_64; attend_* and decode_*; gemm_*) give the same
// bits. linear_* and gemm_* do not: they add along K in different orders.
package cuda
