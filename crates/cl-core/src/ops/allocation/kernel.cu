// The allocation weighting of usages (rows, n), and its gradient: a block for each row, behind one another where there are many.

template <typename T>
__device__ void allocation(const T *usage, T *a, u32 *orders, u64 rows, u32 n, Entry<T> *entries) {
    __shared__ alignas(16) unsigned char shared[SORTED_BYTES];
    u32 *order = orders + (u64)blockIdx.x * n;
    for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
        order_of(usage + row * n, n, order, shared, entries_of_block(entries, n));
        allocate(usage + row * n, order, a + row * n, n);
    }
}

template <typename T>
__device__ void backward(const T *usage, const T *g, T *gu, u32 *orders, u64 rows, u32 n, Entry<T> *entries) {
    __shared__ alignas(16) unsigned char shared[SORTED_BYTES];
    u32 *order = orders + (u64)blockIdx.x * n;
    for (u64 row = blockIdx.x; row < rows; row += gridDim.x) {
        order_of(usage + row * n, n, order, shared, entries_of_block(entries, n));
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
