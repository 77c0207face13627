// What a block does together: every function here is called by all of its threads, and when it is done, each of them sees what the
// others have written. Sums are made in a fixed order.

// Threads of a block: one block has a whole sequence, so it is a large one.
#define BLOCK 512
#define WARPS (BLOCK / 32)
// Vectors that a matrix is multiplied by in one pass over it.
#define SIDE 4

// f(i) of n elements.
template <typename F> __device__ void each(u32 n, F f) {
    for (u32 i = threadIdx.x; i < n; i += BLOCK) f(i);
    __syncthreads();
}

// f(i, j) of the elements of a matrix, a warp along each row.
template <typename F> __device__ void each_of(u32 rows, u32 columns, F f) {
    for (u32 i = threadIdx.x / 32; i < rows; i += WARPS)
        for (u32 j = threadIdx.x % 32; j < columns; j += 32) f(i, j);
    __syncthreads();
}

template <typename T> __device__ T of_warp(T value) {
    for (u32 step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

// Σ f(i) over n elements, for all threads.
template <typename T, typename F> __device__ T total(u32 n, F f) {
    __shared__ T warps[WARPS];
    T sum = 0;
    for (u32 i = threadIdx.x; i < n; i += BLOCK) sum += f(i);
    sum = of_warp(sum);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (u32 warp = 0; warp < WARPS; warp++) sum += warps[warp];
    __syncthreads();
    return sum;
}

// Σ aᵢbᵢ, for all threads.
template <typename T> __device__ T dot(u32 n, const T *a, const T *b) {
    return total<T>(n, [=](u32 i) { return a[i] * b[i]; });
}

// The largest of n numbers, for all threads. NaN is none.
template <typename T> __device__ T largest(u32 n, const T *x) {
    __shared__ T warps[WARPS];
    T top = -INFINITE;
    for (u32 i = threadIdx.x; i < n; i += BLOCK) top = x[i] > top ? x[i] : top;
    for (u32 step = 16; step > 0; step /= 2) {
        T other = __shfl_xor_sync(0xffffffffu, top, step);
        top = other > top ? other : top;
    }
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = top;
    __syncthreads();
    for (u32 warp = 0; warp < WARPS; warp++) top = warps[warp] > top ? warps[warp] : top;
    __syncthreads();
    return top;
}

// K sums over each row of a matrix: f(i, j, sums) adds what an element gives to them, g(i, sums) takes them. A warp has a row.
template <int K, typename T, typename F, typename G> __device__ void over_rows(u32 rows, u32 columns, F f, G g) {
    for (u32 i = threadIdx.x / 32; i < rows; i += WARPS) {
        T sums[K] = {};
        for (u32 j = threadIdx.x % 32; j < columns; j += 32) f(i, j, sums);
#pragma unroll
        for (int k = 0; k < K; k++) sums[k] = of_warp(sums[k]);
        if (threadIdx.x % 32 == 0) g(i, sums);
    }
    __syncthreads();
}

// K sums over each column likewise: f(i, j, sums), then g(j, sums). A lane has a column; where the columns are few, several warps
// share them, and their sums meet in `shared`, K · BLOCK numbers.
template <int K, typename T, typename F, typename G>
__device__ void over_columns(u32 rows, u32 columns, T *shared, F f, G g) {
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, groups = (columns + 31) / 32;
    u32 at_once = groups < WARPS ? groups : WARPS, parts = WARPS / at_once, part = warp / at_once;
    for (u32 first = 0; first < groups; first += at_once) {
        u32 j = (first + warp % at_once) * 32 + lane;
        T sums[K] = {};
        if (part < parts && j < columns)
            for (u32 i = part; i < rows; i += parts) f(i, j, sums);
#pragma unroll
        for (int k = 0; k < K; k++) shared[k * BLOCK + threadIdx.x] = sums[k];
        __syncthreads();
        if (part == 0 && j < columns) {
            for (u32 other = 1; other < parts; other++)
#pragma unroll
                for (int k = 0; k < K; k++) sums[k] += shared[k * BLOCK + threadIdx.x + other * at_once * 32];
            g(j, sums);
        }
        __syncthreads();
    }
}

// M·vₕ for each head: out(h, i, Σⱼ mᵢⱼ vₕⱼ), of m (rows, columns) and v (heads, columns).
template <typename T, typename Out>
__device__ void times(u32 rows, u32 columns, u32 heads, const T *m, const T *v, Out out) {
    for (u32 first = 0; first < heads; first += SIDE)
        over_rows<SIDE, T>(
            rows, columns,
            [=](u32 i, u32 j, T *sums) {
                T x = m[(u64)i * columns + j];
#pragma unroll
                for (int k = 0; k < SIDE; k++)
                    if (first + k < heads) sums[k] += x * v[(u64)(first + k) * columns + j];
            },
            [=](u32 i, const T *sums) {
#pragma unroll
                for (int k = 0; k < SIDE; k++)
                    if (first + k < heads) out(first + k, i, sums[k]);
            });
}

// Mᵀ·vₕ for each head: out(h, j, Σᵢ mᵢⱼ vₕᵢ), of m (rows, columns) and v (heads, rows).
template <typename T, typename Out>
__device__ void transposed_times(u32 rows, u32 columns, u32 heads, const T *m, const T *v, T *shared, Out out) {
    for (u32 first = 0; first < heads; first += SIDE)
        over_columns<SIDE, T>(
            rows, columns, shared,
            [=](u32 i, u32 j, T *sums) {
                T x = m[(u64)i * columns + j];
#pragma unroll
                for (int k = 0; k < SIDE; k++)
                    if (first + k < heads) sums[k] += x * v[(u64)(first + k) * rows + i];
            },
            [=](u32 j, const T *sums) {
#pragma unroll
                for (int k = 0; k < SIDE; k++)
                    if (first + k < heads) out(first + k, j, sums[k]);
            });
}
