// Attention of single tokens: the chunks of a context are worked on in parallel, by
// a number of blocks that changes nothing, and put together by a second kernel.
#include "attention.cuh"

constexpr int threads = 128, heads = 16; // heads: query heads of a tile

template <int headDim>
__device__ constexpr int decodeShared() {
    return (heads + 2 * chunk) * headDim * 2;
}

// A block takes up to 16 query heads of one KV head of one token, and every
// gridDim.x-th chunk. Its warps share out the keys for the scores, then the columns
// for the values; each does the softmax for itself.
template <class KV, int headDim>
__device__ __forceinline__ void decode(const DecodeParams& p) {
    extern __shared__ __align__(128) u8 shared[];
    u16* queries = reinterpret_cast<u16*>(shared);
    u16 *keys = queries + heads * headDim, *values = keys + chunk * headDim;
    float* table = reinterpret_cast<float*>(keys); // scores [16][pitch], once the keys are used
    constexpr int pitch = chunk + 8;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;

    waitForPrevious();
    letNextStart();
    const u32 token = blockIdx.z, group = p.heads / p.kvHeads, headTiles = (group + heads - 1) / heads;
    const u32 head0 = blockIdx.y / headTiles * group + blockIdx.y % headTiles * heads;
    const int count = min(heads, int(group - blockIdx.y % headTiles * heads));
    const i32 position = p.positions[token];
    if (position < 0) return;
    const Keys k(p, headDim, blockIdx.y / headTiles, p.rows[token], position, position);
    const Sight see = {{k.low, k.low}, {position, position}};

    for (int i = threadIdx.x * 8; i < heads * headDim; i += threads * 8) {
        const int row = i / headDim, column = i % headDim;
        copy16(swizzled<headDim>(queries, row, column), p.q + (u64(token) * p.heads + head0) * headDim + (row < count ? i : 0), row < count);
    }
    for (i32 c = k.low / chunk + blockIdx.x; c <= position / chunk; c += gridDim.x) {
        fetchRows<headDim, chunk, headDim, threads>(keys, k, k.keys, c * chunk);
        commitCopies();
        fetchRows<headDim, chunk, headDim, threads>(values, k, k.values, c * chunk);
        commitCopies();
        waitForCopies<1>();
        __syncthreads();

        float part[4][4] = {}; // of keys 32·warp … 32·warp+31
#pragma unroll
        for (int d = 0; d < headDim; d += 16) {
            u32 q[4];
            queryFragment<headDim>(q, queries, 0, d);
            scores<KV, headDim>(part, q, keys, warp * 32, d);
            scores<KV, headDim>(part + 2, q, keys, warp * 32 + 16, d);
        }
        __syncthreads();
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float* at = table + g * pitch + warp * 32 + j * 8 + t * 2;
            *reinterpret_cast<float2*>(at) = make_float2(part[j][0], part[j][1]);
            *reinterpret_cast<float2*>(at + 8 * pitch) = make_float2(part[j][2], part[j][3]);
        }
        __syncthreads();

        float s[chunk / 8][4], m[2], l[2];
#pragma unroll
        for (int j = 0; j < chunk / 8; j++) {
            const float* at = table + g * pitch + j * 8 + t * 2;
            const float2 low = *reinterpret_cast<const float2*>(at), high = *reinterpret_cast<const float2*>(at + 8 * pitch);
            s[j][0] = low.x, s[j][1] = low.y, s[j][2] = high.x, s[j][3] = high.y;
        }
        u32 weights[chunk / 16][4];
        const bool plain = c * chunk >= k.low && c * chunk + chunk - 1 <= position;
        softmax<KV>(p, s, c * chunk, see, plain, weights, m, l);
        waitForCopies<0>();
        __syncthreads();

        constexpr int columns = headDim / 4; // of a warp
        float o[columns / 8][4] = {};
#pragma unroll
        for (int key = 0; key < chunk; key += 16)
#pragma unroll
            for (int d = 0; d < columns; d += 16) weigh<KV, headDim>(o + d / 8, weights[key / 16], values, key, warp * columns + d);

#pragma unroll
        for (int r = 0; r < 2; r++) {
            if (g + r * 8 >= count) continue;
            const u64 at = (u64(token) * p.heads + head0 + g + r * 8) * p.chunks + c;
            float* to = p.partial + at * headDim + warp * columns + t * 2;
#pragma unroll
            for (int j = 0; j < columns / 8; j++) *reinterpret_cast<float2*>(to + j * 8) = make_float2(o[j][r * 2], o[j][r * 2 + 1]);
            float2* sums = reinterpret_cast<float2*>(p.partial + u64(p.tokens) * p.heads * p.chunks * headDim);
            if (warp == 0 && t == 0) sums[at] = make_float2(m[r], l[r]);
        }
        __syncthreads(); // before keys and values are written again
    }
    waitForCopies<0>();
}

// A block takes a head of a token, a thread a column.
template <int headDim>
__device__ __forceinline__ void merge(const MergeParams& p) {
    waitForPrevious();
    letNextStart();
    const u32 head = blockIdx.x, token = blockIdx.y;
    const i32 position = p.positions[token];
    if (position < 0) return;
    const i32 low = p.window ? max(0, position - i32(p.window) + 1) : 0;
    const u64 at = (u64(token) * p.heads + head) * p.chunks;
    const float* values = p.partial + at * headDim + threadIdx.x;
    const float2* sums = reinterpret_cast<const float2*>(p.partial + u64(p.tokens) * p.heads * p.chunks * headDim) + at;
    Merge state;
    float total = 0;
#pragma unroll 4
    for (i32 c = low / chunk; c <= position / chunk; c++) {
        const float2 sum = sums[c];
        float keepOld, keepNew;
        state.add(sum.x, sum.y, keepOld, keepNew);
        total = merged(total, values[u64(c) * headDim], keepOld, keepNew);
    }
    total = __fmul_rn(total, state.finish(p.sinks ? p.sinks + head : nullptr));
    p.out[(u64(token) * p.heads + head) * headDim + threadIdx.x] = u16(BF16::pack(total, 0));
}

#define DECODE(name, KV, headDim)                           \
    DYNAMIC_SHARED(name, (decodeShared<headDim>()));        \
    KERNEL(name, threads, DecodeParams) { decode<KV, headDim>(p); }

DECODE(decode_f16_64, F16, 64)
DECODE(decode_f16_128, F16, 128)
DECODE(decode_f16_256, F16, 256)
DECODE(decode_bf16_64, BF16, 64)
DECODE(decode_bf16_128, BF16, 128)
DECODE(decode_bf16_256, BF16, 256)
KERNEL(decode_merge_64, 64, MergeParams) { merge<64>(p); }
KERNEL(decode_merge_128, 128, MergeParams) { merge<128>(p); }
KERNEL(decode_merge_256, 256, MergeParams) { merge<256>(p); }
