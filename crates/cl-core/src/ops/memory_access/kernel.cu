// A step of the memory, and its backward pass: a block for each sequence of the batch.

// Operands of the forward pass, of the whole batch.
template <typename T> struct Forward {
    const T *xi, *old;
    T *new_, *reads, *trace;
    u32 *orders;
    // Room for each sequence: ξ, and the next power of two of entries where the slots are too many for shared memory.
    T *asked;
    Entry<T> *entries;
};

template <typename T> __device__ void of_block(const Layout &at, const Forward<T> &all) {
    __shared__ alignas(16) unsigned char shared[SORTED_BYTES];
    u64 b = blockIdx.x;
    forward<T>(at, all.xi + b * at.interface, all.old + b * at.state, all.new_ + b * at.state,
               all.reads + b * at.heads * at.width, all.trace + b * at.trace, all.orders + b * at.slots,
               all.asked + b * at.interface, entries_of_block(all.entries, at.slots), shared);
}

// Those of the backward pass.
template <typename T> struct Backward {
    const T *xi, *old, *new_, *trace;
    const u32 *orders;
    const T *reads;
    T *g, *gxi;
    // Room for each sequence: ξ, then 5 · (heads + 1) rows of slots.
    T *room;
};

template <typename T> __device__ void of_block(const Layout &at, const Backward<T> &all) {
    __shared__ alignas(16) unsigned char shared[SORTED_BYTES];
    u64 b = blockIdx.x;
    T *asked = all.room + b * (at.interface + 5ull * (at.heads + 1) * at.slots);
    backward<T>(at, all.xi + b * at.interface, all.old + b * at.state, all.new_ + b * at.state, all.trace + b * at.trace,
                all.orders + b * at.slots, all.reads + b * at.heads * at.width, all.g + b * at.state,
                all.gxi + b * at.interface, asked, asked + at.interface, shared);
}

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                        \
        memory_access_##NAME(const __grid_constant__ Layout at, const __grid_constant__ Forward<T> all) {                      \
        of_block<T>(at, all);                                                                                                  \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(BLOCK)                                                                        \
        memory_access_backward_##NAME(const __grid_constant__ Layout at, const __grid_constant__ Backward<T> all) {            \
        of_block<T>(at, all);                                                                                                  \
    }                                                                                                                          \
    /* Where a state goes on in two ways, their gradients add up. */                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS) add_gradient_##NAME(T *sum, const T *other, u64 n) {                 \
        for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < n; i += (u64)gridDim.x * THREADS) sum[i] += other[i];        \
    }
FOR_FLOATS(KERNEL)
