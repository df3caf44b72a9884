// Kernels with mistakes, each of one kind, and beside each what is right.

__device__ __forceinline__ unsigned shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

#define CP_ASYNC(dst, src) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(dst)), "l"(src) : "memory")
#define CP_COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define CP_WAIT(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")

extern "C" __global__ void past_end(float *x, int n) {
    int i = threadIdx.x;
    if (i <= n) x[i] = 1; // <, not <=
}

extern "C" __global__ void misaligned(char *x) { *(int *)(x + 4 * threadIdx.x + (threadIdx.x == 9)) = 1; }

// shared_race: a missing barrier between a write and a read by another warp.
extern "C" __global__ void shared_race(int *out, int barrier) {
    __shared__ int s[64];
    s[threadIdx.x] = -1;
    __syncthreads();
    s[63 - threadIdx.x] = threadIdx.x;
    if (barrier) __syncthreads();
    out[threadIdx.x] = s[threadIdx.x];
}

// shared_reuse: the second write meets readers of the first round.
extern "C" __global__ void shared_reuse(int *out, int barrier) {
    __shared__ int s[64];
    int sum = 0;
    for (int k = 0; k < 3; k++) {
        s[threadIdx.x] = threadIdx.x * k;
        __syncthreads();
        sum += s[63 - threadIdx.x];
        if (barrier) __syncthreads();
    }
    out[threadIdx.x] = sum;
}

// warp_race: lanes of one warp without __syncwarp.
extern "C" __global__ void warp_race(int *out, int sync) {
    __shared__ int s[32];
    s[threadIdx.x] = threadIdx.x;
    if (sync) __syncwarp();
    out[threadIdx.x] = s[31 - threadIdx.x];
}

extern "C" __global__ void uninitialised(int *out, int n) {
    __shared__ int s[64];
    if (threadIdx.x < n) s[threadIdx.x] = 5;
    __syncthreads();
    out[threadIdx.x] = s[63 - threadIdx.x];
}

// pipeline: two stages of cp.async; keep is how many groups may stay open.
template <int keep>
__device__ void pipeline(const float4 *x, float4 *y, int n, bool barrier) {
    __shared__ float4 s[2][32];
    CP_ASYNC(&s[0][threadIdx.x], x + threadIdx.x);
    CP_COMMIT();
    for (int k = 0; k < n; k++) {
        if (k + 1 < n) CP_ASYNC(&s[(k + 1) & 1][threadIdx.x], x + (k + 1) * 32 + threadIdx.x);
        CP_COMMIT();
        if (keep >= 0) CP_WAIT(keep < 0 ? 0 : keep);
        __syncthreads();
        y[k * 32 + threadIdx.x] = s[k & 1][31 - threadIdx.x];
        if (barrier) __syncthreads();
    }
}
extern "C" __global__ void pipeline_right(const float4 *x, float4 *y, int n) { pipeline<1>(x, y, n, true); }
extern "C" __global__ void pipeline_no_wait(const float4 *x, float4 *y, int n) { pipeline<-1>(x, y, n, true); }
extern "C" __global__ void pipeline_late_wait(const float4 *x, float4 *y, int n) { pipeline<2>(x, y, n, true); }
extern "C" __global__ void pipeline_no_barrier(const float4 *x, float4 *y, int n) { pipeline<1>(x, y, n, false); }

extern "C" __global__ void partial_mma(float *out, int lanes) {
    float c[4] = {1, 2, 3, 4};
    if (threadIdx.x < lanes)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%4,%4}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(0));
    out[threadIdx.x] = c[0];
}

extern "C" __global__ void wrong_mask(int *out, unsigned mask, int lanes) {
    int v = threadIdx.x;
    if (threadIdx.x < lanes) v = __shfl_sync(mask, v, 0);
    __syncwarp(); // the other lanes wait here: they have not exited
    out[threadIdx.x] = v;
}

extern "C" __global__ void divergent_barrier(int *out, int limit) {
    __shared__ int s;
    if (threadIdx.x == 0) s = 1;
    if (threadIdx.x < limit) __syncthreads();
    out[threadIdx.x] = threadIdx.x;
}

// missing_warp: one warp waits at a barrier for 96 threads, of which 64 come.
extern "C" __global__ void missing_warp(int *out) {
    if (threadIdx.x < 64) asm volatile("bar.sync 3, 96;");
    out[threadIdx.x] = 1;
}

extern "C" __global__ void spin(volatile int *flag) {
    while (*flag == 0) {}
}

extern "C" __global__ void trap(int *x) {
    if (x[blockIdx.x] < 0) __trap();
}

extern "C" __global__ void divide(int *x, int d) { x[threadIdx.x] /= d; }

// produce is the predecessor of dependent.ptx.
extern "C" __global__ void produce(int *y) { y[threadIdx.x] = threadIdx.x; }

extern "C" __global__ void own_cache(const int *__restrict__ x, int *y) {
    int v = x[threadIdx.x];
    y[threadIdx.x ^ 1] = v + 1;
    __syncthreads();
    y[threadIdx.x] = __ldg(y + threadIdx.x) + v;
}
