// Norms, gated activations, soft caps, RoPE with the write to the cache, and block
// copies.
#include "common.cuh"

// addDelta returns four elements of the residual stream with what is to be added.
template <class Delta>
__device__ __forceinline__ float4 withDelta(float4 x, const void* delta, u64 at) {
    float4 d = load4(static_cast<const Delta*>(delta) + at);
    return make_float4(x.x + d.x, x.y + d.y, x.z + d.z, x.w + d.w);
}

// scaledBy returns elements times r, the inverse root of their mean square, and
// times a norm's weights.
__device__ __forceinline__ float4 scaledBy(float4 x, float r, float4 w) {
    return make_float4(x.x * r * w.x, x.y * r * w.y, x.z * r * w.z, x.w * r * w.w);
}
__device__ __forceinline__ float2 scaledBy(float2 x, float r, float2 w) { return make_float2(x.x * r * w.x, x.y * r * w.y); }

// squares adds the squares of four elements to a sum.
__device__ __forceinline__ float squares(float4 v, float sum) {
    sum = __fmaf_rn(v.x, v.x, sum);
    sum = __fmaf_rn(v.y, v.y, sum);
    sum = __fmaf_rn(v.z, v.z, sum);
    return __fmaf_rn(v.w, v.w, sum);
}

// inverseRoot is of a mean square.
__device__ __forceinline__ float inverseRoot(float sum, u32 n, float eps) { return __frcp_rn(__fsqrt_rn(sum / float(n) + eps)); }

// A block norms a row, which it reads twice, the second time from the cache. Thread
// t takes elements 4t, 4t+1, ... of every 1024, so that the order of the sum
// depends on the row's length only.
template <class Delta>
__device__ __forceinline__ void norm(const NormParams& p) {
    constexpr int threads = 256;
    __shared__ float scratch[threads / 32];
    waitForPrevious();
    letNextStart();
    float* x = p.x + u64(blockIdx.x) * p.dim;
    const u64 row = u64(blockIdx.x) * p.dim;

    float sum = 0;
    for (u32 i = threadIdx.x * 4; i < p.dim; i += threads * 4) {
        float4 v = load4(x + i);
        if (p.delta) {
            v = withDelta<Delta>(v, p.delta, row + i);
            *reinterpret_cast<float4*>(x + i) = v; // read again by this thread only
        }
        sum = squares(v, sum);
    }
    sum = blockSum<threads / 32>(sum, scratch);
    const float r = inverseRoot(sum, p.dim, p.eps);

    for (u32 i = threadIdx.x * 4; i < p.dim; i += threads * 4) {
        const float4 v = scaledBy(load4(x + i), r, load4(p.weight + i));
        if (p.out) store4(p.out + row + i, v);
        if (p.out32) *reinterpret_cast<float4*>(p.out32 + row + i) = v;
        if (p.sum) {
            float4* sum = reinterpret_cast<float4*>(p.sum + row + i);
            const float4 s = *sum;
            *sum = make_float4(__fadd_rn(s.x, v.x), __fadd_rn(s.y, v.y), __fadd_rn(s.z, v.z), __fadd_rn(s.w, v.w));
        }
    }
}

KERNEL(norm_f32, 256, NormParams) { norm<float>(p); }
KERNEL(norm_bf16, 256, NormParams) { norm<u16>(p); }

__device__ __forceinline__ float silu(float x) { return x * __frcp_rn(1.f + exp2Approx(x * -1.442695041f)); }

// gelu is the tanh form: x/2 · (1 + tanh(sqrt(2/pi) · (x + 0.044715 x³))), which is
// x times the logistic function of twice that.
__device__ __forceinline__ float gelu(float x) {
    const float u = 0.7978845608f * x * (1.f + 0.044715f * x * x);
    return x * __frcp_rn(1.f + exp2Approx(u * -2.885390082f));
}

template <class T, float (*f)(float)>
__device__ __forceinline__ void gate(const GateParams& p) {
    waitForPrevious();
    letNextStart();
    const u32 i = (blockIdx.x * 256 + threadIdx.x) * 4;
    if (i >= p.dim) return;
    const u64 at = u64(blockIdx.y) * p.stride + i;
    float4 g = load4(static_cast<const T*>(p.gate) + at), u = load4(static_cast<const T*>(p.up) + at);
    store4(p.out + u64(blockIdx.y) * p.dim + i, make_float4(f(g.x) * u.x, f(g.y) * u.y, f(g.z) * u.z, f(g.w) * u.w));
}

KERNEL(silu_gate_f32, 256, GateParams) { gate<float, silu>(p); }
KERNEL(silu_gate_bf16, 256, GateParams) { gate<u16, silu>(p); }
KERNEL(gelu_gate_f32, 256, GateParams) { gate<float, gelu>(p); }
KERNEL(gelu_gate_bf16, 256, GateParams) { gate<u16, gelu>(p); }

// A thread takes an element: rows may be of any length.
KERNEL(soft_cap_f32, 256, SoftCapParams) {
    waitForPrevious();
    letNextStart();
    const u32 i = blockIdx.x * 256 + threadIdx.x;
    if (i >= p.dim) return;
    float* x = p.x + u64(blockIdx.y) * p.stride + i;
    *x = p.cap * tanhExact(*x / p.cap);
}

// ---- RoPE

// turned is a pair of elements turned by an angle.
__device__ __forceinline__ float2 turned(float a, float b, float2 angle) {
    return make_float2(__fmaf_rn(a, angle.x, -(b * angle.y)), __fmaf_rn(b, angle.x, a * angle.y));
}

// A block takes a token: the angles of its position, the sizes of heads that have a
// norm, a warp each, then every head. A thread works on two neighbouring pairs, or
// on four elements that are not turned.
template <class T, class KV>
__device__ __forceinline__ void rope(const RoPEParams& p) {
    __shared__ float2 angles[256]; // cos, sin
    __shared__ float roots[maxNormedHeads];
    waitForPrevious();
    letNextStart();
    const i32 position = p.positions[blockIdx.x];
    if (position < 0) return;

    // cos and sin of position · frequency by the sum of two angles from tables in
    // float64, rounded once: as good as computed, without large arguments.
    for (u32 i = threadIdx.x; i < p.pairs; i += 256) {
        const double2 a = reinterpret_cast<const double2*>(p.coarse)[u64(position >> 8) * p.pairs + i];
        const double2 b = reinterpret_cast<const double2*>(p.fine)[u64(position & 255) * p.pairs + i];
        angles[i] = make_float2(float(a.x * b.x - a.y * b.y), float(a.y * b.x + a.x * b.y));
    }
    const T* in = static_cast<const T*>(p.qkv) + u64(blockIdx.x) * p.stride;
    if (p.qNorm) {
        for (u32 head = threadIdx.x / 32; head < p.heads + p.kvHeads; head += 8) {
            float sum = 0;
            for (u32 i = threadIdx.x % 32 * 4; i < p.headDim; i += 128) sum = squares(load4(in + head * p.headDim + i), sum);
            sum = warpSum(sum);
            if (threadIdx.x % 32 == 0) roots[head] = inverseRoot(sum, p.headDim, p.eps);
        }
    }
    __syncthreads();

    u16* q = p.q + u64(blockIdx.x) * p.heads * p.headDim;
    const i32 slot = p.slots[blockIdx.x];
    u16* k = p.pool + u64(slot >> 5) * p.blockStride + p.layer + u64(slot & 31) * p.headDim;
    u16* v = k + u64(p.kvHeads) * 32 * p.headDim;

    const u32 quarters = p.headDim / 4, all = (p.heads + 2 * p.kvHeads) * quarters;
    for (u32 j = threadIdx.x; j < all; j += 256) {
        const u32 head = j / quarters, part = j % quarters; // of the head's quarters, turned ones first
        const T* from = in + head * p.headDim;
        u16* to = head < p.heads               ? q + head * p.headDim
                  : head < p.heads + p.kvHeads ? k + u64(head - p.heads) * 32 * p.headDim
                                               : v + u64(head - p.heads - p.kvHeads) * 32 * p.headDim;
        const bool plain = !p.qNorm || head >= p.heads + p.kvHeads;
        const float root = plain ? 1.f : roots[head];
        const float* weight = head < p.heads ? p.qNorm : p.kNorm;
        const auto four = [&](u32 at) { return plain ? load4(from + at) : scaledBy(load4(from + at), root, load4(weight + at)); };
        const auto two = [&](u32 at) { return plain ? load2(from + at) : scaledBy(load2(from + at), root, load2(weight + at)); };
        if (head >= p.heads + p.kvHeads || part >= p.pairs / 2) {
            float4 x = four(part * 4);
            *reinterpret_cast<uint2*>(to + part * 4) = make_uint2(KV::pack(x.x, x.y), KV::pack(x.z, x.w));
            continue;
        }
        const u32 i = part * 2; // pairs i and i+1
        if (p.interleaved) {
            float4 x = four(2 * i);
            float2 y = turned(x.x, x.y, angles[i]), z = turned(x.z, x.w, angles[i + 1]);
            *reinterpret_cast<uint2*>(to + 2 * i) = make_uint2(KV::pack(y.x, y.y), KV::pack(z.x, z.y));
        } else {
            float2 a = two(i), b = two(p.pairs + i);
            float2 y = turned(a.x, b.x, angles[i]), z = turned(a.y, b.y, angles[i + 1]);
            *reinterpret_cast<u32*>(to + i) = KV::pack(y.x, z.x);
            *reinterpret_cast<u32*>(to + p.pairs + i) = KV::pack(y.y, z.y);
        }
    }
}

KERNEL(rope_f32_f16, 256, RoPEParams) { rope<float, F16>(p); }
KERNEL(rope_f32_bf16, 256, RoPEParams) { rope<float, BF16>(p); }
KERNEL(rope_bf16_f16, 256, RoPEParams) { rope<u16, F16>(p); }
KERNEL(rope_bf16_bf16, 256, RoPEParams) { rope<u16, BF16>(p); }

// ---- Block copies

// A block copies 16 KiB, four pieces of 16 bytes in flight a thread.
KERNEL(copy_blocks, 256, CopyParams) {
    waitForPrevious();
    letNextStart();
    const uint4* from = reinterpret_cast<const uint4*>(p.src[blockIdx.y]);
    uint4* to = reinterpret_cast<uint4*>(p.dst[blockIdx.y]);
    const u64 n = p.bytes / 16, first = u64(blockIdx.x) * 1024 + threadIdx.x;
    uint4 piece[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (first + i * 256 < n) piece[i] = __ldcs(from + first + i * 256);
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (first + i * 256 < n) __stcs(to + first + i * 256, piece[i]);
}
