// Attention of spans of tokens (prefill, in chunks or whole), with the queries of a
// KV head's group side by side: query i of a span is token i/group, head i%group.
#include "attention.cuh"

constexpr int warps = 4, threads = warps * 32, tile = warps * 16; // queries

// Totals are the weighted values of a warp's 16 queries so far: in registers, or for
// large heads in shared memory, where a thread has every 128th float.
template <int n, bool inShared>
struct Totals;

template <int n>
struct Totals<n, false> {
    float v[n];
    __device__ __forceinline__ Totals(float*) {}
    __device__ __forceinline__ float& at(int i) { return v[i]; }
};

template <int n>
struct Totals<n, true> {
    float* v;
    __device__ __forceinline__ Totals(float* shared) : v(shared + threadIdx.x) {}
    __device__ __forceinline__ float& at(int i) { return v[i * threads]; }
};

template <int headDim>
struct Shape {
    static constexpr bool large = headDim > 128;
    static constexpr int slots = large ? 2 : 4; // of the ring of pieces
    static constexpr int piece = chunk / 2 * headDim;
    static constexpr int queries = tile * headDim, ring = slots * piece, totals = large ? tile * headDim : 0;
    static constexpr int shared = (queries + ring) * 2 + totals * 4;
};

// A block takes 64 queries. A chunk passes through a ring in four pieces: the keys
// in two halves of 64, then the values in two halves of their columns.
template <class KV, int headDim>
__device__ __forceinline__ void attend(const AttendParams& p) {
    using S = Shape<headDim>;
    constexpr int columns = headDim / 2; // of a piece of values
    extern __shared__ __align__(128) u8 shared[];
    u16 *queries = reinterpret_cast<u16*>(shared), *ring = queries + S::queries;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;

    waitForPrevious();
    letNextStart();
    const i32 start = p.spans[blockIdx.z * 2], tokens = p.spans[blockIdx.z * 2 + 1];
    const i32 group = p.heads / p.kvHeads, all = tokens * group;
    const i32 first = (gridDim.x - 1 - blockIdx.x) * tile; // the longest first
    if (first >= all) return;
    const i32 head0 = blockIdx.y * group, last = min(first + tile, all) - 1;
    const Keys k(p, headDim, blockIdx.y, p.rows[start], p.positions[start + first / group], p.positions[start + last / group]);

    for (int i = threadIdx.x * 8; i < S::queries; i += threads * 8) {
        const i32 row = first + i / headDim, column = i % headDim;
        const u64 at = (u64(start + row / group) * p.heads + head0 + row % group) * headDim + column;
        copy16(swizzled<headDim>(queries, i / headDim, column), p.q + (row < all ? at : 0), row < all);
    }
    const i32 chunk0 = k.low / chunk, pieces = (k.high / chunk - chunk0 + 1) * 4;
    const auto fetch = [&](i32 i) { // piece i; the queries belong to the first one's group
        if (i < pieces) {
            u16* to = ring + i % S::slots * S::piece;
            const i32 begin = (chunk0 + i / 4) * chunk, half = i & 1;
            if (i & 2) fetchRows<headDim, chunk, columns, threads>(to, k, k.values + half * columns, begin);
            else fetchRows<headDim, chunk / 2, headDim, threads>(to, k, k.keys, begin + half * chunk / 2);
        }
        commitCopies();
    };
#pragma unroll
    for (int i = 0; i < S::slots - 1; i++) fetch(i);

    // next returns the tile of piece i, and starts the copy of a later one.
    const auto next = [&](i32 i) {
        waitForCopies<S::slots - 2>();
        __syncthreads(); // piece i is there for all, and all are done with the one before
        fetch(i + S::slots - 1);
        return ring + i % S::slots * S::piece;
    };

    Sight see;
    bool whole = true; // this lane's rows are queries
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const i32 row = first + warp * 16 + g + r * 8;
        see.last[r] = row < all ? p.positions[start + row / group] : -1;
        see.first[r] = p.window ? max(0, see.last[r] - i32(p.window) + 1) : 0;
        whole = whole && row < all;
    }
    Totals<headDim / 2, S::large> total(reinterpret_cast<float*>(ring + S::ring));
#pragma unroll
    for (int i = 0; i < headDim / 2; i++) total.at(i) = 0;
    Merge state[2];

    for (i32 i = 0; i < pieces; i += 4) {
        const i32 begin = (chunk0 + i / 4) * chunk;
        float s[chunk / 8][4] = {};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            u16* keys = next(i + half);
#pragma unroll
            for (int d = 0; d < headDim; d += 16) {
                u32 q[4];
                queryFragment<headDim>(q, queries, warp * 16, d);
#pragma unroll
                for (int key = 0; key < chunk / 2; key += 16) scores<KV, headDim>(s + half * 8 + key / 8, q, keys, key, d);
            }
        }
        u32 weights[chunk / 16][4];
        float m[2], l[2];
        const bool plain = __all_sync(~0u, whole && begin >= max(see.first[0], see.first[1]) && begin + chunk - 1 <= min(see.last[0], see.last[1]));
        softmax<KV>(p, s, begin, see, plain, weights, m, l);

        float keepOld[2], keepNew[2];
        state[0].add(m[0], l[0], keepOld[0], keepNew[0]);
        state[1].add(m[1], l[1], keepOld[1], keepNew[1]);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            u16* values = next(i + 2 + half);
            float o[columns / 8][4] = {};
#pragma unroll
            for (int key = 0; key < chunk; key += 16)
#pragma unroll
                for (int d = 0; d < columns; d += 16) weigh<KV, columns>(o + d / 8, weights[key / 16], values, key, d);
#pragma unroll
            for (int j = 0; j < columns / 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float& v = total.at((half * columns / 8 + j) * 4 + e);
                    v = merged(v, o[j][e], keepOld[e >> 1], keepNew[e >> 1]);
                }
        }
    }
    waitForCopies<0>();

#pragma unroll
    for (int r = 0; r < 2; r++) {
        const i32 row = first + warp * 16 + g + r * 8;
        if (row >= all) continue;
        const u32 head = head0 + row % group;
        const float scale = state[r].finish(p.sinks ? p.sinks + head : nullptr);
        u16* out = p.out + (u64(start + row / group) * p.heads + head) * headDim + t * 2;
#pragma unroll
        for (int j = 0; j < headDim / 8; j++)
            *reinterpret_cast<u32*>(out + j * 8) = BF16::pack(__fmul_rn(total.at(j * 4 + r * 2), scale), __fmul_rn(total.at(j * 4 + r * 2 + 1), scale));
    }
}

#define ATTEND(name, KV, headDim)                   \
    DYNAMIC_SHARED(name, Shape<headDim>::shared);   \
    KERNEL(name, threads, AttendParams) { attend<KV, headDim>(p); }

ATTEND(attend_f16_64, F16, 64)
ATTEND(attend_f16_128, F16, 128)
ATTEND(attend_f16_256, F16, 256)
ATTEND(attend_bf16_64, BF16, 64)
ATTEND(attend_bf16_128, BF16, 128)
ATTEND(attend_bf16_256, BF16, 256)
