// Attention over the paged cache, in chunks of 128 positions [128c, 128c+128).
//
// Each chunk has its own largest score, sum and weighted values, and chunks are
// merged in ascending order. attend.cu and decode.cu share the functions below and
// multiply in the same order, so that a token gets the same bits from both.
#pragma once
#include "common.cuh"

constexpr int chunk = 128, blockTokens = 32;
constexpr float log2e = 1.442695041f;

// Keys are what a KV head has of one sequence: where they lie, and which of them
// may be read. Entries of the block table outside [low, high] may be stale.
struct Keys {
    const u16 *keys, *values; // of the head, in block 0
    const i32* table;
    u64 blockStride; // elements
    i32 low, high;   // positions, inclusive

    template <class Params>
    __device__ __forceinline__ Keys(const Params& p, int headDim, u32 head, i32 row, i32 first, i32 last) {
        const u64 headSize = u64(blockTokens) * headDim;
        keys = p.pool + p.layer + head * headSize;
        values = keys + p.kvHeads * headSize;
        table = p.table + u64(row) * p.tableStride;
        blockStride = p.blockStride;
        low = p.window ? max(0, first - i32(p.window) + 1) : 0;
        high = last;
    }
};

// fetchRows starts the copy of `count` positions from `at` on, a multiple of 32, and
// `columns` columns to a swizzled tile. from is where the first column of token 0
// of block 0 lies: the keys, or the values. What may not be read becomes zeros, for
// a weight of zero does not make up for a NaN.
template <int headDim, int count, int columns, int threads>
__device__ __forceinline__ void fetchRows(u16* tile, const Keys& k, const u16* from, i32 at) {
    constexpr int pieces = columns / 8, perBlock = blockTokens * pieces;
    static_assert(perBlock % threads == 0, "threads");
#pragma unroll
    for (int b = 0; b < count / blockTokens; b++) {
        const i32 begin = at + b * blockTokens;
        const bool any = begin <= k.high && begin + blockTokens > k.low;
        const u16* block = from + (any ? u64(k.table[begin / blockTokens]) * k.blockStride : 0);
#pragma unroll
        for (int i = 0; i < perBlock / threads; i++) {
            const int token = (i * threads + threadIdx.x) / pieces, column = (i * threads + threadIdx.x) % pieces * 8;
            copy16(swizzled<columns>(tile, b * blockTokens + token, column), block + token * headDim + column,
                   begin + token >= k.low && begin + token <= k.high);
        }
    }
}

// queryFragment reads rows [row, row+16) and 16 columns of a swizzled tile as the
// first factor of an mma.
template <int headDim>
__device__ __forceinline__ void queryFragment(u32 a[4], u16* tile, int row, int column) {
    const int lane = threadIdx.x & 31;
    loadMatrices(a, swizzled<headDim>(tile, row + (lane >> 3 & 1) * 8 + (lane & 7), column + (lane >> 4) * 8));
}

// scores adds to s the products of queries with 16 keys from `key` on, over 16
// columns: s[0] has keys 0 … 7, s[1] the others.
template <class KV, int headDim>
__device__ __forceinline__ void scores(float (*s)[4], const u32 q[4], u16* tile, int key, int column) {
    const int lane = threadIdx.x & 31;
    u32 b[4];
    loadMatrices(b, swizzled<headDim>(tile, key + (lane >> 4) * 8 + (lane & 7), column + (lane >> 3 & 1) * 8));
    KV::mma(s[0], q, b[0], b[1]);
    KV::mma(s[1], q, b[2], b[3]);
}

// weigh adds to o the values of 16 keys times their weights, over 16 columns: o[0]
// has columns 0 … 7, o[1] the others.
template <class KV, int columns>
__device__ __forceinline__ void weigh(float (*o)[4], const u32 weights[4], u16* tile, int key, int column) {
    const int lane = threadIdx.x & 31;
    u32 b[4];
    loadMatricesTransposed(b, swizzled<columns>(tile, key + (lane >> 3 & 1) * 8 + (lane & 7), column + (lane >> 4) * 8));
    KV::mma(o[0], weights, b[0], b[1]);
    KV::mma(o[1], weights, b[2], b[3]);
}

// Rows g and g+8 of a tile of queries, as a lane has them: the first and the last
// position that each sees. A row without a token sees none.
struct Sight {
    i32 first[2], last[2];
};

// softmax turns a chunk's scores, mma results of 16 queries by 128 keys, into
// weights, the first factors of the next mma; m and l are the rows' largest score,
// in base 2, and the sum of the weights. plain says that every row sees every key.
template <class KV, class Params>
__device__ __forceinline__ void softmax(const Params& p, float (*s)[4], i32 begin, const Sight& see, bool plain, u32 (*weights)[4],
                                        float m[2], float l[2]) {
#pragma unroll
    for (int j = 0; j < chunk / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[j][i] = __fmul_rn(s[j][i], p.scale);
    if (p.softCap) {
        const float perCap = __frcp_rn(p.softCap);
#pragma unroll
        for (int j = 0; j < chunk / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[j][i] = __fmul_rn(p.softCap, tanhExact(__fmul_rn(s[j][i], perCap)));
    }
    if (!plain) {
        const i32 column = begin + (threadIdx.x & 3) * 2;
#pragma unroll
        for (int j = 0; j < chunk / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const i32 key = column + j * 8 + (i & 1);
                if (key < see.first[i >> 1] || key > see.last[i >> 1]) s[j][i] = minusInfinity();
            }
    }
    m[0] = m[1] = minusInfinity();
#pragma unroll
    for (int j = 0; j < chunk / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) m[i >> 1] = fmaxf(m[i >> 1], s[j][i]);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        m[r] = fmaxf(m[r], __shfl_xor_sync(~0u, m[r], 1));
        m[r] = fmaxf(m[r], __shfl_xor_sync(~0u, m[r], 2));
    }
    const float from[2] = {m[0] == minusInfinity() ? 0 : m[0], m[1] == minusInfinity() ? 0 : m[1]};
    l[0] = l[1] = 0;
#pragma unroll
    for (int j = 0; j < chunk / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[j][i] = exp2Approx(__fadd_rn(s[j][i], -from[i >> 1]));
            l[i >> 1] = __fadd_rn(l[i >> 1], s[j][i]);
        }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        l[r] = __fadd_rn(l[r], __shfl_xor_sync(~0u, l[r], 1));
        l[r] = __fadd_rn(l[r], __shfl_xor_sync(~0u, l[r], 2));
    }
#pragma unroll
    for (int j = 0; j < chunk / 8; j++) {
        weights[j / 2][j % 2 * 2] = KV::pack(s[j][0], s[j][1]);
        weights[j / 2][j % 2 * 2 + 1] = KV::pack(s[j][2], s[j][3]);
    }
}

// Merge is the state of one row's chunks so far, but for the weighted values.
struct Merge {
    float m, l;
    __device__ __forceinline__ Merge() : m(minusInfinity()), l(0) {}

    // add takes the next chunk. The values so far and the chunk's are to be
    // combined as total = fma(values, keepNew, total · keepOld).
    __device__ __forceinline__ void add(float chunkM, float chunkL, float& keepOld, float& keepNew) {
        const float to = fmaxf(m, chunkM), from = to == minusInfinity() ? 0 : to;
        keepOld = exp2Approx(__fadd_rn(m, -from));
        keepNew = exp2Approx(__fadd_rn(chunkM, -from));
        l = __fmaf_rn(chunkL, keepNew, __fmul_rn(l, keepOld));
        m = to;
    }

    // finish returns what the values are multiplied with in the end. sink is null
    // or the head's logit that takes weight and has no value.
    __device__ __forceinline__ float finish(const float* sink) {
        float scale = 1;
        if (sink) {
            float keepSink;
            add(__fmul_rn(*sink, log2e), 1, scale, keepSink);
        }
        return l > 0 ? __fmul_rn(scale, __frcp_rn(l)) : 0;
    }
};

__device__ __forceinline__ float merged(float total, float value, float keepOld, float keepNew) {
    return __fmaf_rn(value, keepNew, __fmul_rn(total, keepOld));
}
