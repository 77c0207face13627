// ω ← ω − g·(θ − θ'), θ' ← θ, all tensors in one launch. The operands are ω, g, θ, θ'.

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        path_integral_##NAME(const __grid_constant__ Table<4> table) {                                                         \
        stream<T, 4, 9>(table, [](T *x) {                                                                                      \
            x[0] -= x[1] * (x[2] - x[3]);                                                                                      \
            x[3] = x[2];                                                                                                       \
        });                                                                                                                    \
    }
FOR_FLOATS(KERNEL)
