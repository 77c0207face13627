// Numbers with the places where they stood, sorted by a block. It stands before the kernels that need it.

// Bytes of shared memory in which is sorted. What is longer is sorted in global memory by the same steps.
#define SORTED_BYTES 32768

// What is sorted: a key and the place of the number that it is of, by which equal ones are told apart.
template <typename T> struct Entry;

// In one word.
template <> struct Entry<float> {
    u64 word;
};

template <> struct Entry<double> {
    u64 key;
    u32 place;
};

__device__ bool before(Entry<float> a, Entry<float> b) { return a.word < b.word; }
__device__ bool before(Entry<double> a, Entry<double> b) { return a.key < b.key || (a.key == b.key && a.place < b.place); }

__device__ u32 place_of(Entry<float> e) { return (u32)e.word; }
__device__ u32 place_of(Entry<double> e) { return e.place; }

// Behind all others.
__device__ void make_last(Entry<float> &e) { e.word = ~0ull; }
__device__ void make_last(Entry<double> &e) { e = {~0ull, ~0u}; }

// The order of `f64::total_cmp`: the bits of numbers, those of negative ones turned over, are in the order of the numbers.
__device__ Entry<float> ascending(float x, u32 place) {
    u32 bits = __float_as_uint(x);
    if (x != x) bits |= 0x00400000u; // as it is in f64: a signalling NaN becomes a quiet one
    u32 key = bits >> 31 ? ~bits : bits | 0x80000000u;
    return {(u64)key << 32 | place};
}

__device__ Entry<double> ascending(double x, u32 place) {
    u64 bits = (u64)__double_as_longlong(x);
    return {bits >> 63 ? ~bits : bits | 1ull << 63, place};
}

// The largest first, and what is no number before that.
__device__ Entry<float> descending(float x, u32 place) {
    u64 key = x != x ? 0 : ~ascending(x, 0).word >> 32;
    return {key << 32 | place};
}

__device__ Entry<double> descending(double x, u32 place) { return {x != x ? 0 : ~ascending(x, 0).key, place}; }

// entry(i) of n numbers, sorted: in `shared`, of SORTED_BYTES, or where they do not fit there, in `entries`, which then has room for
// the next power of two of n. Bitonic sort (Batcher 1968).
template <typename T, typename F> __device__ Entry<T> *sort(u32 n, F entry, void *shared, Entry<T> *entries) {
    u32 size = 1;
    while (size < n) size *= 2;
    if (size * sizeof(Entry<T>) <= SORTED_BYTES) entries = (Entry<T> *)shared;
    __syncthreads();
    for (u32 i = threadIdx.x; i < size; i += blockDim.x) {
        if (i < n) entries[i] = entry(i);
        else make_last(entries[i]);
    }
    for (u32 run = 2; run <= size; run *= 2)
        for (u32 step = run / 2; step > 0; step /= 2) {
            __syncthreads();
            for (u32 pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
                u32 low = 2 * pair - (pair & (step - 1)), high = low + step;
                Entry<T> a = entries[low], b = entries[high];
                if (before(b, a) == ((low & run) == 0)) {
                    entries[low] = b;
                    entries[high] = a;
                }
            }
        }
    __syncthreads();
    return entries;
}

// Where this block sorts n numbers that have no place in shared memory.
template <typename T> __device__ Entry<T> *entries_of_block(Entry<T> *entries, u32 n) {
    u32 size = 1;
    while (size < n) size *= 2;
    return entries + (u64)blockIdx.x * size;
}
