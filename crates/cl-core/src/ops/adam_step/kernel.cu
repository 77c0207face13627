// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², θ ← θ − η·m̂/(√v̂ + ε), all tensors in one launch. The operands are θ, g, m, v.
// Nothing where something was found, if there is such a place.

#define KERNEL(T, NAME)                                                                                                        \
    struct Adam_##NAME {                                                                                                       \
        T b1, b2, c1, c2, size, root, eps, coupled, shrink;                                                                    \
    };                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        adam_step_##NAME(const __grid_constant__ Table<4> table, const __grid_constant__ Adam_##NAME a, const float *found) {  \
        if (found && *found != 0) return;                                                                                      \
        stream<T, 4, 13>(table, [&](T *x) {                                                                                    \
            T g = x[1] + a.coupled * x[0];                                                                                     \
            x[2] = a.b1 * x[2] + a.c1 * g;                                                                                     \
            x[3] = a.b2 * x[3] + a.c2 * g * g;                                                                                 \
            x[0] = a.shrink * x[0] - a.size * x[2] / (sqrt(x[3]) / a.root + a.eps);                                            \
        });                                                                                                                    \
    }
FOR_FLOATS(KERNEL)
