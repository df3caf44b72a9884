// Made by kernels/cuda/build from the Go structs of params*.go. DO NOT EDIT.
#pragma once

constexpr u32 maxNormedHeads = 256;

struct Draw {
    double steps;
    double last;
    double topP;
    u64 seed;
    u64 position;
    u32 choice;
    u32 topK;
    i32 row;
    u32 pad0;
};
static_assert(sizeof(Draw) == 56, "Draw");

struct Change {
    double bias;
    u32 row;
    i32 token;
    u32 kind;
    u32 made;
};
static_assert(sizeof(Change) == 24, "Change");

struct Penalty {
    double repetition;
    double frequency;
    double presence;
};
static_assert(sizeof(Penalty) == 24, "Penalty");

struct EmbedParams {
    const i32* id;
    const i32* rows;
    const i32* sampled;
    const u8* table;
    float* out;
    u32 tokens;
    u32 vocab;
    u32 dim;
    float scale;
};
static_assert(sizeof(EmbedParams) == 56, "EmbedParams");

struct NormParams {
    float* x;
    const void* delta;
    const float* weight;
    u16* out;
    float* out32;
    float* sum;
    u32 rows;
    u32 dim;
    float eps;
    u32 pad0;
};
static_assert(sizeof(NormParams) == 64, "NormParams");

struct GateParams {
    const void* gate;
    const void* up;
    u16* out;
    u32 rows;
    u32 dim;
    u32 stride;
    u32 pad0;
};
static_assert(sizeof(GateParams) == 40, "GateParams");

struct SoftCapParams {
    float* x;
    u32 rows;
    u32 dim;
    u32 stride;
    float cap;
};
static_assert(sizeof(SoftCapParams) == 24, "SoftCapParams");

struct RoPEParams {
    const void* qkv;
    u16* q;
    u16* pool;
    const i32* positions;
    const i32* slots;
    const double* fine;
    const double* coarse;
    const float* qNorm;
    const float* kNorm;
    u64 blockStride;
    u64 layer;
    u32 tokens;
    u32 stride;
    u32 heads;
    u32 kvHeads;
    u32 headDim;
    u32 pairs;
    u32 interleaved;
    float eps;
};
static_assert(sizeof(RoPEParams) == 120, "RoPEParams");

struct CopyParams {
    const u64* src;
    const u64* dst;
    u64 bytes;
    u32 count;
    u32 pad0;
};
static_assert(sizeof(CopyParams) == 32, "CopyParams");

struct LinearParams {
    const u8* w;
    const u16* x;
    const float* bias;
    void* y;
    u32 rows;
    u32 n;
    u32 k;
    u32 xStride;
    u32 yStride;
    u32 store;
};
static_assert(sizeof(LinearParams) == 56, "LinearParams");

struct GEMMParams {
    const u16* w;
    const u16* x;
    const float* bias;
    void* y;
    u32 rows;
    u32 n;
    u32 k;
    u32 xStride;
    u32 yStride;
    u32 store;
};
static_assert(sizeof(GEMMParams) == 56, "GEMMParams");

struct UnpackParams {
    const u8* w;
    u16* out;
    u32 n;
    u32 k;
};
static_assert(sizeof(UnpackParams) == 24, "UnpackParams");

struct AttendParams {
    const u16* q;
    const u16* pool;
    u16* out;
    const i32* table;
    const i32* positions;
    const i32* rows;
    const float* sinks;
    u64 blockStride;
    u64 layer;
    u32 heads;
    u32 kvHeads;
    u32 tableStride;
    u32 window;
    float scale;
    float softCap;
    const i32* spans;
    u32 spanCount;
    u32 spanTokens;
};
static_assert(sizeof(AttendParams) == 112, "AttendParams");

struct DecodeParams {
    const u16* q;
    const u16* pool;
    u16* out;
    const i32* table;
    const i32* positions;
    const i32* rows;
    const float* sinks;
    u64 blockStride;
    u64 layer;
    u32 heads;
    u32 kvHeads;
    u32 tableStride;
    u32 window;
    float scale;
    float softCap;
    float* partial;
    u32 tokens;
    u32 chunks;
    u32 splits;
    u32 pad0;
};
static_assert(sizeof(DecodeParams) == 120, "DecodeParams");

struct MergeParams {
    const u16* q;
    const u16* pool;
    u16* out;
    const i32* table;
    const i32* positions;
    const i32* rows;
    const float* sinks;
    u64 blockStride;
    u64 layer;
    u32 heads;
    u32 kvHeads;
    u32 tableStride;
    u32 window;
    float scale;
    float softCap;
    float* partial;
    u32 tokens;
    u32 chunks;
    u32 splits;
    u32 pad0;
};
static_assert(sizeof(MergeParams) == 120, "MergeParams");

struct AdjustParams {
    float* logits;
    const Change* changes;
    const Penalty* penalties;
    u32 count;
    u32 vocab;
    u32 stride;
    u32 pad0;
};
static_assert(sizeof(AdjustParams) == 40, "AdjustParams");

struct SampleParams {
    const float* logits;
    const Draw* draws;
    const double* octave;
    float* top;
    u32* counts;
    u64* sums;
    i32* tokens;
    i32* sampled;
    u32 rows;
    u32 vocab;
    u32 stride;
    u32 pad0;
};
static_assert(sizeof(SampleParams) == 80, "SampleParams");
