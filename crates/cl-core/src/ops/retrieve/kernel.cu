// Streamed on tensor cores, for widths up to 256: forward after FlashAttention-2 (Dao 2023); backward with one kernel for what is
// summed over keys and one for what is summed over queries, so that no two blocks add to the same number.
//
// A warp owns 16·MT rows and goes over blocks of BN columns with the others, or over its part of them where WN > 1: queries and
// keys forward and for ∂Q, keys and queries for ∂K and ∂V. Operands come into shared memory ahead of their use. Scores and
// weights stay in registers: the layout of a product's result is that of the next one's left operand.
//
// Half precision takes products of 16 × 8 × 16 and sums in f32. f32 takes three products of TF32 for one: each number is the sum
// of two of 11 bits, and what is left out is the product of the small ones, 2⁻²² of the whole.
//
// Defined before: KIND; D and V, how wide keys and values are, filled with zeros to a multiple of 16 (V 0 for none); MT, WM, WN,
// warps over rows and columns; BN; STAGES, blocks of columns that are in shared memory; HELD, whether the left operand stays in
// registers; MASK, whether there is one; FORWARD, which pass it is; and of the backward pass KEYS, whether rows are keys; NEED1
// and NEED2, which gradients are wanted: those of D columns, and of V.

constexpr int BLOCK = 32 * WM * WN;
constexpr int ROWS = 16 * MT * WM;
// Columns of a warp, and how many results of 8 columns it has of them.
constexpr int MINE = BN / WN, NC = MINE / 8;
// Numbers of 16 bytes; what stands between rows in shared memory so that no two threads want the same bank; the depth of a product.
constexpr int PACK = 16 / sizeof(T), STEP = HALF ? 16 : 8;
static_assert(MINE % (HALF ? 16 : 8) == 0, "a warp's columns are whole products");

template <int C> constexpr int STRIDE = C == 0 ? 0 : C + PACK;

typedef A Scores[MT][NC][4];
template <int C> using Sums = A[MT][C == 0 ? 1 : C / 8][4];

__device__ u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes on their way into shared memory; zeros where there are none.
__device__ void copy_async(void *to, const void *from, bool there) {
    int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
__device__ void copy_number_async(void *to, const void *from, bool there) {
    int bytes = there ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
__device__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// R rows of C columns into shared memory, of a matrix that has `rows` more of `width`; zeros beyond. Where it is not aligned it
// comes number by number.
template <int R, int C> __device__ void load(T *to, const T *from, u32 rows, u32 width, bool aligned) {
    constexpr int PACKS = C / PACK, EACH = BLOCK / PACKS; // rows at a time
    static_assert(PACKS <= BLOCK, "a row is not wider than a block");
    const u32 own = threadIdx.x / PACKS, column = threadIdx.x % PACKS * PACK;
    if (BLOCK % PACKS != 0 && own >= EACH) return;
    const T *source = from + (u64)own * width + column;
    const u64 further = (u64)EACH * width;
    to += own * STRIDE<C> + column;
#pragma unroll
    for (int i = 0; i < (R + EACH - 1) / EACH; i++) {
        u32 row = own + i * EACH;
        if (R % EACH != 0 && row >= R) break;
        bool within = row < rows && column < width;
        if (aligned) {
            copy_async(to, within ? source : from, within);
        } else {
            Pack<T> x;
            for (int e = 0; e < PACK; e++) x.v[e] = within && column + e < width ? source[e] : T(0);
            *(Pack<T> *)to = x;
        }
        source += further;
        to += EACH * STRIDE<C>;
    }
}

__device__ bool is_aligned(u64 pointer, u32 width) { return pointer % 16 == 0 && width % PACK == 0 && width > 0; }

// The signs of what this thread has loaded are turned.
template <int R, int C> __device__ void negate(T *x) {
    constexpr int PACKS = C / PACK, EACH = BLOCK / PACKS;
    const u32 own = threadIdx.x / PACKS;
    for (u32 row = own; row < R && own < EACH; row += EACH) {
        uint4 *pack = (uint4 *)(x + row * STRIDE<C> + threadIdx.x % PACKS * PACK);
        const u32 sign = HALF ? 0x80008000u : 0x80000000u;
        uint4 y = *pack;
        y.x ^= sign, y.y ^= sign, y.z ^= sign, y.w ^= sign;
        *pack = y;
    }
}

// The left operand of a product: 16·MT rows in shared memory, or a warp's part of them in registers.
template <int C, bool IN_REGISTERS> struct Left {
    const T *x;
    u32 held[IN_REGISTERS && C > 0 ? C / STEP : 1][MT][4];

    __device__ void hold() {
        if constexpr (IN_REGISTERS) {
#pragma unroll
            for (int k = 0; k < C / STEP; k++) read(k, held[k]);
        }
    }
    __device__ void get(int k, u32 (&a)[MT][4]) const {
        if constexpr (IN_REGISTERS) {
#pragma unroll
            for (int mt = 0; mt < MT; mt++)
#pragma unroll
                for (int i = 0; i < 4; i++) a[mt][i] = held[k][mt][i];
        } else {
            read(k, a);
        }
    }
    __device__ void read(int k, u32 (&a)[MT][4]) const;
};

#if HALF

__device__ void load_matrices(u32 (&r)[4], const T *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}
__device__ void load_transposed(u32 (&r)[4], const T *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}

__device__ void multiply(A (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if KIND == 0
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#endif
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ u32 narrowed(float low, float high) {
    u32 both;
#if KIND == 0
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
    return both;
}

template <int C, bool IN_REGISTERS> __device__ void Left<C, IN_REGISTERS>::read(int k, u32 (&a)[MT][4]) const {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
        load_matrices(a[mt], x + (16 * mt + lane % 16) * STRIDE<C> + 16 * k + lane / 16 * 8);
}

// s ← s + x·yᵀ over C columns of both.
template <int C, bool IN_REGISTERS>
__device__ void multiply_rows(Scores &s, const Left<C, IN_REGISTERS> &x, const T *y) {
    int lane = threadIdx.x % 32;
    y += (lane % 8 + lane / 16 * 8) * STRIDE<C> + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < C / 16; k++) {
        u32 a[MT][4];
        x.get(k, a);
#pragma unroll
        for (int j = 0; j < NC; j += 2) {
            u32 b[4];
            load_matrices(b, y + 8 * j * STRIDE<C> + 16 * k);
#pragma unroll
            for (int mt = 0; mt < MT; mt++) {
                multiply(s[mt][j], a[mt], b[0], b[1]);
                multiply(s[mt][j + 1], a[mt], b[2], b[3]);
            }
        }
    }
}

// sums ← sums·factors + s·y, y of as many rows as s has columns.
template <int C, typename S> __device__ void add_product(S &sums, Scores &s, const T *y, const A (*factors)[2]) {
    int lane = threadIdx.x % 32;
    if (factors) {
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int c = 0; c < C / 8; c++)
#pragma unroll
                for (int i = 0; i < 4; i++) sums[mt][c][i] *= factors[mt][i / 2];
    }
    y += lane % 16 * STRIDE<C> + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < NC; j += 2) {
        u32 a[MT][4];
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int i = 0; i < 4; i++) a[mt][i] = narrowed(s[mt][j + i / 2][i % 2 * 2], s[mt][j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int c = 0; c < C / 8; c += 2) {
            u32 b[4];
            load_transposed(b, y + 8 * j * STRIDE<C> + 8 * c);
#pragma unroll
            for (int mt = 0; mt < MT; mt++) {
                multiply(sums[mt][c], a[mt], b[0], b[1]);
                multiply(sums[mt][c + 1], a[mt], b[2], b[3]);
            }
        }
    }
}

#else

// x = big + small, both of 11 bits, but for 2⁻²² of it.
__device__ void split(float x, u32 &big, u32 &small) {
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(big) : "f"(x));
    big &= 0xffffe000u; // what it leaves below its own bits is not said
    // Of an infinite number nothing is left, and ∞ − ∞ is no number.
    float rest = isinf(__uint_as_float(big)) ? 0 : x - __uint_as_float(big);
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(small) : "f"(rest));
}

__device__ void multiply(A (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The small products first: they would be lost in the large one.
__device__ void multiply(A (&c)[4], const u32 (&big)[4], const u32 (&small)[4], float b0, float b1) {
    u32 big0, small0, big1, small1;
    split(b0, big0, small0);
    split(b1, big1, small1);
    multiply(c, small, big0, big1);
    multiply(c, big, small0, small1);
    multiply(c, big, big0, big1);
}

template <int C, bool IN_REGISTERS> __device__ void Left<C, IN_REGISTERS>::read(int k, u32 (&a)[MT][4]) const {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[mt][i] = __float_as_uint(x[(16 * mt + g + i % 2 * 8) * STRIDE<C> + 8 * k + t + i / 2 * 4]);
}

template <int C, bool IN_REGISTERS>
__device__ void multiply_rows(Scores &s, const Left<C, IN_REGISTERS> &x, const T *y) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    y += g * STRIDE<C> + t;
#pragma unroll 4
    for (int k = 0; k < C / 8; k++) {
        u32 big[MT][4], small[MT][4];
        x.get(k, big);
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int i = 0; i < 4; i++) split(__uint_as_float(big[mt][i]), big[mt][i], small[mt][i]);
#pragma unroll
        for (int j = 0; j < NC; j++) {
            float b0 = y[8 * j * STRIDE<C> + 8 * k], b1 = y[8 * j * STRIDE<C> + 8 * k + 4];
#pragma unroll
            for (int mt = 0; mt < MT; mt++) multiply(s[mt][j], big[mt], small[mt], b0, b1);
        }
    }
}

// Each block's product is summed by itself: in a long sum of their own the tensor cores, which cut off, would lose what is small.
template <int C, typename S> __device__ void add_product(S &sums, Scores &s, const T *y, const A (*factors)[2]) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    // Columns 2t and 2t + 1 of s stand where a left operand has t and t + 4: the rows of y are taken in the same order.
    y += 2 * t * STRIDE<C> + g;
    u32 big[MT][NC][4], small[MT][NC][4];
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int j = 0; j < NC; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) split(s[mt][j][i % 2 * 2 + i / 2], big[mt][j][i], small[mt][j][i]);
#pragma unroll
    for (int c = 0; c < C / 8; c++) {
        A fresh[MT][4] = {};
#pragma unroll
        for (int j = 0; j < NC; j++) {
            float b0 = y[8 * j * STRIDE<C> + 8 * c], b1 = y[(8 * j + 1) * STRIDE<C> + 8 * c];
#pragma unroll
            for (int mt = 0; mt < MT; mt++) multiply(fresh[mt], big[mt][j], small[mt][j], b0, b1);
        }
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sums[mt][c][i] = factors ? fused(sums[mt][c][i], factors[mt][i / 2], fresh[mt][i]) : sums[mt][c][i] + fresh[mt][i];
    }
}

#endif

// Writes a thread's part of rows of C columns, of which there are `width`: times `factor`.
template <typename To, int C, typename S>
__device__ void store(To *to, u32 width, const S &sums, int r, A factor) {
    int t = threadIdx.x % 4;
#pragma unroll
    for (int c = 0; c < C / 8; c++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            u32 column = 8 * c + 2 * t + i;
            if (column < width) narrow(to + column, sums[c][2 * r + i] * factor);
        }
}

#if FORWARD

extern "C" __global__ void __launch_bounds__(BLOCK) retrieve_forward(Problem p) {
    extern __shared__ __align__(16) unsigned char memory[];
    T *queries = (T *)memory, *stages = queries + ROWS * STRIDE<D>;
    constexpr int KEYS_SIZE = BN * STRIDE<D>, STAGE = KEYS_SIZE + BN * STRIDE<V>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warp_row = warp / WN, warp_column = warp % WN;
    const Where at = where(p, (p.n + ROWS - 1) / ROWS);
    const u32 first = at.rows * ROWS;
    const T *q = (const T *)p.q + ((u64)at.batch * p.n + first) * p.d;
    const T *k = (const T *)p.k + (p.shared_k ? 0 : (u64)at.batch * p.m * p.d);
    const T *v = (const T *)p.v + (p.shared_v ? 0 : (u64)at.batch * p.m * p.width);
    const u32 tiles = (p.m + BN - 1) / BN, from = at.split * p.tiles, to = min(tiles, from + p.tiles);
    const bool aligned_k = is_aligned((u64)k, p.d), aligned_v = is_aligned((u64)v, p.width);

    auto fetch = [&](u32 tile) {
        if (tile < to) {
            T *stage = stages + tile % STAGES * STAGE;
            u64 key = (u64)tile * BN;
            load<BN, D>(stage, k + key * p.d, p.m - (u32)key, p.d, aligned_k);
            if constexpr (V > 0) load<BN, V>(stage + KEYS_SIZE, v + key * p.width, p.m - (u32)key, p.width, aligned_v);
        }
        commit();
    };
    load<ROWS, D>(queries, q, p.n - first, p.d, is_aligned((u64)q, p.d));
    for (u32 tile = from; tile < from + STAGES - 1; tile++) fetch(tile);

    Left<D, HELD> mine;
    mine.x = queries + warp_row * 16 * MT * STRIDE<D>;
    Sums<V> sums = {};
    A top[MT][2], sum[MT][2], factors[MT][2];
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) top[mt][r] = NOTHING, sum[mt][r] = 0;
    // Scores are multiplied after their maximum is taken, which is the largest only where β is not below 0.
    const A scale = A(fabs(p.beta) * 1.4426950408889634074);
    for (u32 tile = from; tile < to; tile++) {
        wait<STAGES - 2>();
        if (tile == from && p.beta < 0) negate<ROWS, D>(queries);
        __syncthreads();
        if (tile == from) mine.hold();
        fetch(tile + STAGES - 1);
        const T *stage = stages + tile % STAGES * STAGE;
        Scores s = {};
        multiply_rows<D, HELD>(s, mine, stage + warp_column * MINE * STRIDE<D>);
        A scale_here = scale;
        const u32 key = tile * BN + warp_column * MINE;
        if (MASK || tile * BN + BN > p.m) {
            scale_here = 1;
#pragma unroll
            for (int mt = 0; mt < MT; mt++)
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    u32 row = min(first + warp_row * 16 * MT + 16 * mt + lane / 4 + 8 * r, p.n - 1);
                    const T *mask = MASK ? mask_row(p, (u64)at.batch * p.n + row) : 0;
#pragma unroll
                    for (int j = 0; j < NC; j++)
#pragma unroll
                        for (int c = 0; c < 2; c++) {
                            u32 column = key + 8 * j + lane % 4 * 2 + c;
                            A &one = s[mt][j][2 * r + c];
                            if (column >= p.m) one = NOTHING;
                            else one = MASK ? fused(one, scale, shift_of(widen(mask[column]))) : one * scale;
                        }
                }
        }
        soften<MT, NC>(s, scale_here, top, sum, factors);
        if constexpr (V > 0) add_product<V>(sums, s, stage + KEYS_SIZE + warp_column * MINE * STRIDE<V>, factors);
    }

    const u64 slot = at.split * WN + warp_column, all = (u64)p.batch * p.n;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            u32 query = first + warp_row * 16 * MT + 16 * mt + lane / 4 + 8 * r;
            A whole = over_row(sum[mt][r]);
            if (query >= p.n) continue;
            u64 row = (u64)at.batch * p.n + query;
            A log = whole == 0 ? NOTHING : top[mt][r] + log2f(whole), factor = whole == 0 ? A(0) : 1 / whole;
            if (p.partial_more) {
                if (lane % 4 == 0) ((A *)p.partial_more)[slot * all + row] = log;
                if constexpr (V > 0) store<A, V>((A *)p.partial + (slot * all + row) * p.width, p.width, sums[mt], r, factor);
            } else {
                if (lane % 4 == 0) ((A *)p.log)[row] = log * LN2;
                if constexpr (V > 0) store<T, V>((T *)p.out + row * p.width, p.width, sums[mt], r, factor);
            }
        }
}

#else

// ∂Q, or ∂K and ∂V: rows x with their gradients of the result or values z, over columns y with theirs.
extern "C" __global__ void __launch_bounds__(BLOCK) retrieve_backward(Problem p) {
    extern __shared__ __align__(16) unsigned char memory[];
    // Whether the product of gradients and values is needed.
    constexpr bool INNER = NEED1 && V > 0;
    constexpr int X = ROWS * STRIDE<D>, Z = INNER ? ROWS * STRIDE<V> : 0;
    constexpr int Y = BN * STRIDE<D>, W = V > 0 ? BN * STRIDE<V> : 0, STAGE = Y + W + (KEYS ? 2 * BN * sizeof(A) / sizeof(T) : 0);
    T *x = (T *)memory, *z = x + X, *stages = z + Z;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warp_row = warp / WN, warp_column = warp % WN;
    const u32 rows = KEYS ? p.m : p.n, columns = KEYS ? p.n : p.m;
    const Where at = where(p, (rows + ROWS - 1) / ROWS);
    const u32 first = at.rows * ROWS;
    const u64 queries = (u64)at.batch * p.n;
    const T *q = (const T *)p.q + queries * p.d, *g = (const T *)p.grad + queries * p.width;
    const T *k = (const T *)p.k + (p.shared_k ? 0 : (u64)at.batch * p.m * p.d);
    const T *v = (const T *)p.v + (p.shared_v ? 0 : (u64)at.batch * p.m * p.width);
    const T *of_rows = (KEYS ? k : q) + (u64)first * p.d, *more_of_rows = (KEYS ? v : g) + (u64)first * p.width;
    const T *of_columns = KEYS ? q : k, *more_of_columns = KEYS ? g : v;
    const A *shift = (const A *)p.shift + queries, *less = (const A *)p.less + queries;
    const u32 tiles = (columns + BN - 1) / BN, from = at.split * p.tiles, to = min(tiles, from + p.tiles);
    const bool aligned = is_aligned((u64)of_columns, p.d), more_aligned = is_aligned((u64)more_of_columns, p.width);

    auto fetch = [&](u32 tile) {
        if (tile < to) {
            T *stage = stages + tile % STAGES * STAGE;
            u64 column = (u64)tile * BN;
            u32 left = columns - (u32)column;
            load<BN, D>(stage, of_columns + column * p.d, left, p.d, aligned);
            if constexpr (V > 0) load<BN, V>(stage + Y, more_of_columns + column * p.width, left, p.width, more_aligned);
            if constexpr (KEYS) {
                A *numbers = (A *)(stage + Y + W);
                for (int i = threadIdx.x; i < BN; i += BLOCK) {
                    copy_number_async(numbers + i, shift + column + (i < left ? i : 0), i < left);
                    copy_number_async(numbers + BN + i, less + column + (i < left ? i : 0), i < left);
                }
            }
        }
        commit();
    };
    load<ROWS, D>(x, of_rows, rows - first, p.d, is_aligned((u64)of_rows, p.d));
    if constexpr (INNER) load<ROWS, V>(z, more_of_rows, rows - first, p.width, is_aligned((u64)more_of_rows, p.width));
    for (u32 tile = from; tile < from + STAGES - 1; tile++) fetch(tile);

    Left<D, HELD> mine;
    Left<V, HELD> more;
    mine.x = x + warp_row * 16 * MT * STRIDE<D>, more.x = z + warp_row * 16 * MT * STRIDE<V>;
    Sums<NEED1 ? D : 0> sums = {};
    Sums<NEED2 ? V : 0> more_sums = {};
    A own_shift[MT][2], own_less[MT][2];
    if constexpr (!KEYS) {
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                u32 row = min(first + warp_row * 16 * MT + 16 * mt + lane / 4 + 8 * r, rows - 1);
                own_shift[mt][r] = shift[row], own_less[mt][r] = less[row];
            }
    }
    const A scale = A(p.beta * 1.4426950408889634074);
    for (u32 tile = from; tile < to; tile++) {
        wait<STAGES - 2>();
        __syncthreads();
        if (tile == from) {
            mine.hold();
            if constexpr (INNER) more.hold();
        }
        fetch(tile + STAGES - 1);
        const T *stage = stages + tile % STAGES * STAGE;
        const T *y = stage + warp_column * MINE * STRIDE<D>, *w = stage + Y + warp_column * MINE * STRIDE<V>;
        const A *numbers = (const A *)(stage + Y + W) + warp_column * MINE;
        Scores s = {}, inner = {};
        multiply_rows<D, HELD>(s, mine, y);
        if constexpr (INNER) multiply_rows<V, HELD>(inner, more, w);
        const u32 column = tile * BN + warp_column * MINE;
        const bool edge = tile * BN + BN > columns;
#pragma unroll
        for (int mt = 0; mt < MT; mt++)
#pragma unroll
            for (int j = 0; j < NC; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    u32 c = 8 * j + lane % 4 * 2 + i % 2;
                    A less_here, under;
                    if constexpr (KEYS) under = numbers[c], less_here = numbers[BN + c];
                    else under = own_shift[mt][i / 2], less_here = own_less[mt][i / 2];
                    if constexpr (MASK) {
                        u32 row = min(first + warp_row * 16 * MT + 16 * mt + lane / 4 + i / 2 * 8, rows - 1);
                        u32 other = min(column + c, columns - 1);
                        under -= shift_of(widen(mask_row(p, queries + (KEYS ? other : row))[KEYS ? row : other]));
                    }
                    A weight = power(fused(s[mt][j][i], scale, -under));
                    if (edge && column + c >= columns) weight = 0;
                    s[mt][j][i] = weight;
                    if constexpr (NEED1) inner[mt][j][i] = weight * (inner[mt][j][i] - less_here);
                }
        if constexpr (NEED2) add_product<V>(more_sums, s, w, 0);
        if constexpr (NEED1) add_product<D>(sums, inner, y, 0);
    }

    const u64 slot = at.split * WN + warp_column, all = (u64)p.batch * rows;
#pragma unroll
    for (int mt = 0; mt < MT; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            u32 own = first + warp_row * 16 * MT + 16 * mt + lane / 4 + 8 * r;
            if (own >= rows) continue;
            u64 row = (u64)at.batch * rows + own;
            A beta = A(p.beta);
            if constexpr (NEED1) {
                if (p.partial) store<A, D>((A *)p.partial + (slot * all + row) * p.d, p.d, sums[mt], r, beta);
                else store<T, D>((T *)(KEYS ? p.grad_k : p.grad_q) + row * p.d, p.d, sums[mt], r, beta);
            }
            if constexpr (NEED2) {
                if (p.partial_more) store<A, V>((A *)p.partial_more + (slot * all + row) * p.width, p.width, more_sums[mt], r, A(1));
                else store<T, V>((T *)p.grad_v + row * p.width, p.width, more_sums[mt], r, A(1));
            }
        }
}

#endif
