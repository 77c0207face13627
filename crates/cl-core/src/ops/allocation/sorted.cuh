// Slots in ascending order of usage, and what follows from one slot to the next in that order; by a block, for one row of slots.
// For `allocation`, and for the memory step that holds it.

// Bytes of shared memory in which rows are sorted. Longer rows are sorted in global memory by the same steps.
#define SORTED_BYTES 32768

// A usage and its slot: `entry(usage, slot)` makes one, `before(a, b)` is the order of `f64::total_cmp`, then that of the slots.
// The bits of a number, those of negative ones turned over, are in the order of the numbers.
template <typename T> struct Entry;

// In one word.
template <> struct Entry<float> {
    u64 word;
};

__device__ Entry<float> entry(float usage, u32 slot) {
    u32 bits = __float_as_uint(usage);
    if (usage != usage) bits |= 0x00400000u; // as it is after f64: a signalling NaN has become a quiet one
    u32 key = bits >> 31 ? ~bits : bits | 0x80000000u;
    return {(u64)key << 32 | slot};
}

__device__ bool before(Entry<float> a, Entry<float> b) { return a.word < b.word; }
__device__ u32 slot_of(Entry<float> e) { return (u32)e.word; }
// Behind all that there are: no slot has this number.
__device__ void last(Entry<float> &e) { e.word = ~0ull; }

template <> struct Entry<double> {
    u64 key;
    u32 slot;
};

__device__ Entry<double> entry(double usage, u32 slot) {
    u64 bits = (u64)__double_as_longlong(usage);
    return {bits >> 63 ? ~bits : bits | 1ull << 63, slot};
}

__device__ bool before(Entry<double> a, Entry<double> b) { return a.key < b.key || (a.key == b.key && a.slot < b.slot); }
__device__ u32 slot_of(Entry<double> e) { return e.slot; }
__device__ void last(Entry<double> &e) { e = {~0ull, ~0u}; }

// order[k] ← the slot with the k-th smallest usage. `shared` has SORTED_BYTES; a row that does not fit there is sorted in
// `entries`, which then has room for the next power of two of n. Bitonic sort (Batcher 1968).
template <typename T> __device__ void sort(const T *usage, u32 n, Entry<T> *shared, Entry<T> *entries, u32 *order) {
    u32 size = 1;
    while (size < n) size *= 2;
    if (size * sizeof(Entry<T>) <= SORTED_BYTES) entries = shared;
    for (u32 i = threadIdx.x; i < size; i += blockDim.x) {
        if (i < n) entries[i] = entry(usage[i], i);
        else last(entries[i]);
    }
    for (u32 run = 2; run <= size; run *= 2)
        for (u32 step = run / 2; step > 0; step /= 2) {
            __syncthreads();
            for (u32 pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
                u32 low = 2 * pair - (pair & (step - 1)), high = low + step;
                Entry<T> a = entries[low], b = entries[high];
                bool up = (low & run) == 0;
                if (before(b, a) == up) {
                    entries[low] = b;
                    entries[high] = a;
                }
            }
        }
    __syncthreads();
    for (u32 k = threadIdx.x; k < n; k += blockDim.x) order[k] = slot_of(entries[k]);
    __syncthreads();
}

// x ↦ times·x + plus: how one slot follows from another, both ways.
template <typename T> struct Map {
    T times, plus;
};

// First `a`, then `b`.
template <typename T> __device__ Map<T> then(Map<T> a, Map<T> b) {
    return {b.times * a.times, b.times * a.plus + b.plus};
}

template <typename T> __device__ Map<T> from_lane_below(Map<T> map, u32 distance) {
    return {__shfl_up_sync(0xffffffffu, map.times, distance), __shfl_up_sync(0xffffffffu, map.plus, distance)};
}

// The maps of all threads before this one, one after the other.
template <typename T> __device__ Map<T> of_threads_before(Map<T> mine) {
    __shared__ Map<T> warps[32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u32 distance = 1; distance < 32; distance *= 2) {
        Map<T> below = from_lane_below(mine, distance);
        if (lane >= distance) mine = then(below, mine);
    }
    if (lane == 31) warps[warp] = mine;
    __syncthreads();
    Map<T> all = {1, 0};
    for (u32 w = 0; w < warp; w++) all = then(all, warps[w]);
    Map<T> below = from_lane_below(mine, 1);
    __syncthreads();
    return lane == 0 ? all : then(all, below);
}

// The places of the order that a thread takes, which lie side by side: [from, to).
struct Places {
    u32 from, to;
};

__device__ Places places_of_thread(u32 n) {
    u32 each = (n + blockDim.x - 1) / blockDim.x, from = threadIdx.x * each;
    if (from > n) from = n;
    return {from, n - from < each ? n : from + each};
}

// a[φⱼ] ← (1 − u[φⱼ]) ∏_{i<j} u[φᵢ].
template <typename T> __device__ void allocate(const T *usage, const u32 *order, T *a, u32 n) {
    Places at = places_of_thread(n);
    T product = 1;
    for (u32 k = at.from; k < at.to; k++) product *= usage[order[k]];
    product = of_threads_before(Map<T>{product, 0}).times;
    for (u32 k = at.from; k < at.to; k++) {
        T u = usage[order[k]];
        a[order[k]] = (1 - u) * product;
        product *= u;
    }
    __syncthreads();
}

// ∂u of g = ∂a. First the products, into `gu`; then from the end what stands behind each, Qₖ = gₖ₊₁(1 − vₖ₊₁) + vₖ₊₁ Qₖ₊₁.
template <typename T> __device__ void allocate_backward(const T *usage, const u32 *order, const T *g, T *gu, u32 n) {
    Places at = places_of_thread(n);
    T product = 1;
    for (u32 k = at.from; k < at.to; k++) product *= usage[order[k]];
    product = of_threads_before(Map<T>{product, 0}).times;
    for (u32 k = at.from; k < at.to; k++) {
        gu[order[k]] = product;
        product *= usage[order[k]];
    }
    __syncthreads();
    Map<T> mine = {1, 0};
    for (u32 k = at.from; k < at.to; k++) {
        u32 slot = order[n - 1 - k];
        T u = usage[slot];
        mine = then(mine, Map<T>{u, g[slot] * (1 - u)});
    }
    T after = of_threads_before(mine).plus;
    for (u32 k = at.from; k < at.to; k++) {
        u32 slot = order[n - 1 - k];
        T u = usage[slot];
        gu[slot] *= after - g[slot];
        after = g[slot] * (1 - u) + u * after;
    }
    __syncthreads();
}
