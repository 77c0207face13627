// The allocation weighting of usages (rows, n), and its gradient: a block for each row, behind one another where there are many.

// Where a row is sorted that has no place in shared memory.
template <typename T> __device__ Entry<T> *entries_of_block(Entry<T> *entries, u32 n) {
    u32 size = 1;
    while (size < n) size *= 2;
    return entries + (u64)blockIdx.x * size;
}

template <typename T>
__device__ void allocation(const T *usage, T *a, u32 *orders, u64 rows, u32 n, Entry<T> *entries) {
    __shared__ Entry<T> shared[SORTED_BYTES / sizeof(Entry<T>)];
    u32 *order = orders + (u64)blockIdx.x * n;
    for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
        sort(usage + row * n, n, shared, entries_of_block(entries, n), order);
        allocate(usage + row * n, order, a + row * n, n);
    }
}

template <typename T>
__device__ void backward(const T *usage, const T *g, T *gu, u32 *orders, u64 rows, u32 n, Entry<T> *entries) {
    __shared__ Entry<T> shared[SORTED_BYTES / sizeof(Entry<T>)];
    u32 *order = orders + (u64)blockIdx.x * n;
    for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
        sort(usage + row * n, n, shared, entries_of_block(entries, n), order);
        allocate_backward(usage + row * n, order, g + row * n, gu + row * n, n);
    }
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        allocation_##NAME(const T *usage, T *a, u32 *orders, u64 rows, u32 n, Entry<T> *entries) {                             \
        allocation<T>(usage, a, orders, rows, n, entries);                                                                     \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        allocation_backward_##NAME(const T *usage, const T *g, T *gu, u32 *orders, u64 rows, u32 n, Entry<T> *entries) {       \
        backward<T>(usage, g, gu, orders, rows, n, entries);                                                                   \
    }
FOR_FLOATS(KERNEL)
