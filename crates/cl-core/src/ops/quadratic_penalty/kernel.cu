// ½ Σ Σₖ Σᵢ Fₖᵢ (θᵢ − θ*ₖᵢ)² over many parameters, and for each Σₖ Fₖ (θ − θ*ₖ): one pass over as many parameters and anchors as
// one launch takes; where there are more, the next launch adds to what this one leaves.

#define TERMS 96

struct Bowls {
    // Of each parameter: where its gradient goes, 0 for nowhere; itself; its size.
    u64 gradient[TENSORS];
    u64 theta[TENSORS];
    u64 sizes[TENSORS];
    // Of its anchors, which lie behind those of the parameter before.
    u64 importance[TERMS];
    u64 anchor[TERMS];
    // Those parameters whose gradient is added to.
    u64 adds;
    // How many blocks, and how many anchors, come before the end of each parameter.
    u32 ends[TENSORS];
    u32 terms[TENSORS];
    // Whether the value is added to.
    u32 add;
};

// W elements from `i` on of a parameter with the anchors `from` to `to`: adds to `value`, writes the gradient where one is asked for.
template <typename T, int W>
__device__ void bowls(const Bowls &b, u32 from, u32 to, const T *theta, T *gradient, bool add, u64 i, double &value) {
    struct alignas(W * sizeof(T)) Part { T v[W]; };
    Part t = *(const Part *)(theta + i), g;
    T sum = 0;
#pragma unroll
    for (int w = 0; w < W; w++) g.v[w] = 0;
    if (gradient && add) g = *(const Part *)(gradient + i);
    for (u32 k = from; k < to; k++) {
        Part f = *(const Part *)((const T *)b.importance[k] + i);
        Part a = *(const Part *)((const T *)b.anchor[k] + i);
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

template <typename T> __device__ void penalty(const Bowls &b, T *value, double *partial, u32 *ticket) {
    const int W = 16 / sizeof(T);
    u32 tensor = 0;
    while (blockIdx.x >= b.ends[tensor]) tensor++;
    u32 first = tensor == 0 ? 0 : b.ends[tensor - 1], from = tensor == 0 ? 0 : b.terms[tensor - 1], to = b.terms[tensor];
    u64 start = (u64)(blockIdx.x - first) * CHUNK, left = b.sizes[tensor] - start, n = left < CHUNK ? left : CHUNK;
    const T *theta = (const T *)b.theta[tensor];
    T *gradient = (T *)b.gradient[tensor];
    bool add = b.adds >> tensor & 1, aligned = (((u64)theta | (u64)gradient) & 15) == 0;
    for (u32 k = from; k < to; k++) aligned &= ((b.importance[k] | b.anchor[k]) & 15) == 0;
    u64 packs = aligned ? n / W : 0;
    double mine = 0;
#pragma unroll 2
    for (u64 pack = threadIdx.x; pack < packs; pack += THREADS)
        bowls<T, W>(b, from, to, theta, gradient, add, start + pack * W, mine);
    for (u64 i = packs * W + threadIdx.x; i < n; i += THREADS) bowls<T, 1>(b, from, to, theta, gradient, add, start + i, mine);
    mine = block_sum(mine);
    if (threadIdx.x == 0) partial[blockIdx.x] = mine;
    if (last_block(ticket, gridDim.x)) {
        double sum = sum_of_blocks(partial, gridDim.x);
        if (threadIdx.x == 0) *value = (T)(0.5 * sum) + (b.add ? *value : 0);
    }
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        quadratic_penalty_##NAME(const __grid_constant__ Bowls bowls, T *value, double *partial, u32 *ticket) {                \
        penalty<T>(bowls, value, partial, ticket);                                                                             \
    }                                                                                                                          \
    /* g, θ, F, θ* of one term. */                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        add_penalty_gradient_##NAME(const __grid_constant__ Table<4> table, T scale) {                                         \
        stream<T, 4, 1>(table, [=](T *x) { x[0] += x[2] * (x[1] - x[3]) * scale; });                                           \
    }
FOR_FLOATS(KERNEL)
