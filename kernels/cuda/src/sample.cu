// Picking tokens by package sampler's definition, exactly: float64 with every
// operation rounded by itself, integer weights, integer sums. Sums of integers are
// the same in any order, so atomics may add them.
#include "common.cuh"

constexpr int threads = 1024;
constexpr int stepsInBucket = 64, lastStep = 43 * 1024, buckets = lastStep / stepsInBucket + 1;
constexpr double toInteger = 6755399441055744.; // 1.5 · 2^52
constexpr float largestFloat = 3.402823466e38f;

__device__ __forceinline__ bool isPoison(float x) { return !(x <= largestFloat); }

// rank maps logits to integers that rise as logits fall, as sampler's rank does;
// unrank goes back.
__device__ __forceinline__ u32 rank(float x) {
    const u32 b = __float_as_uint(x + 0.f); // -0 + 0 is +0
    return b >> 31 ? b : ~(b | 0x80000000u);
}
__device__ __forceinline__ float unrank(u32 r) { return __uint_as_float(r >> 31 ? r : ~r & 0x7fffffffu); }

// ---- Biases, bans and penalties

__device__ __forceinline__ float finite(double x, float was) {
    const float f = __double2float_rn(x);
    if (f >= -largestFloat && f <= largestFloat || isnan(f)) return f;
    if (was < -largestFloat) return was;
    return x > 0 ? largestFloat : -largestFloat;
}

// A thread takes a change. A logit that was poisoned stays so and is found later.
KERNEL(sample_adjust, 256, AdjustParams) {
    waitForPrevious();
    letNextStart();
    const u32 i = blockIdx.x * 256 + threadIdx.x;
    if (i >= p.count) return;
    const Change c = p.changes[i];
    if (u32(c.token) >= p.vocab) return;
    float* logit = p.logits + u64(c.row) * p.stride + c.token;
    float v = *logit;
    if (isPoison(v)) return;
    if (c.kind & 1) v = finite(__dadd_rn(double(v), c.bias), v);
    if (c.kind & 2) v = minusInfinity();
    if (c.kind & 4) {
        const Penalty q = p.penalties[c.row];
        double x = v;
        if (q.repetition != 1) x = x > 0 ? __ddiv_rn(x, q.repetition) : __dmul_rn(x, q.repetition);
        if (c.made > 0) x = __dadd_rn(__dadd_rn(x, -__dmul_rn(q.frequency, double(c.made))), -q.presence);
        v = finite(x, v);
    }
    *logit = v;
}

// ---- The largest logit

// A block takes a row. The largest logit and its lowest token are one number:
// the rank, turned to rise with the logit, above the token, turned to fall.
KERNEL(sample_top, threads, SampleParams) {
    __shared__ u64 best[threads / 32];
    waitForPrevious();
    letNextStart();
    const u32 row = blockIdx.y;
    const float* logits = p.logits + u64(row) * p.stride;
    float most = minusInfinity();
    u32 token = 0;
    bool poisoned = false;
    for (u32 i = threadIdx.x * 4; i < p.vocab; i += threads * 4) {
        float4 v = load4(logits + i); // the stride leaves room
        const float each[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int e = 0; e < 4; e++) {
            if (i + e >= p.vocab) break;
            poisoned = poisoned || isPoison(each[e]);
            if (each[e] > most) most = each[e], token = i + e;
        }
    }
    u64 key = most > minusInfinity() ? u64(~rank(most)) << 32 | ~token : 0;
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) key = max(key, __shfl_xor_sync(~0u, key, i));
    if ((threadIdx.x & 31) == 0) best[threadIdx.x / 32] = key;
    poisoned = __syncthreads_or(poisoned);
    for (int w = 0; w < threads / 32; w++) key = max(key, best[w]);

    const Draw* draw = p.draws + row;
    if (threadIdx.x == 0) {
        const i32 picked = poisoned || key == 0 ? -1 : i32(~u32(key));
        p.tokens[row] = picked;
        p.top[row] = unrank(~u32(key >> 32));
        if (draw->row >= 0) p.sampled[draw->row] = picked;
    }
    if (draw->steps > 0)
        for (int b = threadIdx.x; b < buckets; b += threads) {
            p.counts[row * buckets + b] = 0;
            p.sums[row * buckets + b] = 0;
        }
}

// ---- Weights

__device__ __forceinline__ double below(float logit, double top, double steps) { return __dmul_rn(__dadd_rn(top, -double(logit)), steps); }

// bucketOf returns the bucket of a token y steps below the top, or `buckets` for
// one that has no weight.
__device__ __forceinline__ u32 bucketOf(double y, double last) {
    if (!(y <= last)) return buckets;
    return (u32(__double_as_longlong(__dadd_rn(y, toInteger))) & 0xffff) / stepsInBucket;
}

__device__ __forceinline__ u64 weightOf(double y, const double* octave) {
    if (!(y <= lastStep)) return 0;
    constexpr double c1 = -0x1.62e42fefa39efp-11, c2 = 0x1.ebfbdff82c58fp-23, c3 = -0x1.c6b08d704a0cp-35;
    const double t = __dadd_rn(y, toInteger);
    const u32 n = u32(__double_as_longlong(t)) & 0xffff;
    const double r = __dadd_rn(y, -__dadd_rn(t, -toInteger));
    double q = __dadd_rn(c2, __dmul_rn(r, c3));
    q = __dadd_rn(c1, __dmul_rn(r, q));
    q = __dmul_rn(r, q);
    const double w = __longlong_as_double(__double_as_longlong(octave[n % 1024]) - (i64(n / 1024) << 52));
    return u64(i64(__dadd_rn(w, __dmul_rn(w, q)))); // cut off at the binary point
}

// sampled reports whether a row is drawn at all.
__device__ __forceinline__ bool drawn(const SampleParams& p, u32 row) {
    return p.tokens[row] >= 0 && p.draws[row].steps > 0 && p.draws[row].topK != 1;
}

// A block takes 4096 tokens of a row, and adds what it found to the row's buckets.
KERNEL(sample_weigh, 256, SampleParams) {
    __shared__ u64 sums[buckets];
    __shared__ u32 counts[buckets];
    waitForPrevious();
    letNextStart();
    const u32 row = blockIdx.y;
    if (!drawn(p, row)) return;
    for (int b = threadIdx.x; b < buckets; b += 256) sums[b] = 0, counts[b] = 0;
    __syncthreads();
    const float* logits = p.logits + u64(row) * p.stride;
    const double top = p.top[row], steps = p.draws[row].steps, last = p.draws[row].last;
    for (u32 i = blockIdx.x * 4096 + threadIdx.x; i < min(p.vocab, (blockIdx.x + 1) * 4096); i += 256) {
        const double y = below(logits[i], top, steps);
        const u32 b = bucketOf(y, last);
        if (b == buckets) continue;
        atomicAdd(&counts[b], 1u);
        atomicAdd(&sums[b], weightOf(y, p.octave));
    }
    __syncthreads();
    for (int b = threadIdx.x; b < buckets; b += 256) {
        if (!counts[b]) continue;
        atomicAdd(&p.counts[row * buckets + b], counts[b]);
        atomicAdd(&p.sums[row * buckets + b], sums[b]);
    }
}

// ---- The draw

// scan returns the sum of x over all threads up to and including this one.
__device__ __forceinline__ u64 scan(u64 x, u64* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int i = 1; i < 32; i <<= 1) {
        const u64 y = __shfl_up_sync(~0u, x, i);
        if (lane >= i) x += y;
    }
    __syncthreads(); // scratch may be in use
    if (lane == 31) scratch[warp] = x;
    __syncthreads();
    for (int w = 0; w < warp; w++) x += scratch[w];
    return x;
}

// Found is where a search ended: before is what lies ahead of it.
struct Found {
    u32 at;
    u64 before, own;
};

// search finds the first of n <= threads numbers, of which each thread has one,
// with which their sum is above target. There must be one.
__device__ __forceinline__ Found search(u64 x, u64 target, int n, u64* scratch, Found* found) {
    const u64 upTo = scan(x, scratch);
    if (threadIdx.x < n && upTo > target && upTo - x <= target) *found = {threadIdx.x, upTo - x, x};
    __syncthreads();
    const Found f = *found;
    __syncthreads();
    return f;
}

constexpr int listed = 2048; // members of a bucket that fit shared memory

struct PickShared {
    u64 sums[buckets];
    u32 counts[buckets];
    u64 members[listed];
    u32 memberCount;
    u64 binSums[256];
    u32 binCounts[256];
    u64 scratch[threads / 32];
    Found found;
    u64 key;
};

struct Row {
    const float* logits;
    u32 vocab;
    double top;
    Draw draw;
    const double* octave;

    __device__ __forceinline__ double below(float x) const { return ::below(x, top, draw.steps); }
    __device__ __forceinline__ u64 weight(u64 member) const { return weightOf(below(unrank(u32(member >> 32))), octave); }
};

// members calls f with each member of a bucket, as its rank above its ID, on some
// thread.
template <class F>
__device__ __forceinline__ void members(const Row& r, u32 bucket, F f) {
    for (u32 i = threadIdx.x; i < r.vocab; i += threads) {
        const float x = r.logits[i];
        if (bucketOf(r.below(x), r.draw.last) == bucket) f(u64(rank(x)) << 32 | i);
    }
}

// listedMembers does it from a list, if they are listed.
template <class F>
__device__ __forceinline__ void listedMembers(const Row& r, const PickShared& s, u32 bucket, F f) {
    if (s.counts[bucket] > listed) return members(r, bucket, f);
    for (u32 i = threadIdx.x; i < s.counts[bucket]; i += threads) f(s.members[i]);
}

// walk goes through a bucket's members in order, to the first with which their
// number (counting) or the sum of their weights is above target. It returns that
// member; sum becomes the weights of all before it and its own.
//
// Eight bits of a member are settled a round, by how many members, or how much
// weight, each of 256 values has. One member left ends it, most often the third
// round.
__device__ u64 walk(const Row& r, PickShared& s, u32 bucket, u64 target, bool counting, u64& sum) {
    if (threadIdx.x == 0) s.memberCount = 0;
    __syncthreads();
    if (s.counts[bucket] <= listed) members(r, bucket, [&](u64 m) { s.members[atomicAdd(&s.memberCount, 1u)] = m; });
    __syncthreads();
    u64 prefix = 0, settled = 0; // bits of the member, and which
    sum = 0;
    for (int shift = 56;; shift -= 8) {
        if (threadIdx.x < 256) s.binSums[threadIdx.x] = 0, s.binCounts[threadIdx.x] = 0;
        __syncthreads();
        listedMembers(r, s, bucket, [&](u64 m) {
            if ((m & settled) != prefix) return;
            atomicAdd(&s.binCounts[m >> shift & 255], 1u);
            atomicAdd(&s.binSums[m >> shift & 255], r.weight(m));
        });
        __syncthreads();
        const u64 own = threadIdx.x >= 256 ? 0 : counting ? s.binCounts[threadIdx.x] : s.binSums[threadIdx.x];
        const Found f = search(own, target, 256, s.scratch, &s.found);
        target -= f.before;
        prefix |= u64(f.at) << shift;
        settled |= 255ull << shift;
        sum += counting ? 0 : f.before;
        if (counting) { // the weights before, too
            const u64 upTo = scan(threadIdx.x < 256 ? s.binSums[threadIdx.x] : 0, s.scratch);
            if (threadIdx.x == f.at) s.key = upTo - s.binSums[f.at];
            __syncthreads();
            sum += s.key;
            __syncthreads();
        }
        if (s.binCounts[f.at] == 1 || shift == 0) break;
        __syncthreads(); // before the bins are cleared
    }
    listedMembers(r, s, bucket, [&](u64 m) {
        if ((m & settled) == prefix) s.key = m;
    });
    __syncthreads();
    const u64 key = s.key;
    __syncthreads();
    sum += r.weight(key);
    return key;
}

// philox53 is sampler's uniform53: 53 bits of Philox4x32-10, keyed by the seed and
// counted by (position, choice, 0).
__device__ __forceinline__ u64 philox53(u64 seed, u64 position, u32 choice) {
    u32 c0 = u32(position), c1 = u32(position >> 32), c2 = choice, c3 = 0, k0 = u32(seed), k1 = u32(seed >> 32);
    for (int i = 0; i < 10; i++) {
        const u32 hi0 = __umulhi(0xd2511f53u, c0), lo0 = 0xd2511f53u * c0;
        const u32 hi1 = __umulhi(0xcd9e8d57u, c2), lo1 = 0xcd9e8d57u * c2;
        c0 = hi1 ^ c1 ^ k0, c1 = lo1, c2 = hi0 ^ c3 ^ k1, c3 = lo0;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    return (u64(c1) << 32 | c0) >> 11;
}

// A block takes a row.
KERNEL_ALONE(sample_pick, threads, SampleParams) {
    __shared__ PickShared s;
    waitForPrevious();
    letNextStart();
    const u32 row = blockIdx.y;
    if (!drawn(p, row)) return;
    const Row r = {p.logits + u64(row) * p.stride, p.vocab, double(p.top[row]), p.draws[row], p.octave};
    for (int b = threadIdx.x; b < buckets; b += threads) {
        s.sums[b] = p.sums[row * buckets + b];
        s.counts[b] = p.counts[row * buckets + b];
    }
    __syncthreads();
    // own is this thread's bucket, or what top-k leaves of it.
    u64 own = threadIdx.x < buckets ? s.sums[threadIdx.x] : 0;
    u64 kept = 0;
    {
        const u64 count = threadIdx.x < buckets ? s.counts[threadIdx.x] : 0;
        if (threadIdx.x == 0) s.key = 0;
        const u64 all = scan(count, s.scratch);
        if (threadIdx.x == threads - 1) s.key = all;
        __syncthreads();
        const u64 total = s.key;
        __syncthreads();
        if (r.draw.topK > 0 && r.draw.topK < total) {
            const Found f = search(count, r.draw.topK - 1, buckets, s.scratch, &s.found);
            u64 sum;
            walk(r, s, f.at, r.draw.topK - 1 - f.before, true, sum);
            if (threadIdx.x == f.at) own = sum;
            if (threadIdx.x > f.at) own = 0;
        }
    }
    const u64 upTo = scan(own, s.scratch);
    if (threadIdx.x == threads - 1) s.key = upTo;
    __syncthreads();
    kept = s.key;
    __syncthreads();

    if (r.draw.topP < 1) {
        const u64 need = max(1ull, u64(ceil(__dmul_rn(r.draw.topP, __ull2double_rn(kept)))));
        if (need <= kept) {
            const Found f = search(own, need - 1, buckets, s.scratch, &s.found);
            u64 sum;
            walk(r, s, f.at, need - 1 - f.before, false, sum);
            kept = f.before + sum;
        }
    }
    const u64 u = philox53(r.draw.seed, r.draw.position, r.draw.choice);
    const u64 target = __umul64hi(u, kept) << 11 | u * kept >> 53;
    const Found f = search(own, target, buckets, s.scratch, &s.found);
    u64 sum;
    const u64 picked = walk(r, s, f.at, target - f.before, false, sum);
    if (threadIdx.x == 0) {
        p.tokens[row] = i32(u32(picked));
        if (r.draw.row >= 0) p.sampled[r.draw.row] = i32(u32(picked));
    }
}
