// ½ Σₖ Σᵢ Fₖᵢ (θᵢ − θ*ₖᵢ)² and Σₖ Fₖ (θ − θ*ₖ), one pass over as many anchors as one launch takes; where there are more, the
// next launch adds to what this one leaves.

struct Terms {
    u64 importance[TENSORS];
    u64 anchor[TENSORS];
    u32 count;
    // Whether value and gradient are added to.
    u32 add;
};

// W elements from `i` on: adds to `value`, writes the gradient where one is asked for.
template <typename T, int W>
__device__ void bowls(const Terms &terms, const T *theta, T *gradient, u64 i, double &value) {
    struct alignas(W * sizeof(T)) Part { T v[W]; };
    Part t = *(const Part *)(theta + i), g;
    T sum = 0;
#pragma unroll
    for (int w = 0; w < W; w++) g.v[w] = 0;
    if (gradient && terms.add) g = *(const Part *)(gradient + i);
    for (u32 k = 0; k < terms.count; k++) {
        Part f = *(const Part *)((const T *)terms.importance[k] + i);
        Part a = *(const Part *)((const T *)terms.anchor[k] + i);
#pragma unroll
        for (int w = 0; w < W; w++) {
            T d = t.v[w] - a.v[w], fd = f.v[w] * d;
            g.v[w] += fd;
            sum += fd * d;
        }
    }
    if (gradient) *(Part *)(gradient + i) = g;
    value += sum;
}

template <typename T>
__device__ void penalty(const Terms &terms, const T *theta, T *gradient, T *value, u64 n, double *partial, u32 *ticket) {
    const int W = 16 / sizeof(T);
    bool aligned = (((u64)theta | (u64)gradient) & 15) == 0;
    for (u32 k = 0; k < terms.count; k++) aligned &= ((terms.importance[k] | terms.anchor[k]) & 15) == 0;
    u64 packs = aligned ? n / W : 0;
    u64 thread = (u64)blockIdx.x * THREADS + threadIdx.x, threads = (u64)gridDim.x * THREADS;
    double mine = 0;
#pragma unroll 2
    for (u64 pack = thread; pack < packs; pack += threads) bowls<T, W>(terms, theta, gradient, pack * W, mine);
    for (u64 i = packs * W + thread; i < n; i += threads) bowls<T, 1>(terms, theta, gradient, i, mine);
    mine = block_sum(mine);
    if (threadIdx.x == 0) partial[blockIdx.x] = mine;
    if (last_block(ticket, gridDim.x)) {
        double sum = sum_of_blocks(partial, gridDim.x);
        if (threadIdx.x == 0) *value = (T)(0.5 * sum) + (terms.add ? *value : 0);
    }
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        quadratic_penalty_##NAME(const __grid_constant__ Terms terms, const T *theta, T *gradient, T *value, u64 n,            \
                                 double *partial, u32 *ticket) {                                                               \
        penalty<T>(terms, theta, gradient, value, n, partial, ticket);                                                         \
    }                                                                                                                          \
    /* g, θ, F, θ* of one term. */                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        add_penalty_gradient_##NAME(const __grid_constant__ Table<4> table, T scale) {                                         \
        stream<T, 4, 1>(table, [=](T *x) { x[0] += x[2] * (x[1] - x[3]) * scale; });                                           \
    }
FOR_FLOATS(KERNEL)
