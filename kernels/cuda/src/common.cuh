// What all kernels share: 16-bit floats without NVIDIA's headers, 16-byte
// copies, mma.sync, and reductions of fixed order.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#include "params.cuh"

// KERNEL declares a kernel of the given number of threads. Its one parameter
// stays in constant memory.
#define KERNEL(name, threads, Params) \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p)

// KERNEL_ALONE declares one of which an SM need not hold two blocks, so that a
// thread may use more registers.
#define KERNEL_ALONE(name, threads, Params) \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Params p)

// DYNAMIC_SHARED states, in the image, how many bytes of dynamic shared memory a
// kernel must be launched with. A test compares it with the table of kernels.
#define DYNAMIC_SHARED(name, bytes) extern "C" __constant__ const u32 name##_shared = (bytes)

// Programmatic dependent launch: waitForPrevious returns once all of the kernels
// before have finished and their writes are visible; letNextStart allows the next
// one to be set up meanwhile. Every thread of every kernel waits, even one that
// has nothing to do: the next kernel counts on this one's end meaning the end
// of all before it.
__device__ __forceinline__ void waitForPrevious() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void letNextStart() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// ---- 16-bit floats, in pairs: the lower half is the element at the lower address.

__device__ __forceinline__ float halfToFloat(u16 h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

struct BF16 {
    static __device__ __forceinline__ u32 pack(float lo, float hi) {
        u32 d;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
        return d;
    }
    static __device__ __forceinline__ float lo(u32 v) { return __uint_as_float(v << 16); }
    static __device__ __forceinline__ float hi(u32 v) { return __uint_as_float(v & 0xffff0000u); }
    // mma is c += a · b of 16x16 by 16x8, in the fragment layout of the PTX ISA.
    static __device__ __forceinline__ void mma(float c[4], const u32 a[4], u32 b0, u32 b1) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

struct F16 {
    static __device__ __forceinline__ u32 pack(float lo, float hi) {
        u32 d;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
        return d;
    }
    static __device__ __forceinline__ float lo(u32 v) { return halfToFloat(u16(v)); }
    static __device__ __forceinline__ float hi(u32 v) { return halfToFloat(u16(v >> 16)); }
    static __device__ __forceinline__ void mma(float c[4], const u32 a[4], u32 b0, u32 b1) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
};

// load4 reads four consecutive floats, stored as f32 or as bf16.
__device__ __forceinline__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ __forceinline__ float4 load4(const u16* p) {
    uint2 v = *reinterpret_cast<const uint2*>(p);
    return make_float4(BF16::lo(v.x), BF16::hi(v.x), BF16::lo(v.y), BF16::hi(v.y));
}

// load2 reads two.
__device__ __forceinline__ float2 load2(const float* p) { return *reinterpret_cast<const float2*>(p); }
__device__ __forceinline__ float2 load2(const u16* p) {
    u32 v = *reinterpret_cast<const u32*>(p);
    return make_float2(BF16::lo(v), BF16::hi(v));
}

// store4 writes four floats as bf16.
__device__ __forceinline__ void store4(u16* p, float4 v) {
    *reinterpret_cast<uint2*>(p) = make_uint2(BF16::pack(v.x, v.y), BF16::pack(v.z, v.w));
}

// ---- Copies and tiles.

__device__ __forceinline__ u32 sharedAddress(const void* p) { return u32(__cvta_generic_to_shared(p)); }

// copy16 starts a copy of 16 bytes to shared memory; with real false it writes
// zeros and reads nothing.
__device__ __forceinline__ void copy16(void* shared, const void* global, bool real = true) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(sharedAddress(shared)), "l"(global), "r"(real ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// waitForCopies waits until at most the last n committed groups are under way.
template <int n>
__device__ __forceinline__ void waitForCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

// loadMatrices reads four 8x8 matrices of 16-bit elements; lane 8i+r names row r of
// matrix i.
__device__ __forceinline__ void loadMatrices(u32 d[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(sharedAddress(row))
                 : "memory");
}
__device__ __forceinline__ void loadMatricesTransposed(u32 d[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(sharedAddress(row))
                 : "memory");
}

// swizzled returns where element (row, column) of a tile lies, rows being `columns`
// elements of 16 bits. The 16-byte pieces of a row change places by the row, so
// that the eight rows of a matrix fall on different banks.
template <int columns>
__device__ __forceinline__ u16* swizzled(u16* tile, int row, int column) {
    static_assert(columns == 32 || columns % 64 == 0, "columns");
    const int turn = columns == 32 ? row >> 1 & 3 : row & 7;
    return tile + row * columns + (((column >> 3) ^ turn) << 3) + (column & 7);
}

// ---- Arithmetic.

__device__ __forceinline__ float minusInfinity() { return __int_as_float(0xff800000); }

// exp2Approx is 2^x within two units in the last place; 0 for -Inf.
__device__ __forceinline__ float exp2Approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// tanhExact is tanh(x) to a few units of 2^-24, unlike tanh.approx.
__device__ __forceinline__ float tanhExact(float x) {
    return 1.f - 2.f * __frcp_rn(1.f + exp2Approx(x * 2.885390082f));
}

// ---- Reductions of fixed order: butterflies in the warp, then warps ascending.

__device__ __forceinline__ float warpSum(float x) {
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(~0u, x, i);
    return x;
}

// blockSum returns the sum over the block to every thread. scratch has a float for
// each warp and may be used again after the next __syncthreads.
template <int warps>
__device__ __forceinline__ float blockSum(float x, float* scratch) {
    x = warpSum(x);
    if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = x;
    __syncthreads();
    float sum = scratch[0];
#pragma unroll
    for (int w = 1; w < warps; w++) sum += scratch[w];
    return sum;
}
