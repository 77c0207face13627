// Softmax cross-entropy of the logits z (n, outputs) over the active units, and its gradient: a warp for each sample. A target
// that is not an active unit makes the loss, and the gradient of its sample, NaN: nothing is read back to be checked. Z is what
// logits and gradient are stored in, T what is computed in.

// Which units take part: all, the first `size`, or the block of `size` that holds the target.
struct Units {
    u32 kind;
    u32 size;
};

struct Range {
    u32 start, end;
    __device__ bool holds(u32 unit) const { return start <= unit && unit < end; }
};

__device__ Range range(Units units, u32 y, u32 outputs) {
    if (units.kind == 0) return {0, outputs};
    if (units.kind == 1) return {0, units.size < outputs ? units.size : outputs};
    u32 size = units.size ? units.size : 1, first = y / size * size;
    u32 end = first + units.size;
    return {first < outputs ? first : outputs, end < outputs ? end : outputs};
}

template <typename T> __device__ T of_warp(T value, bool largest) {
    for (int step = 16; step > 0; step /= 2) {
        T other = __shfl_xor_sync(0xffffffffu, value, step);
        value = largest ? (other > value ? other : value) : value + other;
    }
    return value;
}

// The largest active logit, and Σ exp(z − largest).
template <typename Z, typename T> __device__ void softmax(const Z *z, Range r, T &most, T &sum) {
    u32 lane = threadIdx.x % 32;
    most = -INFINITE;
    for (u32 j = r.start + lane; j < r.end; j += 32) most = (T)z[j] > most ? (T)z[j] : most;
    most = of_warp(most, true);
    sum = 0;
    for (u32 j = r.start + lane; j < r.end; j += 32) sum += exp((T)z[j] - most);
    sum = of_warp(sum, false);
}

#define WARPS (THREADS / 32)

template <typename Z, typename T>
__device__ void loss(const Z *z, const u32 *y, const T *weights, T *value, u64 n, u32 outputs, Units units, double *partial,
                     u32 *ticket) {
    double mine = 0;
    for (u64 i = (u64)blockIdx.x * WARPS + threadIdx.x / 32; i < n; i += (u64)gridDim.x * WARPS) {
        Range r = range(units, y[i], outputs);
        bool valid = r.holds(y[i]);
        T most, sum;
        softmax<Z, T>(z + i * outputs, r, most, sum);
        if (threadIdx.x % 32 == 0) {
            T of_sample = valid ? log(sum) + most - (T)z[i * outputs + y[i]] : (T)NOT_A_NUMBER;
            mine += weights ? weights[i] * of_sample : of_sample;
        }
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) partial[blockIdx.x] = mine;
    if (last_block(ticket, gridDim.x)) {
        double sum = sum_of_blocks(partial, gridDim.x);
        if (threadIdx.x == 0) *value = (T)(weights ? sum : sum / n);
    }
}

template <typename Z, typename T>
__device__ void gradient(const Z *z, const u32 *y, const T *weights, const T *scale, Z *g, u64 n, u32 outputs, Units units) {
    T factor = scale ? *scale : (T)1;
    for (u64 i = (u64)blockIdx.x * WARPS + threadIdx.x / 32; i < n; i += (u64)gridDim.x * WARPS) {
        Range r = range(units, y[i], outputs);
        bool valid = r.holds(y[i]);
        T most, sum;
        softmax<Z, T>(z + i * outputs, r, most, sum);
        T weight = valid ? (weights ? weights[i] * factor : factor / (T)n) : (T)NOT_A_NUMBER;
        for (u32 j = threadIdx.x % 32; j < outputs; j += 32) {
            T of_unit = r.holds(j) ? exp((T)z[i * outputs + j] - most) * (weight / sum) : (valid ? (T)0 : weight);
            g[i * outputs + j] = j == y[i] ? of_unit - weight : of_unit;
        }
    }
}

#define KERNEL(Z, T, NAME)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        cross_entropy_##NAME(const Z *z, const u32 *y, const T *weights, T *value, u64 n, u32 outputs, Units units,            \
                             double *partial, u32 *ticket) {                                                                   \
        loss<Z, T>(z, y, weights, value, n, outputs, units, partial, ticket);                                                  \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        cross_entropy_gradient_##NAME(const Z *z, const u32 *y, const T *weights, const T *scale, Z *g, u64 n, u32 outputs,    \
                                      Units units) {                                                                           \
        gradient<Z, T>(z, y, weights, scale, g, n, outputs, units);                                                            \
    }
FOR_STORED(KERNEL)
