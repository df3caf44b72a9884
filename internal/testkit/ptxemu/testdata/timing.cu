// Loops for the benchmarks, unrolled so that a round is 16 instructions.

extern "C" __global__ void loop_float(float *out, int n) {
    float a = threadIdx.x, b = a + 1, c = 0.5f, d = 2;
#pragma unroll 1
    for (int i = 0; i < n; i++) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            a = fmaf(a, c, b);
            b = b * c;
            d = d + a;
            c = fmaf(c, 0.25f, 0.75f); // tends to 1: nothing under- or overflows
        }
    }
    out[threadIdx.x] = a + b + c + d;
}

extern "C" __global__ void loop_integer(int *out, int n) {
    int a = threadIdx.x, b = a + 1, c = 77;
#pragma unroll 1
    for (int i = 0; i < n; i++) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            a = a * c + b;
            b = b ^ a;
            c = c + (a & 255);
        }
    }
    out[threadIdx.x] = a + b + c;
}

// loop_shared: 8 loads and 8 additions.
extern "C" __global__ void loop_shared(float *out, int n) {
    __shared__ float s[2048];
    for (int i = threadIdx.x; i < 2048; i += blockDim.x) s[i] = i;
    __syncthreads();
    float a = 0;
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        volatile float *p = s;
#pragma unroll
        for (int k = 0; k < 8; k++) a += p[((threadIdx.x ^ i) & 255) + 8 * k];
    }
    out[threadIdx.x] = a;
}

extern "C" __global__ void loop_mma(float *out, int n) {
    float c[4] = {1, 2, 3, 4};
    unsigned a = threadIdx.x * 0x10001u;
#pragma unroll 1
    for (int i = 0; i < n; i++)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%4,%4}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a));
    out[threadIdx.x] = c[0] + c[1] + c[2] + c[3];
}
