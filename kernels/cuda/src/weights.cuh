// Weights as linear_* streams them. Layouts: Matrix in layout.go.
//
// A warp takes tiles of 16 outputs by `span` values of K. Each format says how its
// lanes copy a tile to shared memory and turn it into mma fragments: lane 4g+t
// holds outputs g and g+8 at k = 8t … 8t+7 of every 32. The order of K inside an
// mma is free as long as both factors have the same, and this one makes 8
// neighbours of a row of x one 16-byte load.
#pragma once
#include "common.cuh"

// multiply adds a fragment of 32 values of K, in two halves, to c.
__device__ __forceinline__ void multiply(float c[4], const u32 a[2][4], uint4 x) {
    BF16::mma(c, a[0], x.x, x.y);
    BF16::mma(c, a[1], x.z, x.w);
}

// fourBits turns the 8 unsigned nibbles of each of two words, outputs g and g+8,
// into bf16, less `zero`. 0x4300 | q is 128 + q, and the subtraction is exact.
template <int zero>
__device__ __forceinline__ void fourBits(u32 a[2][4], u32 low, u32 high) {
    constexpr u32 one = 0x3f803f80, less = zero == 8 ? 0xc308c308 : 0xc300c300; // -136, -128
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u32 q = (((i & 1) ? high : low) >> (4 * (i / 2))) & 0x000f000f | 0x43004300;
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(a[i / 4][i % 4]) : "r"(q), "r"(one), "r"(less));
    }
}

// eightBits turns 8 signed bytes of each of two outputs into bf16. A byte's low
// seven bits after 0x43 are 128 more than they say, and its sign bit there is 256
// or 128; their difference is the byte.
__device__ __forceinline__ void eightBits(u32 a[2][4], uint4 w) {
    const u32 words[4] = {w.x, w.y, w.z, w.w};
    constexpr u32 minusOne = 0xbf80bf80;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 v = words[half * 2 + (i & 1)] >> (8 * (i / 2));
            u32 low = v & 0x007f007f | 0x43004300, sign = v & 0x00800080 | 0x43004300;
            asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(a[half][i]) : "r"(sign), "r"(minusOne), "r"(low));
        }
}

// scaled adds a group's integer products times the scales of outputs g and g+8.
__device__ __forceinline__ void scaled(float y[4], const float c[4], float low, float high) {
    y[0] = __fmaf_rn(c[0], low, y[0]);
    y[1] = __fmaf_rn(c[1], low, y[1]);
    y[2] = __fmaf_rn(c[2], high, y[2]);
    y[3] = __fmaf_rn(c[3], high, y[3]);
}

// fetchPacked starts the copy of a tile of a packed matrix.
template <int bytes>
__device__ __forceinline__ void fetchPacked(u8* shared, const u8* tile) {
#pragma unroll
    for (int i = 0; i < bytes; i += 512) {
        const u32 at = i + (threadIdx.x & 31) * 16;
        if (i + 512 <= bytes || at < bytes) copy16(shared + at, tile + at);
    }
}

// packedTile returns where the tile of an output and a value of K begins.
template <class W>
__device__ __forceinline__ const u8* packedTile(const u8* w, u32 k, u32 row, u32 at) {
    const u32 across = (k + W::span - 1) / W::span;
    return w + (u64(row / 16) * across + at / W::span) * W::bytes;
}

// A format has, for linear_*:
//
//   fetch    starts the copy of a tile: outputs from row on, values from k on
//   Piece    a tile's weights at 32 values of K, as fragments and scales; piece(tile, s)
//   Input    eight rows of x there; input(x)
//   add      adds their products to y, an mma result
//
// and, but for rows of bf16, value: one weight, row and k being of the tile.

// PlainInput is x as it comes.
struct PlainInput {
    typedef uint4 Input;
    static __device__ __forceinline__ uint4 input(uint4 x) { return x; }
};

// Scaled is what formats with one scale for a group share.
struct Scaled : PlainInput {
    struct Piece {
        u32 a[2][4];
        float low, high; // scales of outputs g and g+8
    };
    static __device__ __forceinline__ void add(float y[4], const Piece& w, uint4 x) {
        float c[4] = {};
        multiply(c, w.a, x);
        scaled(y, c, w.low, w.high);
    }
};

// Rows of 16-bit weights, as the file has them.
struct WeightBF16 : PlainInput {
    static constexpr int span = 64, bytes = 2048;

    static __device__ __forceinline__ void fetch(u8* shared, const LinearParams& p, u32 row, u32 k) {
        const u32 lane = threadIdx.x & 31, g = lane >> 2, at = k + (lane & 3) * 8;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const u32 r = row + g + (i & 1) * 8, c = at + (i >> 1) * 32;
            const bool real = r < p.n && c < p.k;
            copy16(shared + (i * 32 + lane) * 16, p.w + (real ? (u64(r) * p.k + c) * 2 : 0), real);
        }
    }

    struct Piece {
        u32 a[2][4];
    };
    static __device__ __forceinline__ Piece piece(const u8* tile, int s) {
        const u8* at = tile + (s * 64 + (threadIdx.x & 31)) * 16;
        const uint4 low = *reinterpret_cast<const uint4*>(at), high = *reinterpret_cast<const uint4*>(at + 512);
        return {{{low.x, high.x, low.y, high.y}, {low.z, high.z, low.w, high.w}}};
    }
    static __device__ __forceinline__ void add(float y[4], const Piece& w, uint4 x) { multiply(y, w.a, x); }
};

struct WeightQ4_0 : Scaled {
    static constexpr int span = 64, bytes = 576, scales = 512;

    static __device__ __forceinline__ void fetch(u8* shared, const LinearParams& p, u32 row, u32 k) {
        fetchPacked<bytes>(shared, packedTile<WeightQ4_0>(p.w, p.k, row, k));
    }
    static __device__ __forceinline__ Piece piece(const u8* tile, int s) {
        const u32 lane = threadIdx.x & 31;
        const uint4 q = *reinterpret_cast<const uint4*>(tile + lane * 16);
        const uint2 d = *reinterpret_cast<const uint2*>(tile + scales + (lane >> 2) * 8);
        Piece w;
        fourBits<8>(w.a, s ? q.z : q.x, s ? q.w : q.y);
        w.low = F16::lo(s ? d.y : d.x), w.high = F16::hi(s ? d.y : d.x);
        return w;
    }
    static __device__ __forceinline__ float value(const u8* tile, u32 row, u32 k) {
        const u32 lane = (row & 7) * 4 + (k >> 3 & 3), word = (k >> 5) * 2 + (row >> 3), e = k & 7;
        const u32 q = reinterpret_cast<const u32*>(tile)[lane * 4 + word] >> (4 * (e >> 1) + 16 * (e & 1)) & 15;
        const u16 d = reinterpret_cast<const u16*>(tile + scales)[(row & 7) * 4 + (k >> 5) * 2 + (row >> 3)];
        return halfToFloat(d) * float(i32(q) - 8);
    }
};

struct WeightQ8_0 : Scaled {
    static constexpr int span = 64, bytes = 1088, scales = 1024;

    static __device__ __forceinline__ void fetch(u8* shared, const LinearParams& p, u32 row, u32 k) {
        fetchPacked<bytes>(shared, packedTile<WeightQ8_0>(p.w, p.k, row, k));
    }
    static __device__ __forceinline__ Piece piece(const u8* tile, int s) {
        const u32 lane = threadIdx.x & 31;
        const uint2 d = *reinterpret_cast<const uint2*>(tile + scales + (lane >> 2) * 8);
        Piece w;
        eightBits(w.a, *reinterpret_cast<const uint4*>(tile + s * 512 + lane * 16));
        w.low = F16::lo(s ? d.y : d.x), w.high = F16::hi(s ? d.y : d.x);
        return w;
    }
    static __device__ __forceinline__ float value(const u8* tile, u32 row, u32 k) {
        const u32 lane = (row & 7) * 4 + (k >> 3 & 3), word = (k >> 2 & 1) * 2 + (row >> 3), e = k & 3;
        const u8 q = tile[(k >> 5) * 512 + lane * 16 + word * 4 + (e >> 1) + 2 * (e & 1)];
        const u16 d = reinterpret_cast<const u16*>(tile + scales)[(row & 7) * 4 + (k >> 5) * 2 + (row >> 3)];
        return halfToFloat(d) * float(i32(static_cast<signed char>(q)));
    }
};

struct WeightQ4_K {
    static constexpr int span = 256, bytes = 2368, scales = 2048, header = 2304;

    static __device__ __forceinline__ void fetch(u8* shared, const LinearParams& p, u32 row, u32 k) {
        fetchPacked<bytes>(shared, packedTile<WeightQ4_K>(p.w, p.k, row, k));
    }

    struct Piece {
        u32 a[2][4];
        float low, high, lowMin, highMin;
    };
    static __device__ __forceinline__ Piece piece(const u8* tile, int s) {
        const u32 lane = threadIdx.x & 31, g = lane >> 2, part = s / 2, group = s % 2;
        const uint4 q = *reinterpret_cast<const uint4*>(tile + part * 512 + lane * 16);
        const uint2 m = *reinterpret_cast<const uint2*>(tile + scales + part * 64 + g * 8);
        const uint2 h = *reinterpret_cast<const uint2*>(tile + header + g * 8); // d, dmin of g, then of g+8
        const u32 v = group ? m.y : m.x;                                        // sc, m of g, then of g+8
        Piece w;
        fourBits<0>(w.a, group ? q.z : q.x, group ? q.w : q.y);
        w.low = F16::lo(h.x) * float(v & 255), w.lowMin = F16::hi(h.x) * -float(v >> 8 & 255);
        w.high = F16::lo(h.y) * float(v >> 16 & 255), w.highMin = F16::hi(h.y) * -float(v >> 24);
        return w;
    }

    // The minimum takes the sums of x over the group, of the rows that this lane has
    // in an mma result.
    struct Input {
        uint4 x;
        float sum[2];
    };
    static __device__ __forceinline__ Input input(uint4 x) {
        constexpr u32 ones = 0x3f803f80;
        const u32 one[2][4] = {{ones, ones, ones, ones}, {ones, ones, ones, ones}};
        float c[4] = {};
        multiply(c, one, x);
        return {x, {c[0], c[1]}};
    }
    static __device__ __forceinline__ void add(float y[4], const Piece& w, const Input& x) {
        float c[4] = {};
        multiply(c, w.a, x.x);
        scaled(y, c, w.low, w.high);
        const float sums[4] = {x.sum[0], x.sum[1], x.sum[0], x.sum[1]};
        scaled(y, sums, w.lowMin, w.highMin);
    }
    static __device__ __forceinline__ float value(const u8* tile, u32 row, u32 k) {
        const u32 part = k >> 6, g = row & 7, h = row >> 3, group = k >> 5 & 1, e = k & 7;
        const u32 lane = g * 4 + (k >> 3 & 3), word = part * 128 + lane * 4 + group * 2 + h;
        const u32 q = reinterpret_cast<const u32*>(tile)[word] >> (4 * (e >> 1) + 16 * (e & 1)) & 15;
        const u8* m = tile + scales + part * 64 + g * 8 + group * 4 + h * 2;
        const u16* d = reinterpret_cast<const u16*>(tile + header) + g * 4 + h * 2;
        return __fadd_rn(__fmul_rn(__fmul_rn(halfToFloat(d[0]), float(m[0])), float(q)), -__fmul_rn(halfToFloat(d[1]), float(m[1])));
    }
};
