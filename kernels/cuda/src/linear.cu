// Linear layers over few rows: weights are streamed once, in the order in which
// they lie, and dequantised in registers on their way to the tensor cores.
//
// A block takes 16·tiles outputs and 8·groups rows of x; its eight warps take
// turns along K and are summed in ascending order at the end. So an output's order
// of additions depends on K and the type only, and every kernel of a type gives the
// same bits for a row.
#include "weights.cuh"

constexpr int warps = 8;

// linearShared is the dynamic shared memory: a ring of tiles for each warp, then
// used again for the sums of the warps.
template <class W, int tiles, int groups, int stages>
__device__ constexpr int linearShared() {
    constexpr int ring = warps * stages * tiles * W::bytes, sums = warps * tiles * 16 * groups * 8 * 4;
    return ring > sums ? ring : sums;
}

__device__ __forceinline__ void storeResult(const LinearParams& p, u32 row, u32 n, float v) {
    if (p.bias) v += p.bias[n];
    const u64 at = u64(row) * p.yStride + n;
    float* y = static_cast<float*>(p.y) + at;
    switch (p.store) {
    case 0: *y = v; break;
    case 1: static_cast<u16*>(p.y)[at] = u16(BF16::pack(v, 0)); break;
    default: *y += v;
    }
}

template <class W, int tiles, int groups, int stages>
__device__ __forceinline__ void linear(const LinearParams& p) {
    extern __shared__ __align__(128) u8 shared[];
    constexpr int stageBytes = tiles * W::bytes, pieces = W::span / 32;
    constexpr bool early = groups * pieces <= 8; // x is loaded before the wait for weights
    const u32 warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const u32 row0 = blockIdx.x * 16 * tiles, token0 = blockIdx.y * 8 * groups;
    const u32 steps = (p.k + W::span - 1) / W::span;
    u8* ring = shared + warp * stages * stageBytes;

    auto fetch = [&](u32 step, u32 stage) {
#pragma unroll
        for (int r = 0; r < tiles; r++)
            if (step < steps && row0 + r * 16 < p.n) W::fetch(ring + stage * stageBytes + r * W::bytes, p, row0 + r * 16, step * W::span);
        commitCopies();
    };
    // Weights depend on no kernel before this one.
#pragma unroll
    for (int i = 0; i < stages - 1; i++) fetch(warp + i * warps, i);
    waitForPrevious();
    letNextStart();

    float y[tiles][groups][4] = {};
    const u32 token = token0 + (lane >> 2), column = (lane & 3) * 8;
    for (u32 step = warp, i = 0; step < steps; step += warps, i++) {
        const auto load = [&](int n, int s) {
            const u32 k = step * W::span + s * 32 + column;
            if (token + n * 8 >= p.rows || k >= p.k) return make_uint4(0, 0, 0, 0);
            return *reinterpret_cast<const uint4*>(p.x + u64(token + n * 8) * p.xStride + k);
        };
        uint4 xs[early ? pieces : 1][groups];
        if constexpr (early) {
#pragma unroll
            for (int s = 0; s < pieces; s++)
#pragma unroll
                for (int n = 0; n < groups; n++) xs[s][n] = load(n, s);
        }
        waitForCopies<stages - 2>();
        __syncwarp(); // all lanes' copies are there, and the stage before is free
        fetch(step + (stages - 1) * warps, (i + stages - 1) % stages);
        const u8* stage = ring + i % stages * stageBytes;
#pragma unroll
        for (int s = 0; s < pieces; s++) {
            typename W::Input x[groups];
#pragma unroll
            for (int n = 0; n < groups; n++) x[n] = W::input(early ? xs[early ? s : 0][n] : load(n, s));
#pragma unroll
            for (int r = 0; r < tiles; r++) {
                if (row0 + r * 16 >= p.n) break;
                const typename W::Piece w = W::piece(stage + r * W::bytes, s);
#pragma unroll
                for (int n = 0; n < groups; n++) W::add(y[r][n], w, x[n]);
            }
        }
    }
    waitForCopies<0>();
    __syncthreads();

    // sums[warp][token][output]
    float* sums = reinterpret_cast<float*>(shared);
    constexpr int outputs = 16 * tiles, all = outputs * 8 * groups;
#pragma unroll
    for (int r = 0; r < tiles; r++)
#pragma unroll
        for (int n = 0; n < groups; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const u32 t = n * 8 + (lane & 3) * 2 + (i & 1), o = r * 16 + (lane >> 2) + (i >> 1) * 8;
                sums[warp * all + t * outputs + o] = y[r][n][i];
            }
    __syncthreads();
    for (u32 i = threadIdx.x; i < all; i += warps * 32) {
        const u32 o = row0 + i % outputs, t = token0 + i / outputs;
        if (o >= p.n || t >= p.rows) continue;
        float sum = sums[i];
#pragma unroll
        for (int w = 1; w < warps; w++) sum += sums[w * all + i];
        storeResult(p, t, o, sum);
    }
}

#define LINEAR(name, W, tiles, groups, stages)                                \
    DYNAMIC_SHARED(name, (linearShared<W, tiles, groups, stages>()));         \
    KERNEL(name, warps * 32, LinearParams) { linear<W, tiles, groups, stages>(p); }

LINEAR(linear_bf16_8, WeightBF16, 1, 1, 4)
LINEAR(linear_bf16_16, WeightBF16, 2, 2, 3)
LINEAR(linear_bf16_64, WeightBF16, 4, 8, 2)
LINEAR(linear_q8_0_8, WeightQ8_0, 1, 1, 6)
LINEAR(linear_q8_0_16, WeightQ8_0, 2, 2, 4)
LINEAR(linear_q8_0_64, WeightQ8_0, 4, 8, 3)
LINEAR(linear_q4_0_8, WeightQ4_0, 1, 1, 8)
LINEAR(linear_q4_0_16, WeightQ4_0, 2, 2, 6)
LINEAR(linear_q4_0_64, WeightQ4_0, 4, 8, 6)
LINEAR(linear_q4_k_8, WeightQ4_K, 1, 1, 3)
LINEAR(linear_q4_k_16, WeightQ4_K, 2, 2, 2)
LINEAR(linear_q4_k_64, WeightQ4_K, 4, 8, 2)
