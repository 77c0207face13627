// The temporal links of memories, L′ᵢⱼ = (1 − wᵢ − wⱼ) Lᵢⱼ + wᵢ pⱼ with L′ᵢᵢ = 0, and their gradients: a block for a tile of the
// n × n links of one of the memories.

#define TILE 64
#define WARPS (THREADS / 32)

// Which tile a block has: that of rows from `row` and columns from `column` on, of memory `b`.
struct Tile {
    u64 b;
    u32 across, row, column;
};

__device__ Tile tile(u32 n) {
    u32 across = (n + TILE - 1) / TILE, tiles = across * across, at = blockIdx.x % tiles;
    return {blockIdx.x / tiles, across, at / across * TILE, at % across * TILE};
}

template <typename T> __device__ void forward(const T *l, const T *w, const T *p, T *new_, u32 n) {
    Tile at = tile(n);
    l += at.b * n * n, new_ += at.b * n * n, w += at.b * n, p += at.b * n;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u32 i = at.row + warp; i < at.row + TILE && i < n; i += WARPS)
        for (u32 j = at.column + lane; j < at.column + TILE && j < n; j += 32) {
            u64 ij = (u64)i * n + j;
            new_[ij] = i == j ? (T)0 : (1 - w[i] - w[j]) * l[ij] + w[i] * p[j];
        }
}

// With G the gradient g of L′, its diagonal 0: ∂L, and of each tile what ∂w and ∂p are summed from: (memories, tiles across, n)
// each, `of_rows` Σⱼ Gᵢⱼ (pⱼ − Lᵢⱼ), `lost` Σᵢ Gᵢⱼ Lᵢⱼ, `of_columns` Σᵢ wᵢ Gᵢⱼ.
template <typename T>
__device__ void backward(const T *l, const T *w, const T *p, const T *g, T *gl, T *of_rows, T *lost, T *of_columns, u32 n) {
    __shared__ T sums[2][WARPS][TILE];
    Tile at = tile(n);
    l += at.b * n * n, g += at.b * n * n, gl += at.b * n * n, w += at.b * n, p += at.b * n;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T of_lost[TILE / 32] = {}, of_column[TILE / 32] = {};
    for (u32 i = at.row + warp; i < at.row + TILE && i < n; i += WARPS) {
        T of_row = 0;
#pragma unroll
        for (u32 part = 0; part < TILE / 32; part++) {
            u32 j = at.column + part * 32 + lane;
            if (j >= n) continue;
            u64 ij = (u64)i * n + j;
            T gradient = i == j ? (T)0 : g[ij], of_old = gradient * l[ij];
            of_row += gradient * p[j] - of_old;
            of_lost[part] += of_old;
            of_column[part] += w[i] * gradient;
            gl[ij] = gradient * (1 - w[i] - w[j]);
        }
        for (u32 step = 16; step > 0; step /= 2) of_row += __shfl_down_sync(0xffffffffu, of_row, step);
        if (lane == 0) of_rows[(at.b * at.across + at.column / TILE) * n + i] = of_row;
    }
    for (u32 part = 0; part < TILE / 32; part++) {
        sums[0][warp][part * 32 + lane] = of_lost[part];
        sums[1][warp][part * 32 + lane] = of_column[part];
    }
    __syncthreads();
    for (u32 x = threadIdx.x; x < TILE && at.column + x < n; x += THREADS) {
        T both[2] = {};
        for (u32 y = 0; y < WARPS; y++) both[0] += sums[0][y][x], both[1] += sums[1][y][x];
        u64 to = (at.b * at.across + at.row / TILE) * n + at.column + x;
        lost[to] = both[0], of_columns[to] = both[1];
    }
}

// ∂w and ∂p (memories, n) from those of the tiles, in their order.
template <typename T>
__device__ void sums_of_tiles(const T *of_rows, const T *lost, const T *of_columns, T *gw, T *gp, u64 memories, u32 n) {
    u32 across = (n + TILE - 1) / TILE;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < memories * n; i += (u64)gridDim.x * THREADS) {
        u64 from = i / n * across * n + i % n;
        T of_row = 0, of_lost = 0, of_column = 0;
        for (u32 tile = 0; tile < across; tile++) {
            u64 at = from + (u64)tile * n;
            of_row += of_rows[at], of_lost += lost[at], of_column += of_columns[at];
        }
        gw[i] = of_row - of_lost;
        gp[i] = of_column;
    }
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        link_##NAME(const T *l, const T *w, const T *p, T *new_, u32 n) {                                                      \
        forward<T>(l, w, p, new_, n);                                                                                          \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        link_backward_##NAME(const T *l, const T *w, const T *p, const T *g, T *gl, T *of_rows, T *lost, T *of_columns,        \
                             u32 n) {                                                                                          \
        backward<T>(l, w, p, g, gl, of_rows, lost, of_columns, n);                                                             \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        link_sums_##NAME(const T *of_rows, const T *lost, const T *of_columns, T *gw, T *gp, u64 memories, u32 n) {            \
        sums_of_tiles<T>(of_rows, lost, of_columns, gw, gp, memories, n);                                                      \
    }
FOR_FLOATS(KERNEL)
