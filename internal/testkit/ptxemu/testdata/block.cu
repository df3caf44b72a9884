// Kernels of a block's machinery: shared memory, barriers, shuffles, local
// memory, calls, switches, atomics.

// rms: y = x / sqrt(mean(x^2) + eps) of a row a block.
extern "C" __global__ __launch_bounds__(256) void rms(const float *x, float *y, int n, float eps) {
    __shared__ float part[8];
    const float *row = x + (size_t)blockIdx.x * n;
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += row[i] * row[i];
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    __syncthreads();
    float total = 0;
    for (int i = 0; i < blockDim.x / 32; i++) total += part[i];
    float r = rsqrtf(total / n + eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[(size_t)blockIdx.x * n + i] = row[i] * r;
}

// rms_racy is rms without its barrier.
extern "C" __global__ void rms_racy(const float *x, float *y, int n, float eps) {
    __shared__ float part[8];
    const float *row = x + (size_t)blockIdx.x * n;
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += row[i] * row[i];
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    float total = 0;
    for (int i = 0; i < blockDim.x / 32; i++) total += part[i];
    float r = rsqrtf(total / n + eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[(size_t)blockIdx.x * n + i] = row[i] * r;
}

// reverse turns each block's values around through dynamic shared memory.
extern "C" __global__ void reverse(unsigned *x) {
    extern __shared__ unsigned tile[];
    unsigned *mine = x + blockIdx.x * blockDim.x;
    tile[threadIdx.x] = mine[threadIdx.x];
    __syncthreads();
    mine[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

__device__ __noinline__ int collatz(int n, int limit) {
    int steps = 0;
    while (n != 1 && steps < limit) {
        n = n % 2 ? 3 * n + 1 : n / 2;
        steps++;
    }
    return steps;
}

// diverge: loops of different length in every lane, behind a call.
extern "C" __global__ void diverge(int *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int s = collatz(i + 1, 1000);
    if (s & 1) s = -s + collatz(i / 2 + 1, 50);
    out[i] = s;
}

// spill indexes a local array by run-time values.
extern "C" __global__ void spill(const int *x, int *y, int n) {
    int a[16];
    for (int i = 0; i < 16; i++) a[i] = x[threadIdx.x * 16 + i];
    for (int k = 0; k < n; k++) {
        int i = a[k & 15] & 15, j = a[i] & 15;
        int t = a[i]; a[i] = a[j] + k; a[j] = t;
    }
    for (int i = 0; i < 16; i++) y[threadIdx.x * 16 + i] = a[i];
}

// choose is a dense switch: a table of branches.
extern "C" __global__ void choose(const int *x, int *y) {
    int v = x[threadIdx.x];
    switch (v) {
    case 0: v = 17; break;
    case 1: v = v * 3 + 1; break;
    case 2: v ^= 0x55; break;
    case 3: v = __popc(v); break;
    case 4: v = 1 << v; break;
    case 5: v = -v; break;
    case 6: v = v * v * v; break;
    case 7: v = y[threadIdx.x]; break;
    default: v = 1000 + v;
    }
    y[threadIdx.x] = v;
}

__constant__ int weights[4] = {1, 10, 100, 1000};
__device__ unsigned long long total = 5;
__device__ int *where_total = (int *)&total;

// count adds to a global, and returns the old values' ranks.
extern "C" __global__ void count(int *hist, int *ranks) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(&total, (unsigned long long)weights[i & 3]);
    ranks[i] = atomicAdd(&hist[i % 7], 1);
    atomicMax(&hist[7], i);
    atomicXor((unsigned *)&hist[8], 1u << (i & 31));
    if (where_total != (int *)&total) __trap();
}

struct Boxed { const float *x; float *y; float scale; short n; signed char shift; };

// boxed takes a struct by value.
extern "C" __global__ void boxed(Boxed b, int extra) {
    int i = threadIdx.x;
    if (i < b.n) b.y[i] = b.x[i] * b.scale + b.shift + extra;
}

// warp: the warp-wide instructions.
extern "C" __global__ void warp(const int *x, int *out) {
    int v = x[threadIdx.x], l = threadIdx.x & 31, *o = out + threadIdx.x;
    const int n = blockDim.x;
    o[0 * n] = __shfl_sync(~0u, v, l * 7 + 3);
    o[1 * n] = __shfl_up_sync(~0u, v, 3, 8);
    o[2 * n] = __shfl_down_sync(~0u, v, 5, 16);
    o[3 * n] = __shfl_xor_sync(~0u, v, 9);
    o[4 * n] = __ballot_sync(~0u, v & 1);
    o[5 * n] = __any_sync(~0u, v == 3) | __all_sync(~0u, v < 100) << 1 | __uni_sync(~0u, v > 1000) << 2;
    o[6 * n] = __match_any_sync(~0u, v & 3);
    int p;
    o[7 * n] = __match_all_sync(~0u, v & 64, &p) + p;
    o[8 * n] = __reduce_add_sync(~0u, v);
    o[9 * n] = __reduce_min_sync(~0u, v);
    o[10 * n] = __reduce_max_sync(~0u, (unsigned)v);
    o[11 * n] = __reduce_xor_sync(~0u, (unsigned)v);
    if (l & 1) o[12 * n] = __activemask();
    else o[12 * n] = __shfl_sync(0x55555555u, v, l + 2);
    o[13 * n] = __syncthreads_count(v & 1) * 4 + __syncthreads_and(v < 100) * 2 + __syncthreads_or(v == -5);
}
