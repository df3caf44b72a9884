// Rows of packed weights as plain numbers: for a GEMM, and as embeddings of tokens.
#include "weights.cuh"

// A block takes 1024 weights of a row.
template <class W>
__device__ __forceinline__ void unpack(const UnpackParams& p) {
    waitForPrevious();
    letNextStart();
    const u32 k = (blockIdx.x * 256 + threadIdx.x) * 4, row = blockIdx.y;
    if (k >= p.k) return;
    const u8* tile = packedTile<W>(p.w, p.k, row, k);
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = W::value(tile, row % 16, k % W::span + i);
    store4(p.out + u64(row) * p.k + k, make_float4(v[0], v[1], v[2], v[3]));
}

KERNEL(unpack_q8_0, 256, UnpackParams) { unpack<WeightQ8_0>(p); }
KERNEL(unpack_q4_0, 256, UnpackParams) { unpack<WeightQ4_0>(p); }
KERNEL(unpack_q4_k, 256, UnpackParams) { unpack<WeightQ4_K>(p); }

// ---- Embedding

// A block takes a token. row(i) gives four elements of the table's row.
template <class F>
__device__ __forceinline__ void embed(const EmbedParams& p, F row) {
    waitForPrevious();
    letNextStart();
    i32 id = p.id[blockIdx.x];
    if (id == -1) {
        const i32 r = p.rows[blockIdx.x];
        id = r < 0 ? -1 : p.sampled[r];
    }
    const bool known = u32(id) < p.vocab;
    float* out = p.out + u64(blockIdx.x) * p.dim;
    for (u32 k = threadIdx.x * 4; k < p.dim; k += 256 * 4) {
        float4 v = make_float4(0, 0, 0, 0);
        if (known) v = row(u32(id), k);
        *reinterpret_cast<float4*>(out + k) = make_float4(v.x * p.scale, v.y * p.scale, v.z * p.scale, v.w * p.scale);
    }
}

template <class W>
__device__ __forceinline__ void embedPacked(const EmbedParams& p) {
    embed(p, [&](u32 id, u32 k) {
        const u8* tile = packedTile<W>(p.table, p.dim, id, k);
        const u32 at = k % W::span, r = id % 16;
        return make_float4(W::value(tile, r, at), W::value(tile, r, at + 1), W::value(tile, r, at + 2), W::value(tile, r, at + 3));
    });
}

KERNEL(embed_bf16, 256, EmbedParams) {
    embed(p, [&](u32 id, u32 k) { return load4(reinterpret_cast<const u16*>(p.table) + u64(id) * p.dim + k); });
}
KERNEL(embed_q8_0, 256, EmbedParams) { embedPacked<WeightQ8_0>(p); }
KERNEL(embed_q4_0, 256, EmbedParams) { embedPacked<WeightQ4_0>(p); }
KERNEL(embed_q4_k, 256, EmbedParams) { embedPacked<WeightQ4_K>(p); }
