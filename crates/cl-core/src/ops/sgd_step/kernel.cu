// θ ← θ − η(g + λθ), and with a velocity v ← μv + (g + λθ), θ ← θ − ηv; all tensors in one launch. Nothing where something
// was found, if there is such a place.

#define KERNEL(T, NAME)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        sgd_step_##NAME(const __grid_constant__ Table<2> table, T lr, T decay, const float *found) {                           \
        if (found && *found != 0) return;                                                                                      \
        stream<T, 2, 1>(table, [=](T *x) { x[0] -= lr * (decay == 0 ? x[1] : x[1] + decay * x[0]); });                         \
    }                                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                      \
        momentum_step_##NAME(const __grid_constant__ Table<3> table, T lr, T decay, T momentum, const float *found) {          \
        if (found && *found != 0) return;                                                                                      \
        stream<T, 3, 5>(table, [=](T *x) {                                                                                     \
            x[2] = momentum * x[2] + (x[1] + decay * x[0]);                                                                    \
            x[0] -= lr * x[2];                                                                                                 \
        });                                                                                                                    \
    }
FOR_FLOATS(KERNEL)
