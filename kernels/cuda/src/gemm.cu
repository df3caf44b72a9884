// y = x · Wᵀ for many rows, both factors in bf16 and row-major. Every result is one
// chain of mma over ascending K, whatever the tile, so that it depends neither on
// the number of rows nor on the kernel.
#include "common.cuh"

constexpr int depth = 64, stages = 3; // values of K in a stage

// A block's warps stand warpsM by warpsN, each with a tile of warpM rows by warpN
// outputs.
template <int warpM, int warpN, int warpsM, int warpsN>
struct Tile {
    static constexpr int m = warpM * warpsM, n = warpN * warpsN, threads = warpsM * warpsN * 32;
    static constexpr int stage = (m + n) * depth, shared = stages * stage * 2;
};

// fetch starts the copy of `rows` rows of a matrix, 64 values from column k on, to
// a swizzled tile; what lies outside becomes zeros.
template <int rows, int threads>
__device__ __forceinline__ void fetch(u16* tile, const u16* from, u32 stride, u32 row, u32 all, u32 k, u32 K) {
#pragma unroll
    for (int i = 0; i < rows * 8 / threads; i++) {
        const u32 r = (i * threads + threadIdx.x) / 8, c = threadIdx.x % 8 * 8;
        const bool real = row + r < all && k + c < K;
        copy16(swizzled<depth>(tile, r, c), from + (real ? u64(row + r) * stride + k + c : 0), real);
    }
}

__device__ __forceinline__ void storePair(const GEMMParams& p, u32 row, u32 n, float a, float b) {
    if (row >= p.rows || n >= p.n) return;
    if (p.bias) a += p.bias[n], b += p.bias[n + 1];
    const u64 at = u64(row) * p.yStride + n;
    if (p.store == 1) {
        *reinterpret_cast<u32*>(static_cast<u16*>(p.y) + at) = BF16::pack(a, b);
        return;
    }
    float2* y = reinterpret_cast<float2*>(static_cast<float*>(p.y) + at);
    if (p.store == 2) a += y->x, b += y->y;
    *y = make_float2(a, b);
}

template <int warpM, int warpN, int warpsM, int warpsN>
__device__ __forceinline__ void gemm(const GEMMParams& p) {
    using T = Tile<warpM, warpN, warpsM, warpsN>;
    extern __shared__ __align__(128) u16 ring[];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;

    // Eight tiles of rows take the same outputs in turn, so that weights are read
    // from memory once for all eight.
    const u32 across = (p.n + T::n - 1) / T::n, down = (p.rows + T::m - 1) / T::m;
    const u32 band = blockIdx.x / (8 * across) * 8, inBand = blockIdx.x % (8 * across), high = min(8u, down - band);
    const u32 row0 = (band + inBand % high) * T::m, n0 = inBand / high * T::n;

    const u32 steps = (p.k + depth - 1) / depth;
    const auto fetchWeights = [&](u32 step) {
        if (step < steps) fetch<T::n, T::threads>(ring + step % stages * T::stage + T::m * depth, p.w, p.k, n0, p.n, step * depth, p.k);
    };
    const auto fetchRows = [&](u32 step) {
        if (step < steps) fetch<T::m, T::threads>(ring + step % stages * T::stage, p.x, p.xStride, row0, p.rows, step * depth, p.k);
        commitCopies();
    };
    // Weights depend on no kernel before this one, but for unpack_*: its output is
    // memory like any other.
    waitForPrevious();
    letNextStart();
#pragma unroll
    for (int i = 0; i < stages - 1; i++) fetchWeights(i), fetchRows(i);

    float y[warpM / 16][warpN / 8][4] = {};
    const int rowOfWarp = warp / warpsN * warpM, nOfWarp = warp % warpsN * warpN;
    const int aRow = rowOfWarp + (lane >> 3 & 1) * 8 + (lane & 7), aColumn = (lane >> 4) * 8;
    const int bRow = nOfWarp + (lane >> 4) * 8 + (lane & 7), bColumn = (lane >> 3 & 1) * 8;
    for (u32 step = 0; step < steps; step++) {
        waitForCopies<stages - 2>();
        __syncthreads(); // this stage is there for all, and all are done with the one before
        fetchWeights(step + stages - 1), fetchRows(step + stages - 1);
        u16 *x = ring + step % stages * T::stage, *w = x + T::m * depth;
#pragma unroll
        for (int k = 0; k < depth; k += 16) {
            u32 a[warpM / 16][4], b[warpN / 16][4];
#pragma unroll
            for (int i = 0; i < warpM / 16; i++) loadMatrices(a[i], swizzled<depth>(x, aRow + i * 16, aColumn + k));
#pragma unroll
            for (int j = 0; j < warpN / 16; j++) loadMatrices(b[j], swizzled<depth>(w, bRow + j * 16, bColumn + k));
#pragma unroll
            for (int i = 0; i < warpM / 16; i++)
#pragma unroll
                for (int j = 0; j < warpN / 8; j++) BF16::mma(y[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
    waitForCopies<0>();
#pragma unroll
    for (int i = 0; i < warpM / 16; i++)
#pragma unroll
        for (int j = 0; j < warpN / 8; j++) {
            const u32 row = row0 + rowOfWarp + i * 16 + (lane >> 2), n = n0 + nOfWarp + j * 8 + (lane & 3) * 2;
            storePair(p, row, n, y[i][j][0], y[i][j][1]);
            storePair(p, row + 8, n, y[i][j][2], y[i][j][3]);
        }
}

#define GEMM(name, warpM, warpN, warpsM, warpsN)                                      \
    DYNAMIC_SHARED(name, (Tile<warpM, warpN, warpsM, warpsN>::shared));               \
    KERNEL(name, warpsM * warpsN * 32, GEMMParams) { gemm<warpM, warpN, warpsM, warpsN>(p); }

GEMM(gemm_128x256, 64, 64, 2, 4)
GEMM(gemm_64x64, 32, 32, 2, 2)
