// F ← decay·F + scale·g², all tensors in one launch.

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        accumulate_sq_##NAME(const __grid_constant__ Table<2> table, T decay, T scale) {                                       \
        stream<T, 2, 1>(table, [=](T *x) { x[0] = decay * x[0] + scale * (x[1] * x[1]); });                                    \
    }
FOR_FLOATS(KERNEL)
