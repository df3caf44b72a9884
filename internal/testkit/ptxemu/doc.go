// Package ptxemu runs CUDA kernels on the CPU: an emulator of the PTX that
// NVRTC emits, for tests. It exists to find mistakes in kernels and in the code
// that launches them where there is no GPU.
//
//	mem := ptxemu.NewMemory(64 << 20)
//	x, err := mem.Alloc(4 * n)          // a device address
//	err = mem.Write(x, bytes)
//	mod, err := ptxemu.Load(mem, ptx)   // PTX text; *LoadError names what is unknown
//	params, err := mod.Pack("scale", x, int32(n), float32(0.5))
//	err = mod.Launch("scale", ptxemu.Config{
//		Grid: ptxemu.Dim3{X: 8}, Block: ptxemu.Dim3{X: 256}, Params: params, Seed: 1,
//	})                                  // *Fault says what, where, which thread
//	err = mem.Read(x, bytes)
//
// # What it checks
//
// Every access: bounds against the live allocations (addresses are never used
// twice), alignment, state space. Shared memory: a read of bytes that nobody
// wrote, a read before the cp.async that brings them is waited for, and races,
// that is two accesses of one byte by different threads, one a write, with no
// barrier between them (bar.sync, barrier.sync and bar.arrive between warps;
// those and bar.warp.sync inside one). Warps: mma, ldmatrix, shfl, vote and
// barriers that not all lanes of the mask reach. Blocks that never end. With
// Config.Unfinished: memory touched before griddepcontrol.wait. An opcode,
// modifier or type that the emulator does not know is an error of Load.
//
// # What it cannot see
//
// Time, occupancy, bank conflicts; races in global memory; a missing fence
// between blocks; mistakes of ptxas. Approximate instructions (ex2, rsqrt, sin,
// …) are computed in float64 and rounded once, which is closer than hardware;
// mma sums its products in float64 and rounds once. Kernels whose blocks wait
// for each other are not supported: a block runs to its end.
//
// # What is not there
//
// Instructions of sm_80 are, and of later ones elect, stmatrix, griddepcontrol and
// the conversions of 8-bit floats. wgmma, tensor maps, bulk copies and mbarrier,
// wmma, textures, clusters, indirect calls, recursion, printf, and rounding
// modes of f64 but to nearest are refused by Load.
//
// cudaemu, in the folder below, puts this behind the functions of the CUDA
// driver.
//
// # How it works
//
// Each instruction is compiled once to a closure over the 32 lanes of a warp.
// Registers are rows of 32 values; immediates and special registers are rows
// too, so that every operand is a row. Of the lanes that can run, those at the
// lowest instruction run first, which makes divergent lanes meet again. Warps
// of a block take turns, in random order and slices if Config.Seed is not 0;
// blocks run on all cores.
package ptxemu
