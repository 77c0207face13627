// The order of slots by usage, and what follows from one slot to the next in that order; by a block, for one row of slots. For
// `allocation`, and for the memory step that holds it.

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

// order[k] ← the slot with the k-th smallest usage; equal ones keep the order of the slots. For `shared` and `entries` see `sort`.
template <typename T>
__device__ void order_of(const T *usage, u32 n, u32 *order, void *shared, Entry<T> *entries) {
    Entry<T> *sorted = sort<T>(n, [=](u32 i) { return ascending(usage[i], i); }, shared, entries);
    for (u32 k = threadIdx.x; k < n; k += blockDim.x) order[k] = place_of(sorted[k]);
    __syncthreads();
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
