// The sum tree of priorities: a warp is a node, its lanes are the 32 children. As `cpu.rs`, to the last bit.

#define LEVELS 7
#define WARPS (THREADS / 32)
#define ALL 0xffffffffu
#define LARGEST_FLOAT __int_as_float(0x7f7fffff)
#define SMALLEST_NORMAL __int_as_float(0x00800000)

struct Tree {
    float *leaves;
    u32 *claims;         // 0 between updates
    double *sums;        // of all levels
    float *least, *most; // the smallest positive leaf below a node and the largest, 0 where there is none
    float *largest_ever;
    u64 *counts; // refused, outside, late, undrawn
    u64 begin[LEVELS];
    u32 nodes[LEVELS];
    u32 count;
    u32 capacity;
};

enum { REFUSED, OUTSIDE, LATE, UNDRAWN };

__device__ u32 lane() { return threadIdx.x % 32; }
__device__ u32 first_warp() { return blockIdx.x * WARPS + threadIdx.x / 32; }
__device__ u32 all_warps() { return gridDim.x * WARPS; }

// Where each child ends: inclusive sums over the lanes.
__device__ double ends(double sum) {
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        double before = __shfl_up_sync(ALL, sum, step);
        if (lane() >= step) sum += before;
    }
    return sum;
}

// The child that owns a mass: never one of 0, unless all are.
__device__ u32 owner(double sum, double end, double mass) {
    u32 before = __popc(__ballot_sync(ALL, end <= mass)), positive = __ballot_sync(ALL, sum > 0);
    if (before < 32 && (positive >> before & 1)) return before;
    u32 left = before < 32 ? positive & ((1u << before) - 1) : positive;
    if (left) return 31 - __clz(left);
    return positive ? __ffs(positive) - 1 : 0; // none before: those that there are lie behind
}

// Takes a node anew from its children, one a lane.
__device__ void take(const Tree &tree, u32 level, u64 node, double sum, float least, float most) {
    sum = ends(sum);
    if (!(least > 0)) least = INFINITE;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        float other = __shfl_xor_sync(ALL, least, step);
        least = other < least ? other : least;
        other = __shfl_xor_sync(ALL, most, step);
        most = other > most ? other : most;
    }
    if (lane() == 31) {
        u64 at = tree.begin[level] + node;
        tree.sums[at] = sum;
        tree.least[at] = least < INFINITE ? least : 0;
        tree.most[at] = most;
    }
}

__device__ void take_from_memory(const Tree &tree, u32 level, u64 node) {
    if (level == 0) {
        float leaf = tree.leaves[node * 32 + lane()];
        tree.claims[node * 32 + lane()] = 0;
        take(tree, 0, node, leaf, leaf, leaf);
    } else {
        u64 child = tree.begin[level - 1] + node * 32 + lane();
        take(tree, level, node, tree.sums[child], tree.least[child], tree.most[child]);
    }
}

// log₂ of a normal positive number and 2^x, in the steps of `power.rs`.
__device__ double log2_of(double x) {
    const u64 HALF_ROOT = 0x3FE6A09E667F3BCDull, ONE = 0x3FF0000000000000ull;
    u64 bits = __double_as_longlong(x), shifted = bits + (ONE - HALF_ROOT);
    int e = (int)((long long)(shifted >> 52) - 1023);
    double m = __longlong_as_double((shifted & 0x000FFFFFFFFFFFFFull) + HALF_ROOT);
    double s = (m - 1.0) / (m + 1.0), q = s * s;
    double series = 1.0 / 11.0;
    series = series * q + 1.0 / 9.0;
    series = series * q + 1.0 / 7.0;
    series = series * q + 1.0 / 5.0;
    series = series * q + 1.0 / 3.0;
    series = series * q + 1.0;
    return (double)e + 2.0 * 1.4426950408889634 * s * series;
}

__device__ double exp2_of(double x) {
    const double ROUND = 6755399441055744.0;
    x = x < -1022.0 ? -1022.0 : x > 1023.0 ? 1023.0 : x;
    double rounded = x + ROUND;
    double y = (x - (rounded - ROUND)) * 0.6931471805599453;
    double series = 1.0;
    series = series * y * (1.0 / 8.0) + 1.0;
    series = series * y * (1.0 / 7.0) + 1.0;
    series = series * y * (1.0 / 6.0) + 1.0;
    series = series * y * (1.0 / 5.0) + 1.0;
    series = series * y * (1.0 / 4.0) + 1.0;
    series = series * y * (1.0 / 3.0) + 1.0;
    series = series * y * (1.0 / 2.0) + 1.0;
    series = series * y * 1.0 + 1.0;
    u64 power = ((u64)__double_as_longlong(rounded) - (u64)__double_as_longlong(ROUND) + 1023) << 52;
    return series * __longlong_as_double(power);
}

__device__ double power(double x, double exponent) { return x == 0 ? 0 : exp2_of(exponent * log2_of(x)); }

// The leaf of a priority p ≥ 0: pᵅ.
__device__ float leaf_of(float priority, double alpha) {
    if (!(priority > 0)) return 0;
    float leaf = alpha == 1 ? priority : (float)power(priority, alpha);
    return leaf > SMALLEST_NORMAL ? leaf : SMALLEST_NORMAL;
}

// Element i of a draw, in [0, 1): Philox4x32-10.
__device__ double uniform(u64 key, u64 draw, u32 i) {
    u32 a = i, b = 0, c = (u32)draw, d = (u32)(draw >> 32), k = (u32)key, l = (u32)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 first = (u64)a * 0xD2511F53u, second = (u64)c * 0xCD9E8D57u;
        a = (u32)(second >> 32) ^ b ^ k;
        b = (u32)second;
        c = (u32)(first >> 32) ^ d ^ l;
        d = (u32)first;
        k += 0x9E3779B9u;
        l += 0xBB67AE85u;
    }
    return (double)(((u64)b << 32 | a) >> 11) * 1.1102230246251565e-16; // 2⁻⁵³
}

// What is wrong with an update: one of the counts, or -1.
__device__ int fault(const Tree &tree, u32 index, float priority, u32 first, u32 overwritten) {
    if (index >= tree.capacity) return OUTSIDE;
    u32 behind = index >= first ? index - first : index + (tree.capacity - first);
    if (behind < overwritten) return LATE;
    return priority >= 0 && priority <= LARGEST_FLOAT ? -1 : REFUSED;
}

// The last priority of a leaf claims it.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_tree_claim(const __grid_constant__ Tree tree, const u32 *indices, const float *priorities, u32 n, u32 first,
                   u32 overwritten) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        int wrong = fault(tree, indices[i], priorities[i], first, overwritten);
        if (wrong < 0)
            atomicMax(tree.claims + indices[i], (u32)i + 1);
        else
            atomicAdd(tree.counts + wrong, 1ull);
    }
}

// And is written. Positive floats are in the order of their bits.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_tree_write(const __grid_constant__ Tree tree, const u32 *indices, const float *priorities, u32 n, u32 first,
                   u32 overwritten, double alpha) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) {
        u32 index = indices[i];
        if (fault(tree, index, priorities[i], first, overwritten) >= 0) continue;
        float leaf = leaf_of(priorities[i], alpha);
        if (tree.claims[index] == (u32)i + 1) tree.leaves[index] = leaf;
        if (leaf > *(volatile float *)tree.largest_ever) atomicMax((u32 *)tree.largest_ever, __float_as_uint(leaf));
    }
}

// Takes nodes of a level anew: those above `count` indices, or where there are none, `count` from `first` on. Several warps may
// take one node: they write the same.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_tree_repair(const __grid_constant__ Tree tree, u32 level, const u32 *indices, u32 first, u32 count) {
    for (u64 i = first_warp(); i < count; i += all_warps()) {
        if (indices && indices[i] >= tree.capacity) continue;
        u64 node = indices ? (u64)indices[i] >> 5 * (level + 1) : first + i;
        take_from_memory(tree, level, node);
    }
}

// Takes all nodes from a level on anew, in one block.
extern "C" __global__ void __launch_bounds__(THREADS) sum_tree_top(const __grid_constant__ Tree tree, u32 level) {
    for (; level < tree.count; level++) {
        for (u32 node = threadIdx.x / 32; node < tree.nodes[level]; node += WARPS) take_from_memory(tree, level, node);
        __syncthreads();
    }
}

// Sets n leaves from `start` on, and the nodes above them: to `leaf`, or where that is negative, to the largest now (-1) or ever
// (-2).
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_tree_fill(const __grid_constant__ Tree tree, u32 start, u32 n, float leaf) {
    if (leaf < 0) {
        // One node has no other to read what it writes.
        float largest = leaf == -1 ? tree.most[tree.begin[tree.count - 1]] : *tree.largest_ever;
        leaf = largest > 0 ? largest : 1;
    }
    u64 end = (u64)start + n, nodes = (end - 1) / 32 - start / 32 + 1;
    for (u64 i = first_warp(); i < nodes; i += all_warps()) {
        u64 node = start / 32 + i, at = node * 32 + lane();
        bool mine = at >= start && at < end;
        float value = mine ? leaf : tree.leaves[at];
        if (mine) tree.leaves[at] = value;
        take(tree, 0, node, value, value, value);
    }
}

// n draws, a warp each.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_tree_draw(const __grid_constant__ Tree tree, u32 n, u32 stratified, u64 key, u64 draw, u32 *indices, float *leaves,
                  float *probabilities) {
    double total = tree.sums[tree.begin[tree.count - 1]];
    for (u64 i = first_warp(); i < n; i += all_warps()) {
        u64 at = 0xffffffffu;
        float leaf = 0;
        if (total > 0) {
            double u = uniform(key, draw, (u32)i);
            double mass = stratified ? ((double)i + u) * (total / (double)n) : u * total;
            at = 0;
            for (u32 level = tree.count; level-- > 0;) {
                u64 from = at * 32 + lane();
                if (level == 0) leaf = tree.leaves[from];
                double sum = level == 0 ? (double)leaf : tree.sums[tree.begin[level - 1] + from];
                double end = ends(sum);
                u32 child = owner(sum, end, mass);
                double begin = __shfl_sync(ALL, end, child - 1 & 31);
                mass -= child == 0 ? 0 : begin;
                at = at * 32 + child;
            }
            leaf = __shfl_sync(ALL, leaf, (u32)at & 31);
        }
        if (lane() == 0) {
            indices[i] = (u32)at;
            leaves[i] = leaf;
            probabilities[i] = leaf > 0 ? (float)((double)leaf / total) : 0;
            if (!(total > 0)) atomicAdd(tree.counts + UNDRAWN, 1ull);
        }
    }
}

enum { BATCH_MAX, BUFFER_MAX, NO_MAX };

// The importance weights (leaf / reference)^−β of n drawn leaves. Each block looks for the smallest of the batch itself.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_tree_weights(const __grid_constant__ Tree tree, const float *leaves, u32 n, double items, double beta, u32 rule,
                     float *weights) {
    __shared__ float of_warps[WARPS];
    u64 root = tree.begin[tree.count - 1];
    double reference = rule == BUFFER_MAX ? (double)tree.least[root] : tree.sums[root] / items;
    if (rule == BATCH_MAX) {
        float least = INFINITE;
        for (u64 i = threadIdx.x; i < n; i += THREADS)
            if (leaves[i] > 0 && leaves[i] < least) least = leaves[i];
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
            float other = __shfl_xor_sync(ALL, least, step);
            least = other < least ? other : least;
        }
        if (lane() == 0) of_warps[threadIdx.x / 32] = least;
        __syncthreads();
        for (int warp = 0; warp < WARPS; warp++) least = of_warps[warp] < least ? of_warps[warp] : least;
        reference = least;
    }
    double scale = 1.0 / reference;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS)
        weights[i] = leaves[i] > 0 ? (float)power(scale * (double)leaves[i], -beta) : 0;
}
