// What the kernels of all operations share. It stands before each of them: NVRTC has no include path.

typedef unsigned int u32;
typedef unsigned long long u64;

// Threads of a block, for every kernel.
#define THREADS 256
// Elements that a block of a streaming kernel goes over.
#define CHUNK 8192
// Tensors, or anchors, of one launch: their pointers are arguments, which have 4 KiB.
#define TENSORS 48

// NVRTC has no math.h.
#define NOT_A_NUMBER __int_as_float(0x7fc00000)
#define INFINITE __int_as_float(0x7f800000)

// The 16-bit floats, as they are stored: 5 bits of exponent and 10 behind the point, and the upper half of a float. They become
// floats where they are read, and are rounded to the nearest, ties to even, where they are written.
struct f16 {
    unsigned short bits;
    f16() = default;
    __device__ f16(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
    __device__ operator float() const {
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
    }
};
struct bf16 {
    unsigned short bits;
    bf16() = default;
    __device__ bf16(float x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
    __device__ operator float() const { return __uint_as_float((u32)bits << 16); }
};

// 16 bytes: what a thread reads at once where everything is aligned.
template <typename T> struct alignas(16) Pack { T v[16 / sizeof(T)]; };

// N operands of `count` tensors each, and how many blocks come before the end of each tensor.
template <int N> struct Table {
    u64 pointers[N][TENSORS];
    u64 sizes[TENSORS];
    u32 ends[TENSORS];
    u32 count;
};

// Where a block of a streaming kernel works: one tensor of the table, CHUNK elements of it.
struct Place {
    u32 tensor;
    u64 from;
    u64 count;
};

template <int N> __device__ Place place(const Table<N> &table) {
    u32 tensor = 0;
    while (blockIdx.x >= table.ends[tensor]) tensor++;
    u32 first = tensor == 0 ? 0 : table.ends[tensor - 1];
    u64 from = (u64)(blockIdx.x - first) * CHUNK;
    u64 left = table.sizes[tensor] - from;
    return {tensor, from, left < CHUNK ? left : CHUNK};
}

// Calls f(x) with the N values of each element; those operands whose bit is in WRITTEN are written back. Several packs are on
// their way before the first is needed.
template <typename T, int N, u32 WRITTEN, typename F>
__device__ void stream(const Table<N> &table, F f) {
    const int WIDTH = 16 / sizeof(T), AHEAD = N > 3 ? 2 : 4;
    Place at = place(table);
    T *p[N];
    bool aligned = true;
#pragma unroll
    for (int n = 0; n < N; n++) {
        p[n] = (T *)table.pointers[n][at.tensor] + at.from;
        aligned &= ((u64)p[n] & 15) == 0;
    }
    u64 packs = aligned ? at.count / WIDTH : 0;
    for (u64 first = threadIdx.x; first < packs; first += THREADS * AHEAD) {
        Pack<T> x[AHEAD][N];
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
            if (first + a * THREADS < packs)
#pragma unroll
                for (int n = 0; n < N; n++) x[a][n] = ((const Pack<T> *)p[n])[first + a * THREADS];
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            if (first + a * THREADS >= packs) break;
#pragma unroll
            for (int w = 0; w < WIDTH; w++) {
                T one[N];
#pragma unroll
                for (int n = 0; n < N; n++) one[n] = x[a][n].v[w];
                f(one);
#pragma unroll
                for (int n = 0; n < N; n++) x[a][n].v[w] = one[n];
            }
#pragma unroll
            for (int n = 0; n < N; n++)
                if (WRITTEN >> n & 1) ((Pack<T> *)p[n])[first + a * THREADS] = x[a][n];
        }
    }
    for (u64 i = packs * WIDTH + threadIdx.x; i < at.count; i += THREADS) {
        T one[N];
#pragma unroll
        for (int n = 0; n < N; n++) one[n] = p[n][i];
        f(one);
#pragma unroll
        for (int n = 0; n < N; n++)
            if (WRITTEN >> n & 1) p[n][i] = one[n];
    }
}

// The sum over the threads of a block, for its first thread. Always in the same order.
__device__ double block_sum(double value) {
    __shared__ double sums[THREADS / 32];
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < THREADS / 32; warp++) value += sums[warp];
    return value;
}

// Whether this block is the last of `blocks` to come here, all of whose earlier writes it then sees. The ticket is 0 before and
// after: the last one resets it.
__device__ bool last_block(u32 *ticket, u32 blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        u32 before = atomicAdd(ticket, 1);
        last = before == blocks - 1;
        if (last) *ticket = 0;
    }
    __syncthreads();
    __threadfence();
    return last;
}

// The sum of what the blocks have left, for the first thread of the last block; in the order of the blocks, whichever came last.
__device__ double sum_of_blocks(const double *partial, u32 blocks) {
    double sum = 0;
    for (u32 block = threadIdx.x; block < blocks; block += THREADS) sum += __ldcg(partial + block);
    return block_sum(sum);
}

// A kernel for each dtype: `name_f32`, `name_f64`.
#define FOR_FLOATS(KERNEL) KERNEL(float, f32) KERNEL(double, f64)
// The same, and `name_f16`, `name_bf16`: of what is read and written, what is computed in, the name.
#define FOR_STORED(KERNEL) KERNEL(float, float, f32) KERNEL(double, double, f64) KERNEL(f16, float, f16) KERNEL(bf16, float, bf16)
