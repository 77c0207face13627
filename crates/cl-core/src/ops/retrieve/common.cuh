// What the kernels of `retrieve` share. KIND, the type of the operands, is defined before: 0 f16, 1 bf16, 2 f32, 3 f64.

#if KIND < 2
typedef unsigned short T; // the bits: NVRTC has no header for them
typedef float A;          // what is summed in, and the type of log-sum-exps
#elif KIND == 2
typedef float T;
typedef float A;
#else
typedef double T;
typedef double A;
#endif

#define HALF (KIND < 2)
#define LOG2E A(1.4426950408889634074)
#define LN2 A(0.69314718055994530942)
#define NOTHING A(-INFINITE) // the log-sum-exp of no keys

// What a launch works on: `Problem` of cuda.rs. Pointers of 0 are left out.
struct Problem {
    u64 q, k, v, mask;
    u64 out, log;              // (batch·n, v) and (batch·n)
    u64 grad;                  // of `out`
    u64 shift, less;           // of each query: L in units of log 2, and D − h
    u64 grad_q, grad_k, grad_v;
    u64 partial, partial_more; // of each slot
    double beta;
    u32 batch, n, m, d, width; // width of the values
    u32 period;                // queries of one batch of the mask
    u32 mask_batch, mask_row;  // rows from one of its batches, and from one of its queries, to the next
    u32 shared_k, shared_v;    // whether all batches have the same
    u32 splits, tiles;         // parts that the streamed side is cut into, and blocks of each part
};

__device__ float widen(float x) { return x; }
__device__ double widen(double x) { return x; }
__device__ float widen(unsigned short x) {
#if KIND == 0
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
#else
    return __uint_as_float((u32)x << 16);
#endif
}

__device__ void narrow(float *to, A x) { *to = (float)x; }
__device__ void narrow(double *to, A x) { *to = (double)x; }
__device__ void narrow(unsigned short *to, A x) {
#if KIND == 0
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*to) : "f"((float)x));
#else
    u32 bits = __float_as_uint((float)x);
    bool number = (bits & 0x7fffffffu) <= 0x7f800000u;
    *to = number ? (bits + 0x7fffu + (bits >> 16 & 1)) >> 16 : 0x7fc0; // to nearest, ties to even
#endif
}

// 2ˣ
__device__ float power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ double power(double x) { return exp2(x); }

__device__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ double larger(double a, double b) { return fmax(a, b); }

// A mask in base 2, as it is added to scores: what hides is −∞ still, what is finite stays so.
__device__ float shift_of(float mask) { return mask > -INFINITE ? fmaxf(mask * LOG2E, -3e38f) : mask; }
__device__ double shift_of(double mask) { return mask > -INFINITE ? fmax(mask * LOG2E, -1.7e308) : mask; }

// a·b + c, rounded once.
__device__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

// The row of the mask of a query, counted over all batches.
__device__ const T *mask_row(const Problem &p, u64 query) {
    u64 row = query / p.period * p.mask_batch + query % p.period * p.mask_row;
    return (const T *)p.mask + row * p.m;
}

// Where a block works. The blocks of rows come first: those that run at a time then stream over the same keys.
struct Where {
    u32 rows, split, batch, chunk;
};

__device__ Where where(const Problem &p, u32 row_blocks) {
    u32 i = blockIdx.x;
    Where at;
    at.rows = i % row_blocks;
    i /= row_blocks;
    at.split = i % p.splits;
    i /= p.splits;
    at.batch = i % p.batch;
    at.chunk = i / p.batch;
    return at;
}

// The softmax of a block's scores, in the layout of the tensor cores' results: a thread has, of each 16 × 8 scores, columns 2t and
// 2t + 1 of rows g and g + 8, with g its number / 4 and t its number % 4. Scores become 2^(score·scale − top), `top` the largest
// so far; `sum` is this thread's part. `factors` is what came before is to be multiplied with.
template <int TILES, int COLUMNS>
__device__ void soften(A (&s)[TILES][COLUMNS][4], A scale, A (&top)[TILES][2], A (&sum)[TILES][2], A (&factors)[TILES][2]) {
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            A most = NOTHING;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) most = larger(most, larger(s[mt][j][2 * r], s[mt][j][2 * r + 1]));
            most = larger(most, __shfl_xor_sync(0xffffffffu, most, 1));
            most = larger(most, __shfl_xor_sync(0xffffffffu, most, 2));
            A now = larger(top[mt][r], most * scale);
            // Nothing is seen yet: 2^(−∞ − −∞) would be no number. What is none in the scores stays so.
            A under = now == NOTHING ? A(0) : now;
            A factor = power(top[mt][r] - under), part = 0;
            top[mt][r] = now;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int c = 0; c < 2; c++) {
                    A e = power(fused(s[mt][j][2 * r + c], scale, -under));
                    s[mt][j][2 * r + c] = e;
                    part += e;
                }
            sum[mt][r] = fused(sum[mt][r], factor, part);
            factors[mt][r] = factor;
        }
}

// The sum over the four threads that share a row.
__device__ A over_row(A x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
