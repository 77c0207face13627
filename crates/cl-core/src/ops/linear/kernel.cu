// What surrounds the matrix products of a linear layer: bias and activation, the mask of the backward pass, sums over rows. T is
// what is stored, A what is computed in.

// y ← act(y + b), b (columns) where there is one.
template <typename T, typename A> __device__ void bias_act(T *y, const T *b, u64 n, u32 columns, u32 relu) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        A sum = b ? (A)y[i] + (A)b[i % columns] : (A)y[i];
        y[i] = relu && sum < 0 ? (A)0 : sum; // NaN stays
    }
}

#define COLUMNS 32
#define ROWS (THREADS / COLUMNS)

// Column sums of g (rows, columns), of which those elements count where y > 0, if there is a y; these are written to `masked`,
// if there is one. out ← keep·out + scale·sum; where keep is 0, what was there is not read. A block takes COLUMNS columns of one
// of gridDim.y parts of the rows; the last block of a column adds up the parts, in order.
template <typename T, typename A>
__device__ void column_sums(const T *g, const T *y, T *masked, T *out, u64 rows, u32 columns, A keep, A scale, A *partial,
                            u32 *tickets) {
    __shared__ A sums[ROWS][COLUMNS];
    u32 x = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS, column = blockIdx.x * COLUMNS + x;
    u64 part = (rows + gridDim.y - 1) / gridDim.y, from = blockIdx.y * part, to = from + part < rows ? from + part : rows;
    A sum = 0;
    if (column < columns)
        for (u64 r = from + row; r < to; r += ROWS) {
            u64 i = r * columns + column;
            A value = !y || (A)y[i] > 0 ? (A)g[i] : (A)0;
            if (masked) masked[i] = value;
            sum += value;
        }
    sums[row][x] = sum;
    __syncthreads();
    if (row == 0) {
        for (int r = 1; r < ROWS; r++) sum += sums[r][x];
        if (gridDim.y > 1 && column < columns) partial[(u64)blockIdx.y * columns + column] = sum;
    }
    if (gridDim.y > 1) {
        if (!last_block(tickets + blockIdx.x, gridDim.y)) return;
        sum = 0;
        if (row == 0 && column < columns)
            for (u32 p = 0; p < gridDim.y; p++) sum += __ldcg(partial + (u64)p * columns + column);
    }
    if (out && row == 0 && column < columns) out[column] = keep == 0 ? scale * sum : keep * (A)out[column] + scale * sum;
}

// g (n·losses, columns) ← g where the activation y (n, columns) of its sample is above 0, else 0.
template <typename T, typename A> __device__ void mask(T *g, const T *y, u64 n, u32 columns, u32 losses) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        u64 sample = i / columns / losses;
        if (!((A)y[sample * columns + i % columns] > 0)) g[i] = (A)0;
    }
}

// Σ꜀ δₙ꜀²: (n, losses, columns) → (n, columns).
template <typename T> __device__ void sum_of_squares(const T *deltas, T *sums, u64 n, u32 columns, u32 losses) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        const T *d = deltas + i / columns * losses * columns + i % columns;
        T sum = 0;
        for (u32 c = 0; c < losses; c++) sum += d[(u64)c * columns] * d[(u64)c * columns];
        sums[i] = sum;
    }
}

#define KERNEL(T, A, NAME)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS) bias_act_##NAME(T *y, const T *b, u64 n, u32 columns, u32 relu) {    \
        bias_act<T, A>(y, b, n, columns, relu);                                                                                \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        column_sums_##NAME(const T *g, const T *y, T *masked, T *out, u64 rows, u32 columns, A keep, A scale, A *partial,      \
                           u32 *tickets) {                                                                                     \
        column_sums<T, A>(g, y, masked, out, rows, columns, keep, scale, partial, tickets);                                    \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) mask_##NAME(T *g, const T *y, u64 n, u32 columns, u32 losses) {      \
        mask<T, A>(g, y, n, columns, losses);                                                                                  \
    }
FOR_STORED(KERNEL)

#define SQUARES(T, NAME)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        sum_of_squares_##NAME(const T *deltas, T *sums, u64 n, u32 columns, u32 losses) {                                      \
        sum_of_squares<T>(deltas, sums, n, columns, losses);                                                                   \
    }
FOR_FLOATS(SQUARES)
