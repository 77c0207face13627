// Streamed in plain arithmetic: f64, any width, and cards without the tensor cores that kernel.cu asks for. The same in the same
// layout as there, but operands pass through shared memory a few columns at a time, in the type that is summed in, and a block
// makes COLUMNS columns of a result.
//
// Defined before: KIND; FORWARD, which pass it is; and of the backward pass KEYS, whether rows are keys; NEED1 or NEED2, which gradient is wanted: the one of the width of keys, or
// that of values.

constexpr int BLOCK = 128, ROWS = 64, BN = 32, NC = BN / 8, DEPTH = 32, COLUMNS = 64;

// R rows of C columns, from `column` on, of a matrix that has `rows` more of `width`; zeros beyond.
template <int R, int C, int S>
__device__ void fill(A (&to)[R][S], const T *from, u32 rows, u32 width, u32 column) {
    for (int at = threadIdx.x; at < R * C; at += BLOCK) {
        u32 row = at / C, c = at % C;
        to[row][c] = row < rows && column + c < width ? A(widen(from[(u64)row * width + column + c])) : A(0);
    }
}

struct Room {
    A left[ROWS][DEPTH + 1], right[BN][DEPTH + 1], across[BN][COLUMNS + 2];
};

// s ← x·yᵀ
__device__ void multiply_rows(A (&s)[1][NC][4], Room &room, const T *x, u32 rows, const T *y, u32 columns, u32 width) {
    const int g = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < NC; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[0][j][i] = 0;
    for (u32 column = 0; column < width; column += DEPTH) {
        __syncthreads();
        fill<ROWS, DEPTH>(room.left, x, rows, width, column);
        fill<BN, DEPTH>(room.right, y, columns, width, column);
        __syncthreads();
        for (int k = 0; k < DEPTH; k++) {
            A x0 = room.left[g][k], x1 = room.left[g + 8][k];
#pragma unroll
            for (int j = 0; j < NC; j++) {
                A y0 = room.right[8 * j + 2 * t][k], y1 = room.right[8 * j + 2 * t + 1][k];
                s[0][j][0] = fused(x0, y0, s[0][j][0]);
                s[0][j][1] = fused(x0, y1, s[0][j][1]);
                s[0][j][2] = fused(x1, y0, s[0][j][2]);
                s[0][j][3] = fused(x1, y1, s[0][j][3]);
            }
        }
    }
}

// sums ← sums·factors + s·y, columns from `column` on.
__device__ void add_product(A (&sums)[COLUMNS / 8][4], const A (&s)[1][NC][4], Room &room, const T *y, u32 rows, u32 width, u32 column, A factor0, A factor1) {
    const int lane = threadIdx.x % 32, t = lane % 4;
    __syncthreads();
    fill<BN, COLUMNS>(room.across, y, rows, width, column);
    __syncthreads();
#pragma unroll
    for (int c = 0; c < COLUMNS / 8; c++) sums[c][0] *= factor0, sums[c][1] *= factor0, sums[c][2] *= factor1, sums[c][3] *= factor1;
#pragma unroll
    for (int j = 0; j < NC; j++)
        for (int from = 0; from < 4; from++) {
            A weights[4];
#pragma unroll
            for (int i = 0; i < 4; i++) weights[i] = __shfl_sync(0xffffffffu, s[0][j][i], lane / 4 * 4 + from);
            const A *y0 = room.across[8 * j + 2 * from], *y1 = room.across[8 * j + 2 * from + 1];
#pragma unroll
            for (int c = 0; c < COLUMNS / 8; c++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    A a = y0[8 * c + 2 * t + i], b = y1[8 * c + 2 * t + i];
                    sums[c][i] = fused(weights[1], b, fused(weights[0], a, sums[c][i]));
                    sums[c][2 + i] = fused(weights[3], b, fused(weights[2], a, sums[c][2 + i]));
                }
        }
}

// A thread's part of a row, times `factor`.
template <typename To>
__device__ void store(To *to, u32 width, u32 from, const A (&sums)[COLUMNS / 8][4], int r, A factor) {
#pragma unroll
    for (int c = 0; c < COLUMNS / 8; c++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            u32 column = from + 8 * c + threadIdx.x % 4 * 2 + i;
            if (column < width) narrow(to + column, sums[c][2 * r + i] * factor);
        }
}

#if FORWARD

extern "C" __global__ void __launch_bounds__(BLOCK) retrieve_forward(Problem p) {
    __shared__ Room room;
    const int lane = threadIdx.x % 32;
    const Where at = where(p, (p.n + ROWS - 1) / ROWS);
    const u32 first = at.rows * ROWS, own = first + threadIdx.x / 32 * 16 + lane / 4, column = at.chunk * COLUMNS;
    const u64 queries = (u64)at.batch * p.n;
    const T *q = (const T *)p.q + (queries + first) * p.d;
    const T *k = (const T *)p.k + (p.shared_k ? 0 : (u64)at.batch * p.m * p.d);
    const T *v = (const T *)p.v + (p.shared_v ? 0 : (u64)at.batch * p.m * p.width);
    const u32 tiles = (p.m + BN - 1) / BN, from = at.split * p.tiles, to = min(tiles, from + p.tiles);
    A sums[COLUMNS / 8][4] = {}, top[1][2] = {{NOTHING, NOTHING}}, sum[1][2] = {}, factors[1][2];
    const A scale = A(p.beta * 1.4426950408889634074);
    for (u32 tile = from; tile < to; tile++) {
        const u32 key = tile * BN;
        A s[1][NC][4];
        multiply_rows(s, room, q, p.n - first, k + (u64)key * p.d, p.m - key, p.d);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const T *mask = p.mask ? mask_row(p, queries + min(own + 8 * r, p.n - 1)) : 0;
#pragma unroll
            for (int j = 0; j < NC; j++)
#pragma unroll
                for (int c = 0; c < 2; c++) {
                    u32 other = key + 8 * j + lane % 4 * 2 + c;
                    A &one = s[0][j][2 * r + c];
                    if (other >= p.m) one = NOTHING;
                    else one = mask ? fused(one, scale, shift_of(A(widen(mask[other])))) : one * scale;
                }
        }
        soften<1, NC>(s, A(1), top, sum, factors);
        if (p.width > 0) add_product(sums, s, room, v + (u64)key * p.width, p.m - key, p.width, column, factors[0][0], factors[0][1]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        A whole = over_row(sum[0][r]);
        if (own + 8 * r >= p.n) continue;
        u64 all = (u64)p.batch * p.n, row = queries + own + 8 * r, part = at.split * all + row;
        A log = whole == 0 ? NOTHING : top[0][r] + log2(whole), factor = whole == 0 ? A(0) : 1 / whole;
        bool logs = at.chunk == 0 && lane % 4 == 0;
        if (p.partial_more) {
            if (logs) ((A *)p.partial_more)[part] = log;
            store((A *)p.partial + part * p.width, p.width, column, sums, r, factor);
        } else {
            if (logs) ((A *)p.log)[row] = log * LN2;
            store((T *)p.out + row * p.width, p.width, column, sums, r, factor);
        }
    }
}

#else

// ∂Q, ∂K or ∂V: as that of kernel.cu.
extern "C" __global__ void __launch_bounds__(BLOCK) retrieve_backward(Problem p) {
    __shared__ Room room;
    const int lane = threadIdx.x % 32;
    const u32 rows = KEYS ? p.m : p.n, columns = KEYS ? p.n : p.m;
    const Where at = where(p, (rows + ROWS - 1) / ROWS);
    const u32 first = at.rows * ROWS, own = first + threadIdx.x / 32 * 16 + lane / 4, column = at.chunk * COLUMNS;
    const u64 queries = (u64)at.batch * p.n;
    const T *q = (const T *)p.q + queries * p.d, *g = (const T *)p.grad + queries * p.width;
    const T *k = (const T *)p.k + (p.shared_k ? 0 : (u64)at.batch * p.m * p.d);
    const T *v = (const T *)p.v + (p.shared_v ? 0 : (u64)at.batch * p.m * p.width);
    const T *x = (KEYS ? k : q) + (u64)first * p.d, *z = (KEYS ? v : g) + (u64)first * p.width;
    const T *y = KEYS ? q : k, *w = KEYS ? g : v;
    const A *shift = (const A *)p.shift + queries, *less = (const A *)p.less + queries;
    const u32 tiles = (columns + BN - 1) / BN, from = at.split * p.tiles, to = min(tiles, from + p.tiles);
    A sums[COLUMNS / 8][4] = {};
    const A scale = A(p.beta * 1.4426950408889634074);
    for (u32 tile = from; tile < to; tile++) {
        const u32 start = tile * BN;
        A s[1][NC][4], inner[1][NC][4];
        multiply_rows(s, room, x, rows - first, y + (u64)start * p.d, columns - start, p.d);
        if (NEED1) multiply_rows(inner, room, z, rows - first, w + (u64)start * p.width, columns - start, p.width);
#pragma unroll
        for (int j = 0; j < NC; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u32 row = min(own + i / 2 * 8, rows - 1), other = start + 8 * j + lane % 4 * 2 + i % 2;
                u32 there = min(other, columns - 1), query = KEYS ? there : row, key = KEYS ? row : there;
                A under = shift[query];
                if (p.mask) under -= shift_of(A(widen(mask_row(p, queries + query)[key])));
                A weight = other < columns ? power(fused(s[0][j][i], scale, -under)) : A(0);
                s[0][j][i] = NEED1 ? weight * (inner[0][j][i] - less[query]) : weight;
            }
        if (NEED1) add_product(sums, s, room, y + (u64)start * p.d, columns - start, p.d, column, 1, 1);
        else add_product(sums, s, room, w + (u64)start * p.width, columns - start, p.width, column, 1, 1);
    }
    const u32 width = NEED1 ? p.d : p.width;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        if (own + 8 * r >= rows) continue;
        u64 all = (u64)p.batch * rows, row = (u64)at.batch * rows + own + 8 * r;
        u64 partial = NEED1 ? p.partial : p.partial_more, whole = NEED1 ? KEYS ? p.grad_k : p.grad_q : p.grad_v;
        A factor = NEED1 ? A(p.beta) : A(1);
        if (partial) store((A *)partial + (at.split * all + row) * width, width, column, sums, r, factor);
        else store((T *)whole + row * width, width, column, sums, r, factor);
    }
}

#endif
