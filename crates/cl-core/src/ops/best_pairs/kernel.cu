// The `top` pairs of halves with the largest sums of scores (rows, 2, keys), the best first: a block for each row, behind one another
// where there are many. The best halves are found, then the best of their pairs.

// `pairs` is (3, rows, top): i·keys + j, i, j. `halves` is room for 2·top of each block.
template <typename T>
__device__ void best_pairs(const T *scores, u32 *pairs, u32 *halves, u64 rows, u32 keys, u32 top, Entry<T> *entries) {
    __shared__ alignas(16) unsigned char shared[SORTED_BYTES];
    u32 *best = halves + 2ull * blockIdx.x * top;
    entries = entries_of_block(entries, keys > top * top ? keys : top * top);
    for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const T *first = scores + row * 2 * keys, *second = first + keys;
        for (u32 half = 0; half < 2; half++) {
            const T *of_half = half ? second : first;
            Entry<T> *sorted = sort<T>(keys, [=](u32 i) { return descending(of_half[i], i); }, shared, entries);
            for (u32 k = threadIdx.x; k < top; k += blockDim.x) best[half * top + k] = place_of(sorted[k]);
        }
        // The place of a pair is its number, so that equal ones are in its order.
        Entry<T> *sorted = sort<T>(
            top * top,
            [=](u32 k) {
                u32 i = best[k / top], j = best[top + k % top];
                return descending(first[i] + second[j], i * keys + j);
            },
            shared, entries);
        for (u32 k = threadIdx.x; k < top; k += blockDim.x) {
            u32 pair = place_of(sorted[k]);
            u64 to = row * top + k;
            pairs[to] = pair;
            pairs[rows * top + to] = pair / keys;
            pairs[2 * rows * top + to] = pair % keys;
        }
    }
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        best_pairs_##NAME(const T *scores, u32 *pairs, u32 *halves, u64 rows, u32 keys, u32 top, Entry<T> *entries) {          \
        best_pairs<T>(scores, pairs, halves, rows, keys, top, entries);                                                        \
    }
FOR_FLOATS(KERNEL)
